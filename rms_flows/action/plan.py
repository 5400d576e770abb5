"""Reports become notifications: grouped, silenced, inhibited and held back, by the time of events alone.

A group is told of once `wait` has passed since its first report that waits, and `interval` since it was last
told of; a report that differs in time only from one told of waits for `repeat` since then, unless another
takes it along. A report is inhibited where another, that tells it all, was at most `within` before it, or
before the moment at which it would be told of. The same reports give the same notifications under the same
ids, whether they come at once or one by one, as long as each comes before its time is settled.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import xxhash

MOST: Final = 500
"""Reports of one notification; more of them become further ones, so that receivers can take them."""

ALL: Final = 2**62
"""Settled up to here, all is told."""

BEGINNING: Final = -(2**62)

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids that may stand in a header; those of our reports are such, others may be anything."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a route puts reports together; durations are microseconds.

    Args:
        key: Tells the route from others.
        receiver: Id of who is told.
        wait: From the first report that waits to the telling.
        interval: Between two tellings of a group.
        repeat: Until what was told of is told of again.
    """

    key: str
    receiver: str
    wait: int
    interval: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an inhibition that a report is on.

    Args:
        rule: Tells the inhibition from others.
        equal: What both sides have to agree in.
        both: Whether the report is on the other side as well: such don't inhibit each other.
        within: Microseconds.
    """

    rule: str
    equal: str
    both: bool
    within: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A report, as far as a plan needs it.

    Args:
        id: Its id.
        time: Microseconds since 1970.
        alert: What it says, but for its time.
        groups: Routes that lead on from it, each with the group it belongs to.
        sources: Inhibitions that it is a source of.
        targets: Inhibitions that it is a target of.
        silenced: Why nobody is told; None where they are.
    """

    id: str
    time: int
    alert: str = ""
    groups: tuple[tuple[Timing, str], ...] = ()
    sources: tuple[Side, ...] = ()
    targets: tuple[Side, ...] = ()
    silenced: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report that nobody was told of yet; `at` is when it came, its own time unless it was late."""

    at: int
    id: str
    time: int
    alert: str
    targets: tuple[Side, ...]


@dataclass(slots=True)
class Group:
    """Reports that are told of together.

    Args:
        route: How.
        key: What they agree in, JSON text.
        last: When they were last told of, microseconds; None for never.
        told: Alert → when it was last told of.
        waiting: In the order in which they came.
    """

    route: Timing
    key: str
    last: int | None = None
    told: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)

    def due(self, one: Waiting) -> int:
        """Tell when a report is told of at the latest; none takes it along."""
        moment = one.at + self.route.wait
        if self.last is not None:
            moment = max(moment, self.last + self.route.interval)
        if one.alert in self.told:
            moment = max(moment, self.told[one.alert] + self.route.repeat)
        return moment


Source = tuple[int, str, bool]
"""Time, id, and whether it is a target as well."""


@dataclass(slots=True)
class Sources:
    """Reports that tell it all, by what targets have to agree in, each list by time.

    Args:
        within: Microseconds for which they matter.
        known: They.
    """

    within: int
    known: dict[str, list[Source]] = field(default_factory=dict)

    def forget(self, begin: int) -> None:
        """Forget those that matter to no report from a time on."""
        for equal, sources in list(self.known.items()):
            del sources[: bisect_left(sources, (begin - self.within, ""))]
            if not sources:
                del self.known[equal]


@dataclass(slots=True)
class State:
    """What a plan has to know of reports before; plain values, so that it can be kept.

    Args:
        settled: Microseconds: no report is before it any more.
        groups: By what tells them apart.
        sources: Inhibition → its sources.
    """

    settled: int = BEGINNING
    groups: dict[str, Group] = field(default_factory=dict)
    sources: dict[str, Sources] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notification:
    """Somebody is to be told of reports.

    Args:
        id: The report's where there is one and it can stand in a header, else a hash of receiver, group and
            reports.
        receiver: Who.
        due: When, by the time of events, in microseconds.
        group: What the reports agree in, JSON text.
        reports: Ids, by time.
    """

    id: str
    receiver: str
    due: int
    group: str
    reports: tuple[str, ...]


class Fate(NamedTuple):
    """Why somebody is not told of a report.

    Args:
        report: Its id.
        kind: `silenced`, `inhibited`, or `unrouted` where no route fits.
        why: The silence, or the report that inhibits it.
        receiver: Who is not told; empty for all.
    """

    report: str
    kind: str
    why: str = ""
    receiver: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a step led to."""

    notifications: list[Notification] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)


