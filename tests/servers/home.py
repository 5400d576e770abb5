"""The folders that servers run from: made once for all runs and processes, and again when what makes them changes."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_dir

CACHE = Path(user_cache_dir("rms_flows-servers"))
"""Read when this module is imported: tests move the user's cache."""


class MissingToolError(Exception):
    """A program that sets the server up is not there."""


def home(name: str, sources: Sequence[Path], versions: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of a server.

    Args:
        name: Of the server.
        sources: Files that say how it is made.
        versions: Of whatever else it is made with.
        make: Fills the folder; called unless some process did so before.

    Raises:
        MissingToolError: As `make` raises it.
    """
    digest = hashlib.sha256(versions.encode())
    for path in sources:
        digest.update(path.read_bytes())
    folder = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    ready = folder / "ready"
    if not ready.exists():
        with locked(folder.with_suffix(".lock")):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)  # half made by a process that was killed
                folder.mkdir()
                make(folder)
                ready.touch()
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def jars(pom: Path, folder: Path) -> None:
    """Let Maven lay out the jars that a pom lists, its property `home` being `folder`.

    Raises:
        MissingToolError: There is no Maven.
        RuntimeError: It failed; the message ends with what it said.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingToolError("there is no mvn: install Maven and a Java to run it (.ci/run does)")
    done = subprocess.run(  # noqa: S603  our own words
        [maven, "-q", "-B", "-f", str(pom), "package", f"-Dhome={folder}"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"mvn ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
