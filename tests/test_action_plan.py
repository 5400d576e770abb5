"""What is told of when: held against an oracle that goes through time a moment at a time."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rms_flows.action.plan import ALL, MOST, Fate, Seen, Side, State, Timing, plan, step

END = 60
"""Of the times of reports; all is told of at five times as much."""


def oracle(reports):
    """Go from moment to moment; each group is looked at anew at each."""
    groups = {}
    fates = {Fate(one.id, "silenced", one.silenced) for one in reports if one.silenced}
    for one in reports:
        if not one.silenced and not one.groups:
            fates.add(Fate(one.id, "unrouted"))
        for route, key in one.groups if not one.silenced else ():
            groups.setdefault((route, key), []).append(one)
    found = set()
    for (route, key), members in groups.items():
        for now, alive in moments(route, members, reports, fates):
            found.add((route.receiver, now, key, tuple(one.id for one in alive)))
    return found, fates


def moments(route, members, reports, fates):
    last, told, left = None, {}, sorted(members, key=lambda one: (one.time, one.id))
    for now in range(END * 5):
        due = {
            one.id
            for one in left
            if now >= one.time + route.wait
            and (last is None or now >= last + route.interval)
            and (one.alert not in told or now >= told[one.alert] + route.repeat)
        }
        came = [one for one in left if one.time <= now and due]
        inhibited = {one.id: by for one in came if (by := inhibitors(one, now, reports))}
        fates |= {Fate(name, "inhibited", min(by)[1], route.receiver) for name, by in inhibited.items()}
        left = [one for one in left if one.id not in inhibited]
        alive = [one for one in came if one.id not in inhibited]
        if any(one.id in due for one in alive):
            yield now, alive
            left = [one for one in left if one not in alive]
            last, told = now, told | {one.alert: now for one in alive}
    assert not left


def inhibitors(one, now, reports):
    return [
        (other.time, other.id)
        for side in one.targets
        for other in reports
        for source in other.sources
        if (source.rule, source.equal) == (side.rule, side.equal)
        and one.time - side.within <= other.time <= now
        and other.id != one.id
        and not (source.both and side.both)
    ]


FEW = settings(max_examples=40)
ROUTES = [Timing("a", "soc", 5, 20, 60), Timing("b", "mail", 0, 0, 0), Timing("c", "soc", 30, 1, 90)]
SIDES = st.builds(
    Side, rule=st.just("i"), equal=st.sampled_from(["", "x"]), both=st.just(value=False), within=st.just(15)
)


@st.composite
def reports(draw):
    made = []
    for number in range(draw(st.integers(0, 14))):
        groups = tuple(
            (route, draw(st.sampled_from("gh")))
            for route in draw(st.lists(st.sampled_from(ROUTES), unique=True))
        )
        source, target = draw(st.none() | SIDES), draw(st.none() | SIDES)
        if source and target:
            source, target = replace(source, both=True), replace(target, both=True)
        silenced = draw(st.sampled_from([None, None, None, "why"]))
        alert = draw(st.sampled_from("pqr"))
        sides = [() if side is None else (side,) for side in (source, target)]
        made.append(Seen(f"{number:02}", draw(st.integers(0, END)), alert, groups, *sides, silenced))
    return made


def told(notifications):
    return {(one.receiver, one.due, one.group, one.reports) for one in notifications}


ONE = Seen("a", 10, "p", ((ROUTES[0], "g"),))


@FEW
@given(reports())
@example([ONE, replace(ONE, id="b", time=11), replace(ONE, id="c", time=60)])
def test_it_is_what_the_oracle_says(found):
    planned = plan(found)
    wanted, fates = oracle(found)
    assert told(planned.notifications) == wanted
    assert {*planned.fates} == fates


@FEW
@given(reports(), st.lists(st.tuples(st.integers(0, 14), st.sampled_from([0, 1, 7, 40])), max_size=5))
def test_one_by_one_gives_what_all_at_once_gives(found, looks):
    """Guards against a plan that depends on when it was looked at, also across restarts."""
    whole = plan(found)
    state, notifications, fates = State(settled=0), [], []
    left = sorted(found, key=lambda one: one.time)
    for count, behind in [*sorted(looks), (len(left), 0)]:
        some, left = left[:count][::-1], left[count:]
        settled = min((one.time - behind for one in left), default=ALL)
        planned = step(state, some, settled)
        notifications += planned.notifications
        fates += planned.fates
        state = msgspec.json.decode(msgspec.json.encode(state), type=State)
    assert {*notifications} == {*whole.notifications}
    assert sorted(fates) == sorted(whole.fates)


@FEW
@given(reports())
def test_each_report_has_one_end_for_each_route(found):
    """Guards against a report that is lost, or told of twice."""
    planned = plan(found)
    ends = [(name, one.group, one.receiver) for one in planned.notifications for name in one.reports]
    inhibited = [one for one in planned.fates if one.kind == "inhibited"]
    routed = sum(len(one.groups) for one in found if not one.silenced)
    assert len(ends) + len(inhibited) == routed
    assert sum(one.kind == "silenced" for one in planned.fates) == sum(bool(one.silenced) for one in found)


def test_what_comes_late_is_told_of_and_not_lost():
    state = State()
    assert told(step(state, [ONE], 16).notifications) == {("soc", 15, "g", ("a",))}
    late = replace(ONE, id="b", time=2, alert="other")
    assert told(step(state, [late], 16).notifications) == set()
    assert told(step(state, [], ALL).notifications) == {("soc", 35, "g", ("b",))}


def test_a_source_that_comes_before_the_telling_inhibits():
    """Guards against a mail on each symptom where the cause is found seconds later."""
    side = Side("i", "", both=False, within=15)
    symptom = replace(ONE, targets=(side,))
    cause = Seen("z", 14, "q", ((ROUTES[1], "g"),), sources=(side,))
    planned = plan([symptom, cause])
    assert planned.fates == [Fate("a", "inhibited", "z", "soc")]
    assert told(planned.notifications) == {("mail", 14, "g", ("z",))}
    assert plan([symptom, replace(cause, time=16)]).fates == []


def test_reports_that_inhibit_each_other_are_both_told_of():
    side = Side("i", "", both=True, within=15)
    both = [Seen(name, 10, name, ((ROUTES[1], name),), (side,), (side,)) for name in "ab"]
    assert len(plan(both).notifications) == 2


def test_ids_are_of_what_is_told():
    alone = plan([ONE]).notifications[0]
    assert alone.id == "a"
    assert len(plan([replace(ONE, id="a\r\nBcc: b")]).notifications[0].id) == 32
    first = plan([ONE, replace(ONE, id="b")]).notifications[0]
    assert first.id != plan([ONE, replace(ONE, id="c")]).notifications[0].id
    assert first.id == plan([replace(ONE, id="b"), ONE]).notifications[0].id


def test_a_flood_is_cut_into_parts():
    found = plan([replace(ONE, id=f"{number:05}") for number in range(2 * MOST + 1)]).notifications
    assert sorted(len(one.reports) for one in found) == [1, MOST, MOST]
    assert len({one.id for one in found}) == 3


@pytest.mark.timeout(60)
def test_a_year_of_one_group_is_planned_in_seconds():
    """Guards against work that grows with the square of a group's reports."""
    many = [
        replace(ONE, id=f"{number:06}", time=7 * number, alert=str(number % 50)) for number in range(50_000)
    ]
    state = State()
    assert sum(len(one.reports) for one in step(state, many, ALL).notifications) == len(many)
    assert not state.groups