def plan(reports: Sequence[Seen]) -> Planned:
    """Tell what would be told of reports, all of which are there.

    Example:
        >>> route = Timing("r", "soc", wait=30, interval=300, repeat=0)
        >>> times = {"a": 0, "b": 20, "c": 40}
        >>> seen = [Seen(name, time, name, ((route, "{}"),)) for name, time in times.items()]
        >>> [(one.due, one.reports) for one in plan(seen).notifications]
        [(30, ('a', 'b')), (330, ('c',))]
    """
    return step(State(), reports, ALL)


def step(state: State, reports: Sequence[Seen], settled: int) -> Planned:
    """Take further reports, and tell what is due before what is settled.

    Args:
        state: Changed in place.
        reports: That came since; in any order.
        settled: Microseconds: reports of before don't come any more, or are taken as if they were of then.

    Returns:
        Notifications by the time at which they are due.
    """
    planned, before = Planned(), state.settled
    for one in sorted(reports, key=lambda one: (one.time, one.id)):
        for side in one.sources:
            sources = state.sources.setdefault(side.rule, Sources(side.within))
            insort(sources.known.setdefault(side.equal, []), (one.time, one.id, side.both))
        if one.silenced is not None:
            planned.fates.append(Fate(one.id, "silenced", one.silenced))
        elif not one.groups:
            planned.fates.append(Fate(one.id, "unrouted"))
        else:
            for route, key in one.groups:
                group = state.groups.setdefault(f"{route.key} {key}", Group(route, key))
                insort(
                    group.waiting,
                    Waiting(max(one.time, before), one.id, one.time, one.alert, one.targets),
                    key=lambda waits: (waits.at, waits.id),
                )
    for group in state.groups.values():
        _tell(group, settled, state.sources, planned)
    state.settled = max(before, settled)
    _forget(state)
    planned.notifications.sort(key=lambda one: (one.due, one.receiver, one.group, one.id))
    return planned


def _tell(group: Group, settled: int, sources: Mapping[str, Sources], planned: Planned) -> None:
    """Tell of a group as often as it is due."""
    held: list[Waiting] = []
    came = 0
    while held or came < len(group.waiting):
        due = _next(group, held, came)
        if due >= settled:
            break
        while came < len(group.waiting) and group.waiting[came].at <= due:
            held.append(group.waiting[came])
            came += 1
        alive = []
        for one in held:
            by = _inhibitor(one, due, sources)
            if by is None:
                alive.append(one)
            else:
                planned.fates.append(Fate(one.id, "inhibited", by, group.route.receiver))
        held = alive
        if any(group.due(one) <= due for one in alive):
            planned.notifications.extend(_notifications(group, due, alive))
            group.last = due
            group.told.update((one.alert, due) for one in alive)
            held = []
    group.waiting = held + group.waiting[came:]


def _next(group: Group, held: Sequence[Waiting], came: int) -> int:
    """Give the first moment at which a report is due, of those that are held and those that come then."""
    due = min(map(group.due, held), default=ALL)
    for number in range(came, len(group.waiting)):
        if group.waiting[number].at + group.route.wait >= due:
            break
        due = min(due, group.due(group.waiting[number]))
    return due


def _inhibitor(one: Waiting, due: int, sources: Mapping[str, Sources]) -> str | None:
    """Give the first report that tells all of this one; None where there is none."""
    for side in one.targets:
        known = sources[side.rule].known.get(side.equal, ()) if side.rule in sources else ()
        for time, name, both in known[bisect_left(known, (one.time - side.within, "")) :]:
            if time > due:
                break
            if name != one.id and not (both and side.both):
                return name
    return None


def _notifications(group: Group, due: int, told: Sequence[Waiting]) -> Iterator[Notification]:
    ids = [one.id for one in sorted(told, key=lambda one: (one.time, one.id))]
    for first in range(0, len(ids), MOST):
        part = tuple(ids[first : first + MOST])
        head = f"{group.route.receiver}\n{group.key}\n"
        alone = len(part) == 1 and _PLAIN.fullmatch(part[0])
        name = part[0] if alone else xxhash.xxh3_128_hexdigest((head + "\n".join(part)).encode())
        yield Notification(name, group.route.receiver, due, group.key, part)


def _forget(state: State) -> None:
    """Forget what can't matter any more to a report that comes in time, or that waits."""
    begin = state.settled
    for name, group in list(state.groups.items()):
        since = min([state.settled, *(one.at for one in group.waiting)]) + group.route.wait
        begin = min([begin, *(one.time for one in group.waiting)])
        group.told = {alert: at for alert, at in group.told.items() if at + group.route.repeat > since}
        last = group.last is not None and group.last + group.route.interval > since
        if not (group.waiting or group.told or last):
            del state.groups[name]
    for rule, sources in list(state.sources.items()):
        sources.forget(begin)
        if not sources.known:
            del state.sources[rule]
