"""Packs: rules as they were understood once, kept on disk under a hash of all that they were made of.

Reading 3,700 rules takes seconds, opening their pack a tenth of one. A pack is data: msgpack that is checked
against the types of `rules`, so that a damaged or foreign file is none, and the rules are read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
import platformdirs
import xxhash

from rms_flows.correlate import spec
from rms_flows.sigma.rules import RuleSet

KEPT: Final = 32
"""Packs kept; the one not used for longest goes first."""

_HERE: Final = Path(__file__).parent
_SUFFIX: Final = ".pack"
_decode: Final = msgspec.msgpack.Decoder(RuleSet).decode


def folder() -> Path:
    """Give the folder of packs: `packs` in the user's cache folder."""
    return platformdirs.user_cache_path("rms_flows") / "packs"


def place(
    paths: Sequence[Path], pipelines: Sequence[Path] = (), tables: Sequence[Path] | None = ()
) -> Path | None:
    """Give the file of the pack of these rules as they are now; None where one of them can't be read.

    Args:
        paths: The rules.
        pipelines: What maps them.
        tables: What routes them, besides our own table; None where they aren't routed.
    """
    digest = xxhash.xxh3_128()
    try:
        for part in _parts(paths, pipelines, tables):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    except OSError:
        return None
    return folder() / f"{digest.hexdigest()}{_SUFFIX}"


def _parts(
    paths: Sequence[Path], pipelines: Sequence[Path], tables: Sequence[Path] | None
) -> Iterator[bytes]:
    """Give all that the meaning of rules comes from: our code, the libraries', and the files, named."""
    for library in ("pysigma", "google-re2"):
        yield version(library).encode()
    for module in sorted([*_HERE.glob("*.py"), *_HERE.glob("*.yml"), Path(spec.__file__)]):
        yield module.read_bytes()
    for path in (*paths, *pipelines, *(tables or ())):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            yield os.fsencode(file)
            yield file.read_bytes()
    yield repr((len(paths), len(pipelines), tables is None)).encode()


def read(file: Path) -> RuleSet | None:
    """Open a pack; None where there is none."""
    try:
        found = _decode(file.read_bytes())
        os.utime(file)
    except (OSError, msgspec.MsgspecError):
        return None
    return found


def keep(file: Path, rules: RuleSet) -> None:
    """Write a pack, whole or not at all; where that can't be, the rules are read again the next time."""
    with suppress(OSError, UnicodeEncodeError):  # full, read-only; half a surrogate pair
        data = msgspec.msgpack.encode(rules)
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as aside:
            try:
                aside.write(data)
                aside.close()
                Path(aside.name).replace(file)
            except BaseException:
                Path(aside.name).unlink()
                raise
        _prune(file.parent)


def _prune(packs: Path) -> None:
    """Remove the packs that were used least lately, and what an attempt that was killed left."""
    known = sorted(packs.iterdir(), key=lambda pack: pack.stat().st_mtime, reverse=True)
    for pack in known[KEPT:]:
        pack.unlink(missing_ok=True)
