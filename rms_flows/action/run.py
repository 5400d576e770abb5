"""Reports are looked for, planned, and told of; what is not told yet waits on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rms_flows.action import reading
from rms_flows.action.outbox import Known, Letter, Outbox
from rms_flows.action.plan import Planned, State, step
from rms_flows.action.policy import Policy
from rms_flows.action.receivers import Outcome, Outgoing, Receiver, open_receivers
from rms_flows.action.receivers.post import moment
from rms_flows.errors import DocumentError, RmsError
from rms_flows.io.contract import Log, Source, Window
from rms_flows.io.log_sink import LogSink
from rms_flows.model import Actions, load, microseconds
from rms_flows.report import WRITERS
from rms_flows.report.read import tabled
from rms_flows.schema import micros
from rms_flows.web import pause as longer

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Seconds after a failure; doubled from one to the next, of which by chance a half at most is taken off."""

TICK: Final = 1.0
"""Seconds between two looks at what is to be tried again."""

_pause: Final = partial(longer, first=FIRST_PAUSE, longest=LONGEST_PAUSE)

_LOG: Final = logging.getLogger("rms_flows.action")


@dataclass(slots=True)
class Counts:
    """The account of a start.

    Args:
        reports: That were not seen before.
        late: Of these, such as came after their time was settled.
        silenced: Nobody was told, as a silence says.
        inhibited: Somebody was not told, as another report tells it all.
        unrouted: That no route fits.
        forgotten: That came too late to tell anybody.
        notifications: That were put together.
        sent: Of these and of earlier ones.
        refused: By their receivers, for good; they are dead letters.
        failed: Tries that were not the last.
        dead: Records that are no reports; they are dead letters.
    """

    reports: int = 0
    late: int = 0
    silenced: int = 0
    inhibited: int = 0
    unrouted: int = 0
    forgotten: int = 0
    notifications: int = 0
    sent: int = 0
    refused: int = 0
    failed: int = 0
    dead: int = 0


