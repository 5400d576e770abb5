"""Where a sink keeps what is not yet visible: a folder that one run owns at a time and nothing outlives."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rms_flows.durable import sync
from rms_flows.errors import SinkError

_REMEDIES = {
    errno.ENOSPC: "free some space or write to another disk; what was there before is unchanged",
    errno.EDQUOT: "free some space or write to another disk; what was there before is unchanged",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) or write to another disk",
    errno.EACCES: "give this user the right to write there, or choose another target",
    errno.EPERM: "give this user the right to write there, or choose another target",
    errno.EROFS: "the disk is mounted read-only; choose another target",
    errno.ENOTDIR: "a part of the path is a file; choose another target",
    errno.EEXIST: "a file stands where a folder is needed; move it away or choose another target",
    errno.EISDIR: "a folder has this name; name a file",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turn what the system says of a write into a SinkError that names the target and the remedy.

    Example:
        >>> with writing("out.ndjson"):
        ...     raise OSError(errno.ENOSPC, "")
        Traceback (most recent call last):
        rms_flows.errors.SinkError: out.ndjson: can't be written: No space left on device; free some space ...
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk and the path")
        raise SinkError(f"can't be written: {reason}", where=where, remedy=remedy) from error


class Staging:
    """A folder for what is not yet visible, with a lock that dies with the process that holds it.

    The copy that crosses to another process may write parts; it neither holds nor releases the lock. Each
    run has its own folder of parts, so that a worker that outlives a killed launcher for a moment can't write
    into the next run.

    Args:
        folder: The staging folder; on the disk of the target, or renaming would not be atomic.
        target: What messages name.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self.target = target
        self._parts: Path | None = None
        self._lock: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    @property
    def parts(self) -> Path:
        """Folder of this run's parts."""
        if self._parts is None:
            raise SinkError("nothing may be written yet", where=self.target, remedy="call prepare() first")
        return self._parts

    def take(self) -> None:
        """Take the lock and leave the folder as it was; raises SinkError when another run has it."""
        with writing(self.target):
            while self._lock is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = self._locked()

    def _locked(self) -> int | None:
        """Lock the lock file; None when its holder removed it meanwhile."""
        path = self.folder / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # the folder went
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(lock)
            raise SinkError(
                f"another run writes to it (lock {path})",
                where=self.target,
                remedy="wait for its end, or choose another target",
            ) from None
        os.close(lock)
        return None

    def clear(self) -> None:
        """Remove what a killed run left and make a folder for this run's parts; or give the lock free."""
        try:
            with writing(self.target):
                for left in self.folder.iterdir():
                    if left.name != "lock":
                        _remove(left)
                self._parts = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Remove the staging folder, the lock file last, and give the lock free; does nothing without it."""
        if self._lock is None:
            return
        with suppress(OSError):
            for left in self.folder.iterdir():
                if left.name != "lock":
                    _remove(left)
            (self.folder / "lock").unlink()
            self.folder.rmdir()  # fails when the next run came in between, which is right
        self.leave()

    def leave(self) -> None:
        """Give the lock free and leave the folder to the next run."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._parts = None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Under a new name nobody who still writes by the old one adds to it while it is emptied.
        shutil.rmtree(path.rename(path.with_name(f"gone-{path.name}")))
    else:
        path.unlink(missing_ok=True)


def publish(made: Path, target: Path) -> None:
    """Put a finished file in its place at once: who reads sees the old one or the new one, whole."""
    sync(made)
    made.replace(target)
    sync(target.parent)
