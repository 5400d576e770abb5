"""What is seen of a running stream: a line for a person, lines of JSON and figures for machines."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rms_flows.cli.show import TEXT_EVERY
from rms_flows.errors import RmsError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from rms_flows.beam.seen import Seen
    from rms_flows.stream import Streamed

Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="PORT|FILE",
        help="Give figures for Prometheus at http://127.0.0.1:PORT/metrics, with /healthz and /readyz "
        "(HOST:PORT for another address), or write them to a file.",
    ),
]
Log = Annotated[
    Literal["text", "json"],
    typer.Option("--log", help="What is said on standard error: text for a person, or a line of JSON each."),
]

PERSON_EVERY = 1.0
"""Seconds between two looks where a person watches."""

Look = Callable[[], "Seen"]
Show = Callable[["Seen", float, bool], None]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Somebody who looks at a stream now and then.

    Args:
        every: Seconds between two looks.
        show: Is given what is seen, the events a second since the look before, and whether it is the last.
    """

    every: float
    show: Show


@dataclass(slots=True)
class Watch:
    """All that is told of a stream while it runs.

    Args:
        watchers: Who looks.
        log: Where lines of JSON go; None where a person is told.
        quiet: A person is told nothing but errors and the account.
        begun: Called with how to look, when the stream is there to be looked at.
    """

    watchers: list[Watcher] = field(default_factory=list)
    log: FilteringBoundLogger | None = None
    quiet: bool = False
    begun: list[Callable[[Look], None]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Tell what a person should know."""
        if self.log is not None:
            self.log.info("told", text=text)
        elif not self.quiet:
            typer.echo(text, err=True)

    def done(self, account: Streamed) -> None:
        """Tell that it ended, and how."""
        if self.log is not None:
            from dataclasses import asdict

            self.log.info("ended", **asdict(account))

    @contextmanager
    def watch(self, look: Look) -> Iterator[None]:
        """Let everybody look, from a thread of its own, until the stream ends, and once more then."""
        for begin in self.begun:
            begin(look)
        over = threading.Event()
        threads = [
            threading.Thread(target=_looking, args=(one, look, over), daemon=True) for one in self.watchers
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _looking(watcher: Watcher, look: Look, over: threading.Event) -> None:
    last, rows, ended = time.monotonic(), 0, False
    while not ended:
        ended = over.wait(watcher.every)
        now, seen = time.monotonic(), look()
        watcher.show(seen, (seen.rows - rows) / max(now - last, 1e-3), ended)
        last, rows = now, seen.rows


@contextmanager
def watched(flow: str, metrics: str | None, log: str, *, quiet: bool) -> Iterator[Watch]:
    """Set up what a person and machines are told of a stream.

    Args:
        flow: Its id.
        metrics: `Metrics`.
        log: `Log`.
        quiet: Whether nobody looks at its progress.

    Raises:
        RmsError: A library is not installed, or a place for figures can't be used.
        typer.Exit: Of an error that was written to the log as JSON.
    """
    with ExitStack() as stack:
        watch = Watch(quiet=quiet)
        if log == "json":
            from rms_flows.cli.json_log import json_log

            watch.log = stack.enter_context(json_log(flow))
            watch.watchers.append(Watcher(TEXT_EVERY, _logged(watch.log)))
        elif not quiet:
            watch.watchers.append(_person())
        try:
            if metrics is not None:
                _figures(flow, metrics, watch, stack)
            yield watch
        except RmsError as error:
            if watch.log is None:
                raise
            watch.log.error("failed", problem=error.problem, where=error.where, remedy=error.remedy)  # noqa: TRY400  nobody wants a traceback
            raise typer.Exit(2) from None


def _figures(flow: str, metrics: str, watch: Watch, stack: ExitStack) -> None:
    from rms_flows.cli import figures

    made = figures.Figures(flow)
    watch.begun.append(made.look_at)
    place = figures.port_of(metrics)
    if place is not None:
        stack.enter_context(figures.serving(made, *place))
        return
    figures.write(made, metrics)
    watch.watchers.append(Watcher(TEXT_EVERY, lambda *_: figures.write_again(made, metrics)))


def _logged(log: FilteringBoundLogger) -> Show:
    def show(seen: Seen, rate: float, _last: bool) -> None:  # noqa: FBT001  see Show
        behind = None if seen.settled is None else round(time.time() - seen.settled, 3)
        log.info(
            "progress",
            events=seen.rows,
            rate=round(rate, 1),
            unread=seen.left,
            behind_seconds=behind,
            reports=sum(seen.reports.values()),
            sinks=dict(seen.sinks),
            dead_letters=seen.dead_letters,
            ready=seen.unready is None,
            healthy=seen.ill is None,
        )

    return show


def _person() -> Watcher:
    """Show a line in place on a terminal, else one now and then."""
    if not sys.stderr.isatty():
        return Watcher(TEXT_EVERY, lambda seen, rate, _: _write(f"rms: {line(seen, rate, time.time())}\n"))

    def show(seen: Seen, rate: float, last: bool) -> None:  # noqa: FBT001  see Show
        wide = shutil.get_terminal_size().columns - 1
        _write(f"\r\x1b[K{line(seen, rate, time.time())[:wide]}" + "\n" * last)

    return Watcher(PERSON_EVERY, show)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def line(seen: Seen, rate: float, now: float) -> str:
    """Say what is seen of a stream, in one line.

    Args:
        seen: It.
        rate: Events a second.
        now: Seconds since 1970.
    """
    told: Sequence[str] = [
        f"{seen.rows:,} events",
        f"{rate:,.0f}/s",
        *([] if seen.left is None else [f"{seen.left:,} unread"]),
        *([] if seen.settled is None else [f"time {_long(now - seen.settled)} behind"]),
        f"{sum(seen.reports.values()):,} reports",
        f"{seen.dead_letters:,} dead letters",
    ]
    state = "stopping" if seen.stopping else seen.unready
    return ", ".join([*told, *([state] if state else [])])


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def _long(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
