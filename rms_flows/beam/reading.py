"""The reader of a stream: all sources behind one splittable DoFn, each batch marked with what is settled."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.io.restriction_trackers import RestrictionTracker
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.core import RestrictionProvider

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam import account
from rms_flows.beam.cluster import SECONDS
from rms_flows.beam.ledger import Ledger, fed
from rms_flows.beam.share import Several, attempt_of, attempted, origin, tickets
from rms_flows.errors import FlowError, RmsError
from rms_flows.io.contract import Log
from rms_flows.io.line import DOUBTS, ENDED, Taken
from rms_flows.io.live import Reading, letters
from rms_flows.io.position import NOT_BEGUN
from rms_flows.io.share import Share

_MARK: Final = b"rms.mark"


FIRST: Final = 1
"""Number of the first batch: Beam's local runner takes work that is left from 0 on for none, and ends."""


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one of several readers says of a batch to who keeps the positions.

    Args:
        feed: What the ledger calls what it reads.
        attempt: Of the job.
        begun: What was settled in all sources when the reader began, microseconds.
        position: Behind the batch, plain.
        idle: Whether it waits for events.
    """

    feed: str
    attempt: int
    begun: int
    position: list[Any]
    idle: bool = False


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a batch of a stream carries with it.

    Args:
        source: Whose it is.
        number: Its number in the run.
        settled: Microseconds: no event of the source is before it any more.
        latest: Time of the source's last event.
        warm: It was acknowledged before the start: it brings back state, and no sink takes it again.
        origin: Which stage and shard with state it comes from; empty where it comes from a source.
        sent: What a reader says beside of it to another process, where there are several readers.
    """

    source: str
    number: int
    settled: int
    latest: int
    warm: bool = False
    origin: str = ""
    sent: Sent | None = None

    @property
    def feed(self) -> str:
        """What the ledger calls it."""
        return self.source if self.sent is None else self.sent.feed


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Mark).decode


def marked(batch: pa.RecordBatch, mark: Mark) -> pa.RecordBatch:
    """Put a mark on a batch."""
    return batch.replace_schema_metadata({_MARK: _write(mark)})


def mark_of(batch: pa.RecordBatch) -> Mark:
    """Read the mark of a batch."""
    return _read(batch.schema.metadata[_MARK])


