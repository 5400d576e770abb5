"""The end of a program that works until it is told to stop."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_end(stop: Callable[[], object]) -> Iterator[None]:
    """Call something at the first SIGTERM or Ctrl-C, and end this process at once at the second.

    Afterwards both do what they did before, so that a program that runs a command of ours keeps its own.

    Args:
        stop: Makes what runs in here end in order; called between two steps of the interpreter.

    Raises:
        ValueError: This is no main thread, where alone Python lets signals be taken.
    """

    def first(_number: int, _frame: object) -> None:
        for number in _ENDS:  # the second may be the other one
            signal.signal(number, signal.SIG_DFL)
        stop()

    before = {number: signal.signal(number, first) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