@dataclass(slots=True)
class _Pause:
    """How a receiver is left alone after it failed."""

    failures: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Acting:
    """Tells receivers of the reports of a source.

    Args:
        policy: What the document of actions means.
        source: Where reports lie.
        receivers: By their ids.
        outbox: What waits, and was told.
        letters: Where dead letters go; open.
        lateness: Microseconds after its time within which a report comes.
        forget: Microseconds after its time after which it is not told of.
        begin: Microseconds: reports from here on count.
    """

    policy: Policy
    source: Source
    receivers: Mapping[str, Receiver]
    outbox: Outbox
    letters: Log
    lateness: int
    forget: int
    begin: int
    counts: Counts = field(default_factory=Counts)
    trouble: dict[str, str] = field(default_factory=dict)
    _state: State = field(init=False)
    _pauses: dict[str, _Pause] = field(default_factory=dict)
    _ignored: set[str] = field(default_factory=set)
    _odd: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Go on from what is kept."""
        self._state = self._known_state()
        self.outbox.hurry()

    def _known_state(self) -> State:
        return self.outbox.state() or State(settled=self.begin)

    @property
    def since(self) -> int:
        """Reports from here on count, microseconds."""
        return max(self.begin, self._state.settled - self.forget)

    def look(self, now: float, *, sure: bool = True) -> None:
        """Read what there is, and put together what is due.

        Args:
            now: Seconds since 1970.
            sure: What is no report will be none at the next look either: nothing is being written.

        Raises:
            SourceError: The reports can't be read.
            SinkError: A dead letter can't be written.
        """
        found = reading.read(self.source, Window(start=self.since))
        fresh = self._fresh(found.reports)
        seen = [replace(one, time=min(one.time, int(now * 1e6))) for one in self.policy.seen(fresh)]
        late = sum(one.time < self._state.settled for one in seen)
        waiting = {one.id for group in self._state.groups.values() for one in group.waiting}
        try:
            planned = step(self._state, seen, int(now * 1e6) - self.lateness)
            new = self.outbox.planned(
                self._state,
                _known(fresh),
                planned.notifications,
                grown=_known(_among(found.reports, waiting)),
                since=self.since,
                there=found.reports["event.id"].to_pylist(),
            )
        except BaseException:
            self._state = self._known_state()  # as it is on disk: the next look takes the same reports
            raise
        self.counts.late += late
        self._count(planned, fresh.num_rows, new)
        self._bury(found.dead, sure=sure)

    def _fresh(self, reports: pa.Table) -> pa.Table:
        """Give those that were not seen yet, and are not before what is forgotten."""
        new = self.outbox.new(reports["event.id"].to_pylist())
        reports = _among(reports, new)
        in_time = pc.greater_equal(reports["@timestamp"].cast(pa.int64()), self.since)
        old = reports.filter(pc.invert(in_time))
        old = old.filter(pc.greater_equal(old["@timestamp"].cast(pa.int64()), self.begin))
        ignored = {*old["event.id"].to_pylist()} - self._ignored
        self.counts.forgotten += len(ignored)
        self._ignored |= ignored
        return reports.filter(in_time)

    def _count(self, planned: Planned, reports: int, new: int) -> None:
        counts = self.counts
        counts.reports += reports
        counts.notifications += new
        for fate in planned.fates:
            setattr(counts, fate.kind, getattr(counts, fate.kind) + 1)

    def _bury(self, dead: list[dict[str, Any]], *, sure: bool) -> None:
        """Write dead letters, each once; one that may be half written only if it is still there later."""
        found = {xxhash.xxh3_128_hexdigest(repr(sorted(one.items())).encode()): one for one in dead}
        due = found.keys() if sure else found.keys() & self._odd
        self._odd = {*found}
        new = self.outbox.unburied(due)
        if new:
            self._letters([one for key, one in found.items() if key in new])
            self.outbox.buried(new)
            self.counts.dead += len(new)

    def _letters(self, letters: list[dict[str, Any]]) -> None:
        self.letters.write(reading.batch_of(letters))
        self.letters.flush()

    def tell(self, now: Callable[[], float], *, stop: threading.Event | None = None) -> None:
        """Send what waits, as far as receivers take it.

        Args:
            now: Seconds since 1970.
            stop: Leaves the rest for later.

        Raises:
            SinkError: A dead letter can't be written.
        """
        for name, receiver in self.receivers.items():
            pause = self._pauses.setdefault(name, _Pause())
            while not (stop and stop.is_set()) and pause.until <= now():
                letter = self.outbox.waiting(name, now())
                if letter is None:
                    break
                self._tried(letter, receiver.send(_outgoing(letter), now()), pause, now())

    def _tried(self, letter: Letter, outcome: Outcome, pause: _Pause, now: float) -> None:
        name, counts = letter.receiver, self.counts
        if outcome.state == "later":
            counts.failed += 1
            pause.failures += 1
            # The letter goes behind the others, in case it is what the receiver fails of.
            again = now + max(_pause(letter.attempts + 1), outcome.after or 0.0)
            pause.until = now + max(_pause(pause.failures), outcome.after or 0.0)
            self.outbox.told(letter, "waiting", outcome.said, again)
            if name not in self.trouble:
                _LOG.warning("%s: notifications wait on disk: %s", name, outcome.said)
            self.trouble[name] = outcome.said
            return
        if outcome.said:  # refused, or not by all
            self._letters([_refused(letter, outcome)])
            _LOG.warning("%s: %s: notification %s", name, outcome.said, letter.id)
        self.outbox.told(letter, outcome.state, outcome.said)
        counts.sent += outcome.state == "sent"
        counts.refused += outcome.state == "refused"
        if self.trouble.pop(name, None) is not None:
            _LOG.warning("%s: takes notifications again", name)
        pause.failures, pause.until = 0, 0.0

    @property
    def waits(self) -> dict[str, int]:
        """How many notifications wait for each receiver, also for those that the document has no more."""
        return {name: known["waiting"] for name, known in self.outbox.count().items() if known.get("waiting")}

    @property
    def grouped(self) -> int:
        """How many reports wait to be told of with others of their group."""
        return len({one.id for group in self._state.groups.values() for one in group.waiting})

    def follow(
        self, stop: threading.Event, every: float, show: Callable[[Acting], None] = lambda _: None
    ) -> None:
        """Look and tell until told to stop.

        Args:
            stop: Ends it.
            every: Seconds between two looks.
            show: Called after each.

        Raises:
            RmsError: The first look failed; later ones are tried again.
        """
        self.look(time.time(), sure=False)
        looked = time.monotonic()
        while not stop.is_set():
            self.tell(time.time, stop=stop)
            show(self)
            stop.wait(min(TICK, every))
            if time.monotonic() - looked >= every and not stop.is_set():
                looked = time.monotonic()
                self._look_again()

    def _look_again(self) -> None:
        try:
            self.look(time.time(), sure=False)
        except RmsError as error:
            if self.trouble.get("") != str(error):
                _LOG.warning("reports can't be read, and are looked for again: %s", error)
            self.trouble[""] = str(error)
        else:
            self.trouble.pop("", None)


@contextmanager
def acting(
    document: Path,
    source: Source,
    *,
    state: Path | None = None,
    dead_letters: Path | None = None,
    begin: datetime | None = None,
    now: float,
) -> Iterator[Acting]:
    """Open all that it takes to tell of reports.

    Args:
        document: File of the document of actions; its folder is where files that it names begin.
        source: Where reports lie.
        state: File of the outbox; beside the document unless told.
        dead_letters: File; beside the document unless told.
        begin: At the first start, reports from this time on count.
        now: Seconds since 1970.

    Raises:
        BusyError: Another process has the outbox.
        DocumentError: The document, a secret or the outbox is not what it has to be; or at the first start
            nobody knows from where on reports count, or that is longer ago than what is forgotten.
        SinkError: Dead letters can't be written.
    """
    known = load(document, Actions)
    policy = Policy(known, str(document))
    receivers = open_receivers(known, document.parent, str(document))
    forget = microseconds(known.forget)
    letters = LogSink(dead_letters or document.with_suffix(".dead-letters.ndjson"))
    place = state or document.with_suffix(".outbox")
    with closing(Outbox(place, known.actions)) as outbox, closing(letters):
        if outbox.begin is None:
            outbox.begun(_first(begin, now, forget, str(place), known.forget))
        letters.open()
        lateness = microseconds(known.lateness)
        yield Acting(policy, source, receivers, outbox, letters, lateness, forget, outbox.begin or 0)


def _first(begin: datetime | None, now: float, forget: int, where: str, said: str) -> int:
    if begin is None:
        raise DocumentError(
            "there is no outbox yet, so nobody knows which reports are news",
            where=where,
            remedy="say with --from where to begin, such as --from today's date; later it goes on from there",
        )
    found = micros(begin)
    if found < int(now * 1e6) - forget:
        raise DocumentError(
            f"{begin.isoformat()} is longer ago than the {said} after which reports are forgotten",
            where="--from",
            remedy="nobody is told of what is long past; --dry-run shows what would have been sent",
        )
    return found


def _among(reports: pa.Table, ids: set[str]) -> pa.Table:
    return reports.filter(pc.is_in(reports["event.id"], pa.array(sorted(ids), pa.string())))


def _known(reports: pa.Table) -> list[Known]:
    documents = [line for batch in reports.to_batches() for line in WRITERS["ecs"](batch)]
    times = reports["@timestamp"].cast(pa.int64()).to_pylist()
    revisions = pc.fill_null(reports["rms.revision"], 0).to_pylist()
    return [
        Known(*one) for one in zip(reports["event.id"].to_pylist(), times, revisions, documents, strict=True)
    ]


def _outgoing(letter: Letter) -> Outgoing:
    table, _ = tabled(letter.documents)
    return Outgoing(
        letter.id, letter.receiver, moment(letter.due / 1e6), msgspec.json.decode(letter.group), table
    )


def _refused(letter: Letter, outcome: Outcome) -> dict[str, Any]:
    kind = "notification" if outcome.state == "refused" else "recipient"
    why = f"{outcome.said}; see what the receiver says, and try again with --retry-refused"
    return reading.letter(f"{letter.receiver}/{letter.id}", kind, why, b"\n".join(letter.documents))