@dataclass(slots=True)
class Live:
    """What lives as long as a stream runs, in its process; DoFns, which Beam copies, name it by its id.

    Its memory is that of the stages with state: processor, level, shard → `beam.live.Memory`. Its counts are
    those of the account, which Beam gives only at the end.

    Args:
        reading: What is read.
        ledger: What was read and what is committed.
        sinks: Id → where it goes.
        since: Processor → the time from which on its reports weren't told yet.
        stopped: Whether to end.
        close: Closes the sinks.
        processors: Their ids.
        number: Of the next batch.
        memory: Of the stages with state.
        counts: Of what was done so far.
        over: Whether nothing more is to be read.
        left: When the runner was last done with a step, by the monotonic clock; None before the first time.
        at_work: Whether it runs a step now.
        attempt: Of the job, where there are several readers.
        told: Source → whether it was told last that it waits for events, where there are several readers.
        begun: What was settled in all sources when it began, microseconds, where there are several readers.
        beat: When it last gave a batch, by the monotonic clock, where there are several readers.
        arrived: What is read of a source (`ledger.fed`) → number of the last batch that came of it.
        heard: Reader → when a batch of it came, by the monotonic clock.
    """

    reading: Reading
    ledger: Ledger
    sinks: Mapping[str, Log]
    since: Mapping[str, int] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    close: Callable[[], None] = lambda: None
    processors: Sequence[str] = ()
    number: int = FIRST
    memory: dict[tuple[str, int, int], Any] = field(default_factory=dict)
    counts: account.Account = field(default_factory=account.Account)
    over: bool = False
    left: float | None = None
    at_work: bool = False
    attempt: int = 0
    told: dict[str, bool] = field(default_factory=dict)
    begun: int = NOT_BEGUN
    beat: float = 0.0
    arrived: dict[str, int] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Note that the runner runs a step; the steps of one bundle follow each other in one thread."""
        self.at_work = True
        try:
            yield
        finally:
            self.at_work, self.left = False, time.monotonic()

    def leave(self, seconds: float = SECONDS) -> None:
        """Have no step work on any more, and wait so long for one that does."""
        self.stopped = lambda: True
        end = time.monotonic() + seconds
        while self.at_work and time.monotonic() < end:
            time.sleep(0.05)

    def is_done(self) -> bool:
        """Tell whether all is read and acknowledged, and no step has more to do."""
        return self.over and not self.ledger.owing() and not self.at_work

    def waiting(self) -> float | None:
        """Tell for how many seconds the runner has run no step; None before the first time."""
        if self.at_work:
            return 0.0
        return None if self.left is None else time.monotonic() - self.left


LIVE: Final[dict[str, Live]] = {}
"""Id of a run → what it needs."""


def live_of(run: str, mark: Mark) -> Live:
    """Give what a step works on.

    Raises:
        FlowError: It is over: the stream has ended, or the runner has begun anew, and this step came later.
    """
    live = LIVE.get(run)
    if live is None or (mark.sent is not None and mark.sent.attempt != live.attempt):
        raise _late()
    return live


def _late() -> FlowError:
    return FlowError(
        "a step came after the end of what it is of", remedy="nothing: the job was begun anew, or has ended"
    )


def renewed(run: str, attempt: int, make: Callable[[], Live]) -> Live:
    """Give what steps of an attempt of a job work on, made anew in a process that has lived through another.

    Raises:
        FlowError: A later attempt has begun.
        RmsError: It can't be made.
    """
    known = LIVE.get(run)
    if known is not None and known.attempt == attempt:
        return known
    if known is not None and known.attempt > attempt:
        raise _late()
    job = run.partition("/")[0]
    for name, one in [*LIVE.items()]:  # this process may have had another part
        if name.partition("/")[0] == job and one.attempt < attempt:
            LIVE.pop(name, None)
            _retire(one)
    live = LIVE[run] = make()
    return live


def _retire(live: Live) -> None:
    """Let go of what nobody needs any more."""
    live.ledger.leave()
    live.leave()
    for close in (live.reading.close, live.close):
        with suppress(RmsError):
            close()


class Count:
    """A count of a stage: in the account, and while the stream runs where it can be seen.

    Args:
        run: Id in `LIVE`.
        stage: See `account`.
        word: Likewise.
    """

    def __init__(self, run: str, stage: str, word: str) -> None:
        self._run, self._place = run, (stage, word)
        self._counter = Metrics.counter(stage, word)

    def inc(self, count: int) -> None:
        """Add to it."""
        self._counter.inc(count)
        if (live := LIVE.get(self._run)) is not None:
            live.counts[self._place] += count


STALLED: Final = 60.0
"""Seconds for which a runner may leave the steps alone; where all is well it is less than one."""

LEFT: Final = 70
"""Exit code of a worker that the runner has left alone."""


def watched(run: str, seconds: float = STALLED) -> None:
    """End this process where the runner leaves the steps of a run alone: it starts them anew elsewhere."""
    live = LIVE.get(run)
    while live is not None and LIVE.get(run) is live and not live.is_done():
        idle = live.waiting()
        if idle is not None and idle >= seconds:
            _leave(f"has run no step for {idle:.0f} s")
        time.sleep(1)


STALLED_BEHIND: Final = 600.0
"""Seconds likewise for one of several readers: it is held up while sinks, in another process, are away."""

BEAT_EVERY: Final = 1.0
"""Seconds after which one of several readers tells the others that it is there, if it has nothing to tell."""

BEGUN: Final = threading.Event()
"""Set where this process was asked for the first step of a reader."""


def attended(run: str, readers: int, seconds: float = STALLED_BEHIND) -> None:
    """End this process, which is behind several readers, where the runner has lost one of them."""
    live, began = LIVE.get(run), time.monotonic()
    while live is not None and LIVE.get(run) is live:
        silent = {one: time.monotonic() - live.heard.get(one, began) for one in range(readers)}
        lost = max(silent, key=lambda one: silent[one])
        if silent[lost] >= seconds:
            _leave(f"has given nothing of reader {lost} for {silent[lost]:.0f} s")
        time.sleep(1)


def awaited(seconds: float) -> None:
    """End this process likewise where the runner prepared a reader and lost it before its first step."""
    if not BEGUN.wait(seconds):
        _leave(f"has not begun to read for {seconds:.0f} s")


def _leave(what: str) -> NoReturn:
    sys.stderr.write(f"rms_flows: the runner {what}; it has to start anew\n")
    sys.stderr.flush()
    os._exit(LEFT)  # also where a step hangs


_OVER: Final = -1


class Turns(RestrictionTracker):  # type: ignore[misc]  # Beam has no types
    """The work of a reader without an end that is known: the number of its next batch."""

    def __init__(self, restriction: int) -> None:
        self._at = restriction
        self._over = restriction == _OVER

    def current_restriction(self) -> int:
        """Give the number of the next batch."""
        return self._at

    def current_progress(self) -> Any:
        """Tell Beam that there is more."""
        return beam.io.iobase.RestrictionProgress(fraction=0.5)

    def is_bounded(self) -> bool:
        """Tell Beam that the end is not known."""
        return False

    def try_claim(self, position: int) -> bool:
        """Take a batch, or `_OVER`."""
        if self._over:
            return position == _OVER
        self._over = position == _OVER
        self._at = position + 1 if position != _OVER else self._at
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[int, int] | None:
        """Leave the rest for later; a reader is not shared."""
        if self._over or fraction_of_remainder != 0:
            return None
        self._over = True
        return _OVER, self._at

    def check_done(self) -> None:
        """Check that nothing is left undone."""
        if not self._over:
            raise ValueError(f"the reader stopped before batch {self._at}")


class ReadLive(beam.DoFn, RestrictionProvider):  # type: ignore[misc]  # Beam has no types
    """Gives batches under the tag `account.source(id)`, what can't be used under `account.DEAD`.

    Its element is a ticket (`share.tickets`) where there are several readers, and nothing for one alone.

    Args:
        run: Id in `LIVE`.
        bundle: Seconds after which it lets the runner finish a bundle.
        make: Makes what the steps work on, in a process that hasn't got it.
        several: Makes it for several readers instead.
    """

    def __init__(
        self,
        run: str,
        bundle: float,
        make: Callable[[], Live] | None = None,
        several: Several | None = None,
    ) -> None:
        self._run = run
        self._bundle = bundle
        self._make = make
        self._several = several
        self._counters = {word: Metrics.counter(account.READER, word) for word in ("turns", "owed", "ends")}

    def initial_restriction(self, element: Any) -> int:
        """Begin with the first batch; in a process of the runner's, see that it goes on."""
        del element
        if self._make is not None:
            threading.Thread(target=awaited, args=(STALLED,), daemon=True).start()
        return FIRST

    def create_tracker(self, restriction: int) -> Turns:
        """Give what Beam asks how far the reader is."""
        return Turns(restriction)

    def restriction_size(self, element: Any, restriction: int) -> int:
        """Give one size to all: nobody knows how much is to come."""
        del element, restriction
        return 1

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        element: Any,
        tracker: Any = beam.DoFn.RestrictionParam(),  # noqa: B008  as Beam asks
    ) -> Iterator[TaggedOutput]:
        """Read for the time of a bundle."""
        BEGUN.set()
        live = self._live(element)
        if live.waiting() is None:
            # From a checkpoint the runner knows how far a reader was; this one begins from the positions.
            live.number = tracker.current_restriction()
        self._counters["turns"].inc()
        if tracker.current_restriction() != live.number:
            raise FlowError(
                f"the runner asked for batch {tracker.current_restriction()} where {live.number} is next",
                remedy="start the stream again: it goes on from what all sinks have",
            )
        with live.working():
            yield from self._read(live, tracker)

    def _live(self, ticket: Any) -> Live:
        """Give what it works on, made anew for an attempt of the job that is new to this process."""
        run, make, attempt = self._run, self._make, 0
        if self._several is not None:
            share, attempt = Share(ticket % self._several.count, self._several.count), attempt_of(ticket)
            run, make = f"{run}/{share.number}", partial(self._several.reader, share, attempt)
        if make is None:
            return LIVE[run]
        known = LIVE.get(run)
        live = renewed(run, attempt, make)
        if live is not known:
            args = (run, STALLED if self._several is None else STALLED_BEHIND)
            threading.Thread(target=watched, args=args, daemon=True).start()
        return live

    def _read(self, live: Live, tracker: Any) -> Iterator[TaggedOutput]:
        end = time.monotonic() + self._bundle
        while True:
            taken = None if live.stopped() else live.reading.take()
            if taken is None:
                live.over = tracker.try_claim(_OVER)
                self._counters["ends"].inc()
                return
            live.ledger.write_when_due()
            for word, count in taken.counts.items():
                if not (taken.warm and word in DOUBTS):  # those were counted before
                    Count(self._run, account.source(taken.source), word).inc(count)
            if taken.new or self._turned(live, taken):
                if not tracker.try_claim(live.number):
                    raise RuntimeError("a reader was split")
                yield from self._given(live, taken)
                live.number += 1
            if time.monotonic() > end:
                tracker.defer_remainder()
                return

    def _turned(self, live: Live, taken: Taken) -> bool:
        """Tell whether others have to hear that a source is idle, or no longer, or that this is here."""
        if self._several is None:
            return False
        return time.monotonic() - live.beat > BEAT_EVERY or live.told.get(taken.source) != _idle(live, taken)

    def _given(self, live: Live, taken: Taken) -> Iterator[TaggedOutput]:
        stage = account.source(taken.source)
        owed = live.ledger.issue(taken.source, live.number, taken.position, taken.settled)
        self._counters["owed"].inc(owed)
        mark = Mark(taken.source, live.number, taken.settled, taken.latest, taken.warm)
        if self._several is not None:
            mark = self._sent(live, taken, mark)
        if not taken.warm:
            Count(self._run, stage, "rows").inc(taken.rows.num_rows)
            Count(self._run, stage, "late").inc(taken.late.num_rows)
        yield TaggedOutput(account.DEAD, marked(letters(taken), mark))
        yield TaggedOutput(stage, marked(taken.rows, mark))

    def _sent(self, live: Live, taken: Taken, mark: Mark) -> Mark:
        """Say beside it what who keeps the positions has to know."""
        live.beat = time.monotonic()
        idle = live.told[taken.source] = _idle(live, taken)
        share = live.reading.lines[taken.source].feed.share
        name = fed(taken.source, share)
        sent = Sent(name, live.attempt, live.begun, taken.position.plain(), idle)
        return msgspec.structs.replace(mark, origin=origin(share), sent=sent)


def _idle(live: Live, taken: Taken) -> bool:
    """Tell whether nobody has to wait for a source; one that has ended gives nothing more."""
    return taken.settled == ENDED or live.reading.lines[taken.source].idle


class BeginLive(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Gives a ticket to each of several readers, once what they begin from is there for all to see."""

    def __init__(self, several: Several) -> None:
        self._several = several

    def process(self, _element: Any) -> Iterator[int]:
        """Begin an attempt of the job."""
        attempt = attempted(self._several.positions)
        self._several.begin(attempt)
        yield from tickets(self._several.count, attempt)


def read(
    pipeline: beam.Pipeline,
    run: str,
    sources: Sequence[str],
    bundle: float,
    make: Callable[[], Live] | None = None,
    several: Several | None = None,
) -> Any:
    """Read all sources of a run; see `ReadLive`."""
    tags = [*map(account.source, sources), account.DEAD]
    begun = pipeline | "Stream" >> beam.Create([None], reshuffle=False)
    if several is not None:
        begun = begun | "Begin" >> beam.ParDo(BeginLive(several)).with_output_types(int)
    return begun | "Read" >> beam.ParDo(ReadLive(run, bundle, make, several)).with_output_types(
        pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch)
    ).with_outputs(*tags)
