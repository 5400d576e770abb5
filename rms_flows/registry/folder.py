"""Documents in a folder: `KIND/ID.yaml` is what holds, `KIND/.history/ID/` what held before.

A file begins with a comment that says since when it holds; one that a person put there without it holds
from ever. An old version is named by the period in which it held. It is put into the history *before* the
new one takes its place by one rename: whoever is killed between the two leaves a past that says what the
present says.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from rms_flows.durable import sync
from rms_flows.errors import DocumentError
from rms_flows.model.times import EPOCH, micros
from rms_flows.registry.store import Stored

_HISTORY: Final = ".history"
_LIFE: Final = ".life"
_HEAD: Final = re.compile(rb"# since ([0-9]{8}T[0-9]{6}\.[0-9]{6}Z)\r?\n")
_STAMP: Final = "%Y%m%dT%H%M%S.%fZ"
_EVER: Final = "ever"
_LONGEST: Final = 200
"""Bytes of a file's name without what we add to it; file systems allow 255."""


class FolderStore:
    """A folder of YAML files, see `Store`.

    Args:
        folder: It is made with the first document.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out; the lock goes with the process."""
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def view(self) -> AbstractContextManager[None]:
        """See `Store.view`: files are near."""
        return nullcontext()

    def ids(self, kind: str) -> Sequence[str]:
        """See `Store.ids`."""
        with _told(self.folder):
            found = [path.stem for path in (self.folder / kind).glob("*.yaml") if path.name[0] != "."]
        for stem in found:
            quoted = _quoted(unquote(stem))
            if quoted != stem:  # put there by hand, and never found by its id
                raise DocumentError(
                    "no id is kept in a file of this name",
                    where=str(self.folder / kind / f"{stem}.yaml"),
                    remedy=f"rename it to {quoted}.yaml",
                )
        return sorted(map(unquote, found))

    def known(self, kind: str) -> Sequence[str]:
        """See `Store.known`."""
        with _told(self.folder):
            past = [path.name for path in (self.folder / kind / _HISTORY).glob("*") if any(path.iterdir())]
        return sorted({*self.ids(kind), *map(unquote, past)})

    def read(self, kind: str, name: str) -> Stored | None:
        """See `Store.read`."""
        path = self._path(kind, name)
        with _told(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        head = _HEAD.match(data)
        since = None
        if head:
            with _told(path):
                since = _micros(head[1].decode())
        return Stored(data, str(path), since)

    def past(self, kind: str, name: str) -> Sequence[Stored]:
        """See `Store.past`."""
        found: dict[int | None, Stored] = {}
        with _told(self.folder):
            for path in sorted(self._history(kind, name).glob("*--*.yaml")):
                since, until = (None if text == _EVER else _micros(text) for text in path.stem.split("--", 1))
                before = found.get(since)
                if before is None or (before.until or 0) < (until or 0):  # a killed writer's try is shorter
                    found[since] = Stored(path.read_bytes(), str(path), since, until)
        return sorted(found.values(), key=lambda one: one.until or 0)

    def write(self, kind: str, name: str, data: bytes, since: int) -> None:
        """See `Store.write`."""
        path = self._path(kind, name)
        aside = path.with_name(f".{path.name}.new")
        with _told(path):
            path.parent.mkdir(exist_ok=True)
            aside.write_bytes(b"# since " + _stamp(since).encode() + b"\n" + data)
            sync(aside)
            before = self.read(kind, name)
            if before is not None:
                kept = self._kept(kind, name, before, since)
                kept.unlink(missing_ok=True)
                kept.hardlink_to(path)
            aside.replace(path)
            sync(path.parent)

    def remove(self, kind: str, name: str, until: int) -> None:
        """See `Store.remove`."""
        path = self._path(kind, name)
        with _told(path):
            before = self.read(kind, name)
            if before is not None:
                path.replace(self._kept(kind, name, before, until))
                sync(path.parent)

    def beat(self, name: str, data: bytes) -> None:
        """See `Store.beat`."""
        path = self.folder / _LIFE / f"{_quoted(name)}.json"
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(path)

    def beats(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """See `Store.beats`."""
        found = {}
        for name in names:
            path = self.folder / _LIFE / f"{_quoted(name)}.json"
            with _told(path), suppress(FileNotFoundError):
                found[name] = path.read_bytes()
        return found

    def _kept(self, kind: str, name: str, before: Stored, until: int) -> Path:
        history = self._history(kind, name)
        history.mkdir(parents=True, exist_ok=True)
        since = _EVER if before.since is None else _stamp(before.since)
        return history / f"{since}--{_stamp(until)}.yaml"

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{_quoted(name)}.yaml"

    def _history(self, kind: str, name: str) -> Path:
        return self.folder / kind / _HISTORY / _quoted(name)


def _quoted(name: str) -> str:
    """Give a file's name for any id: no id can leave the folder or hide in it."""
    quoted = quote(name, safe="")
    quoted = f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
    if not 0 < len(quoted) <= _LONGEST:
        raise DocumentError(
            f"the id {name[:40]!r} is {'empty' if not name else 'too long for the name of a file'}",
            remedy="choose a short one",
        )
    return quoted


def _stamp(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).strftime(_STAMP)


def _micros(stamp: str) -> int:
    return micros(datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DocumentError(
            f"the registry can't be used ({error.strerror})", where=str(path), remedy="check path and rights"
        ) from None
    except (ValueError, OverflowError) as error:
        raise DocumentError(
            f"says no time since when it holds ({error})",
            where=str(path),
            remedy="its first line has to be like `# since 20260131T120000.000000Z`, or no comment",
        ) from None
