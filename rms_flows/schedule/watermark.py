"""The document that says up to where all is done, and the lock of who works on it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rms_flows.errors import BusyError, DocumentError
from rms_flows.io.staging import publish, writing
from rms_flows.schedule.spans import text

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Watermark:
    """What is done.

    Args:
        flow: Name of the flow.
        done: All before this time is in the sinks.
        spans: How many spans that took.
    """

    flow: str
    done: datetime
    spans: int = 0


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a watermark; it goes with the process that has it, however that ends.

    Raises:
        BusyError: Another process has it.
        SinkError: The file can't be made.
    """
    lock = path.with_name(f"{path.name}.lock")
    with writing(str(path)):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "another instance is at work", where=str(path), remedy="it does what is due; wait for its end"
            ) from None
        yield
    finally:
        os.close(handle)


def read(path: Path, flow: str) -> Watermark | None:
    """Read the watermark of a flow; None where there is none yet.

    Raises:
        DocumentError: The file holds something else, or the watermark of another flow.
    """
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_bytes())
        known = Watermark(document["flow"], datetime.fromisoformat(document["done"]), document["spans"])
        assert document["version"] == VERSION, f"version {document['version']}"  # noqa: S101  caught below
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DocumentError(
            f"is no watermark of this version ({type(error).__name__}: {error})",
            where=str(path),
            remedy="name another with --state, or remove it and say with --from where to begin",
        ) from None
    if known.flow != flow:
        raise DocumentError(
            f"is the watermark of the flow {known.flow!r}, not of {flow!r}",
            where=str(path),
            remedy="name another with --state",
        )
    return known


def write(path: Path, mark: Watermark) -> None:
    """Write it at once and for good; raises SinkError."""
    document = {"version": VERSION, "flow": mark.flow, "done": text(mark.done), "spans": mark.spans}
    with writing(str(path)):
        made = path.with_name(f".{path.name}.new")
        made.write_text(json.dumps(document) + "\n")
        publish(made, path)
