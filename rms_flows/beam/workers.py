"""Shares of work in processes of their own: spawned, watched, and ended with the launcher.

A worker asks for one share after the other, so the fast ones do more. It tells its progress, its account or
its error through a pipe: no port, no file. It ends when the launcher does, however that ends.

Python, Beam and our own modules take four seconds to import. So a nursery starts before the work is known: it
imports them once, while the launcher reads documents and rules, and all workers are forked from it. It has
no threads when it forks, which a launcher with a picture of its progress can't promise. Importing this module
takes no time.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess, SpawnProcess
from typing import Any, Self

from rms_flows.beam.account import Account
from rms_flows.beam.load import load
from rms_flows.beam.progress import Listener, listen
from rms_flows.errors import FlowError, RmsError

Task = Callable[[Any], Account]
"""Works off one share; picklable."""

_TELL_EVERY = 0.1
"""Seconds between two messages of a worker's progress."""


class Crew:
    """Processes that work at once. Leaving the `with` block ends them, whatever they are doing.

    Args:
        count: How many; 1 works in this process, and starts none.
        preload: Modules that are imported, beside Beam, before there is work.
    """

    def __init__(self, count: int, *, preload: Sequence[str] = ()) -> None:
        self._count = count
        self._preload = preload
        self._nursery: SpawnProcess | None = None
        self._workers: list[Connection] = []
        self._ends: Connection | None = None  # tells (number, exit code) of workers that ended

    def __enter__(self) -> Self:
        if self._count > 1:
            context = multiprocessing.get_context("spawn")
            self._workers, theirs = map(list, zip(*(context.Pipe() for _ in range(self._count)), strict=True))
            self._ends, ends = context.Pipe(duplex=False)
            self._nursery = context.Process(target=_nurse, args=(theirs, ends, self._preload))
            self._nursery.start()
            for pipe in (*theirs, ends):
                pipe.close()  # or the end of a process would not close its pipe
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __len__(self) -> int:
        return self._count

    def run(self, task: Task, shares: Sequence[Any], *, tell: Listener) -> Account:
        """Work off all shares and add up their accounts.

        Args:
            task: What to do with a share.
            shares: Picklable, the heaviest first.
            tell: Hears of progress, in this process.

        Raises:
            RmsError: What a share raised first.
            FlowError: A worker died.
        """
        if self._count == 1:
            listen(tell)
            try:
                return sum((task(share) for share in shares), Account())
            finally:
                listen(None)
        try:
            return self._lead(task, shares, tell)
        except BaseException:
            self._end()  # before anybody tidies up behind them
            raise

    def _lead(self, task: Task, shares: Sequence[Any], tell: Listener) -> Account:
        """Hand out shares until none is left and all accounts are in."""
        total: Account = Account()
        waiting = iter(shares)
        busy = self._workers[: len(shares)]
        for worker in busy:
            self._send(worker, (task, next(waiting)))
        while busy:
            for pipe in wait(busy):
                assert isinstance(pipe, Connection)  # noqa: S101  `wait` gives what it got
                message = self._receive(pipe)
                if isinstance(message, RmsError):
                    raise message
                if isinstance(message, tuple):
                    tell(*message)
                    continue
                total.update(message)
                share = next(waiting, None)
                if share is None:
                    busy.remove(pipe)
                else:
                    self._send(pipe, (task, share))
        return total

    def _send(self, pipe: Connection, message: Any) -> None:
        try:
            pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(pipe) from None

    def _receive(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death(pipe) from None

    def _death(self, pipe: Connection) -> FlowError:
        assert self._ends is not None  # noqa: S101  who has a pipe has a nursery
        assert self._nursery is not None  # noqa: S101
        try:
            ends = iter(self._ends.recv, None)
            code = next(code for number, code in ends if self._workers[number] is pipe)
        except EOFError:
            self._nursery.join()
            code = self._nursery.exitcode
        return FlowError(
            f"a worker process died with exit code {code}",
            remedy="if it was killed for its memory (-9), use fewer --workers; a script of your own has to "
            'start under `if __name__ == "__main__":`',
        )

    def _end(self) -> None:
        """End all processes; when this returns, none of them runs."""
        if self._nursery is None:
            return
        self._nursery.kill()  # which its children follow
        self._nursery.join()
        for pipe in self._workers:
            with suppress(EOFError, OSError):
                while True:  # until nobody holds the other end
                    pipe.recv_bytes()
            pipe.close()
        self._nursery = None


def _nurse(pipes: Sequence[Connection], ends: Connection, preload: Sequence[str]) -> None:
    """Live as a nursery: get ready, fork a worker for each pipe, and tell how each of them ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher ends us
    load()
    for module in preload:
        importlib.import_module(module)
    context = multiprocessing.get_context("fork")
    children: dict[int, tuple[int, ForkProcess]] = {}
    for number, pipe in enumerate(pipes):
        child = context.Process(target=_work, args=(pipe, [other for other in pipes if other is not pipe]))
        child.start()
        children[child.sentinel] = number, child
    for pipe in pipes:
        pipe.close()
    launcher = multiprocessing.parent_process()
    assert launcher is not None  # noqa: S101  this is no main process
    while children:
        for sentinel in wait([launcher.sentinel, *children]):
            if sentinel == launcher.sentinel:
                os._exit(1)
            assert isinstance(sentinel, int)  # noqa: S101  `wait` gives what it got
            number, child = children.pop(sentinel)
            child.join()
            ends.send((number, child.exitcode))


def _work(pipe: Connection, others: Sequence[Connection]) -> None:
    """Live as a worker: share after share, each with what to do."""
    for other in others:
        other.close()  # or the end of that worker would not close its pipe
    threading.Thread(target=_end_with_parent, daemon=True).start()
    listen(_Teller(pipe))
    while True:
        task, share = pipe.recv()
        try:
            outcome: Account | RmsError = task(share)
        except RmsError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001  whatever it is, the launcher has to hear of it
            outcome = FlowError(f"a worker failed with {type(error).__name__}: {error}")
        pipe.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
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
