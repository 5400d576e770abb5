"""Shares of work in processes of their own: spawned, watched, and ended with the launcher. Knows no Beam.

A worker asks for one share after the other, so the fast ones do more. It tells its progress, its account or
its error through a pipe: no port, no file. It ends when the launcher does, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from rms_flows.beam.account import Account
from rms_flows.beam.progress import Listener, listen
from rms_flows.errors import FlowError, RmsError

Task = Callable[[Any], Account]
"""Works off one share; picklable."""

_TELL_EVERY = 0.1
"""Seconds between two messages of a worker's progress."""


def run_shares(task: Task, shares: Sequence[Any], *, workers: int, tell: Listener) -> Account:
    """Work off all shares and add up their accounts.

    Args:
        task: What to do with a share.
        shares: Picklable, the heaviest first.
        workers: Processes; 1 works in this one.
        tell: Hears of progress, in this process.

    Raises:
        RmsError: What a share raised first; the other workers are ended.
        FlowError: A worker died.
    """
    if workers == 1:
        listen(tell)
        try:
            return sum((task(share) for share in shares), Account())
        finally:
            listen(None)
    with _spawned(task, min(workers, len(shares))) as crew:
        return _lead(crew, list(shares), tell)


@dataclass(frozen=True, slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection


def _lead(crew: Sequence[_Worker], shares: list[Any], tell: Listener) -> Account:
    """Hand out shares until none is left and all accounts are in."""
    total: Account = Account()
    busy = {worker.pipe: worker for worker in crew}
    waiting = iter(shares)
    for worker in crew:
        _send(worker, next(waiting))
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)  # noqa: S101  `wait` gives what it got
            message = _receive(busy[pipe])
            if isinstance(message, RmsError):
                raise message
            if isinstance(message, tuple):
                tell(*message)
                continue
            total.update(message)
            share = next(waiting, None)
            _send(busy[pipe], share)
            if share is None:
                busy.pop(pipe).process.join()
    return total


def _send(worker: _Worker, share: Any) -> None:
    try:
        worker.pipe.send(share)
    except (BrokenPipeError, ConnectionResetError):
        raise _death(worker) from None


def _receive(worker: _Worker) -> Any:
    try:
        return worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        raise _death(worker) from None


def _death(worker: _Worker) -> FlowError:
    worker.process.join()
    return FlowError(
        f"a worker process died with exit code {worker.process.exitcode}",
        remedy="if it was killed for its memory (-9), use fewer --workers; a script of your own has to start "
        'under `if __name__ == "__main__":`',
    )


@contextmanager
def _spawned(task: Task, count: int) -> Iterator[list[_Worker]]:
    context = multiprocessing.get_context("spawn")
    crew: list[_Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()  # or the end of the worker would not close the pipe
            crew.append(_Worker(process, ours))
        yield crew
    finally:
        for worker in crew:
            worker.process.kill()
        for worker in crew:
            worker.process.join()
            worker.pipe.close()


def _work(task: Task, pipe: Connection) -> None:
    """Live as a worker: take shares until None comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher ends us
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    listen(_Teller(pipe))
    while (share := pipe.recv()) is not None:
        try:
            outcome: Account | RmsError = task(share)
        except RmsError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001  whatever it is, the launcher has to hear of it
            outcome = FlowError(f"a worker failed with {type(error).__name__}: {error}")
        pipe.send(outcome)


def _end_with_launcher() -> None:
    launcher = multiprocessing.parent_process()
    if launcher is not None:
        wait([launcher.sentinel])
        os._exit(1)


class _Teller:
    """Sends progress now and then, so that small batches don't drown the launcher."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._rows, self._done = 0, 0.0
        self._last = time.monotonic()

    def __call__(self, rows: int, done: float) -> None:
        self._rows += rows
        self._done += done
        if time.monotonic() - self._last >= _TELL_EVERY:
            self._pipe.send((self._rows, self._done))
            self._rows, self._done = 0, 0.0
            self._last = time.monotonic()
