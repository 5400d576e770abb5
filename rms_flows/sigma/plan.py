"""All rules in one plan, evaluated on distinct values, and on rows only where a rule can be true."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rms_flows.schema import MISFIT
from rms_flows.sigma.ceilings import Ceilings
from rms_flows.sigma.columns import same_memory
from rms_flows.sigma.expression import Expression, fields, has_keywords
from rms_flows.sigma.keywords import Keywords
from rms_flows.sigma.node import Ask, Binder
from rms_flows.sigma.router import Router
from rms_flows.sigma.rules import Rule, RuleSet
from rms_flows.sigma.scope import KEYWORDS, Memory, Scope
from rms_flows.sigma.search import Askers, Sought
from rms_flows.sigma.verdicts import ABSENT, Verdicts


@dataclass(frozen=True, slots=True)
class Matches:
    """Which rules are true of which rows, sorted by row, then rule.

    Args:
        rule: Shape (matches,), int32: index into `Plan.rules`.
        row: Shape (matches,), int64: row of the batch.
    """

    rule: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.rule)


class Plan:
    """Rules compiled together. Holds a memory of values, so a plan belongs to one thread.

    Args:
        rules: What to evaluate.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        routes = tuple(dict.fromkeys(rule.route for rule in rules if rule.route is not None))
        wholes = (*(rule.detection for rule in rules), *routes)
        self.named: frozenset[str] = _with_parents(frozenset[str]().union(*map(fields, wholes)))
        """Columns that the rules name."""
        self.columns: frozenset[str] | None = None if any(map(has_keywords, wholes)) else self.named
        """Columns that the rules look at; None where keywords may look at any text."""
        self.first: frozenset[str] | None = (
            None
            if any(map(has_keywords, routes))
            else _with_parents(frozenset[str]().union(*map(fields, routes)))
        )
        """Columns that tell which log each event is from; None where any text may."""
        binder = Binder()
        routing = tuple(map(binder.bind, routes))
        numbers = {route: number for number, route in enumerate(routes)}
        self._nodes = tuple(
            binder.bind(rule.detection)
            if rule.route is None
            else binder.bind_routed(rule.detection, numbers[rule.route])
            for rule in rules
        )
        keywords = Keywords(_looking_anywhere(rules, numbers))
        verdicts = {asked: Verdicts(list(known)) for asked, known in binder.questions.items()}
        self._memory = Memory(verdicts, keywords)
        self._asks = _asks(binder.asks)
        self._most = np.ones(binder.size, dtype=np.int64)  # rows, of one: of an event without fields
        for asked, places in self._asks.items():
            self._most[places] = verdicts[asked].truth[:, ABSENT]
        self._routed = np.array([one.number for one in binder.routed], dtype=np.intp)
        self._sources = np.array([one.route for one in binder.routed], dtype=np.intp)
        self._ceilings = Ceilings(self._nodes)
        self._askers = _askers(rules, routes, numbers)
        self._seekers = _seekers(self._askers, self.named)
        self._router = Router(routes, routing, binder.size, self._memory)
        self._last: tuple[list[str], list[pa.Array], np.ndarray] = ([], [], np.empty((0, 0), dtype=bool))

    def match(self, batch: pa.RecordBatch) -> Matches:
        """Evaluate all rules on a batch; columns that it lacks are absent fields."""
        if not self.rules or not batch.num_rows:
            return Matches(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
        self._memory.begin()
        scope = Scope(batch, self._memory)
        routed = self._routes_of(scope)
        scope.route(routed, self._askers)
        scope.judge(self._asks)
        ceilings = self._counts(scope, routed)
        self._ceilings.raise_up(ceilings, batch.num_rows)
        known: list[int] = ceilings.tolist()
        rules: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for number in self._ceilings.alive(ceilings):
            found = self._nodes[number].select(scope, known, None)
            if len(found):
                rules.append(np.full(len(found), number, dtype=np.int32))
                rows.append(found)
        if not rules:
            return Matches(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
        rule, row = np.concatenate(rules), np.concatenate(rows).astype(np.int64, copy=False)
        order = np.lexsort((rule, row))
        return Matches(rule[order], row[order])

    def search(self, batch: pa.RecordBatch) -> Sought:
        """Tell what has to be read of rows of which the columns `first` are there.

        A field that isn't read is as good as absent where no rule of the row's log source looks at it, and a
        text without keywords as good as none.
        """
        self._memory.begin()
        scope = Scope(batch, self._memory)
        routed = self._router.routed(scope)
        self._last = (*self._firsts(scope), routed)
        return Sought(routed, self._seekers, self._memory.keywords)

    def _firsts(self, scope: Scope) -> tuple[list[str], list[pa.Array]]:
        """Give the columns that tell which log each event is from, if these are known."""
        names = [name for name in scope.batch.schema.names if name in (self.first or ())]
        return names, [scope.batch.column(name) for name in names]

    def _routes_of(self, scope: Scope) -> np.ndarray:
        """Tell which rows are of which log source; it is known of those searched for last, all or a slice."""
        (names, columns), rows = self._firsts(scope), scope.batch.num_rows
        known, last, routed = self._last
        start = columns[0].offset - last[0].offset if names and names == known else -1
        if 0 <= start <= routed.shape[1] - rows and all(
            same_memory(whole.slice(start, rows), column) for whole, column in zip(last, columns, strict=True)
        ):
            return np.ascontiguousarray(routed[:, start : start + rows])
        return self._router.routed(scope)

    def _counts(self, scope: Scope, routed: np.ndarray) -> np.ndarray:
        """Rows that each question and each log source is true of, at most; of other nodes it may be all."""
        counts: np.ndarray = self._most * scope.batch.num_rows
        counts[self._routed] = routed.sum(axis=1)[self._sources]
        for asked, numbers in self._asks.items():
            found = scope.counts(asked)
            if found is not None:
                counts[numbers] = found
        return counts


def compile(ruleset: RuleSet) -> Plan:  # noqa: A001 - the word of the field, as in re.compile
    """Compile the rules of a set into one plan."""
    return Plan(ruleset.rules)


def _with_parents(names: frozenset[str]) -> frozenset[str]:
    """Add what may hold the fields: a structure on their path, or the row's misfits."""
    parents = {name[:at] for name in names for at, char in enumerate(name) if char == "." and at}
    return names | parents | {MISFIT} if names else names


def _asks(asks: Iterable[Ask]) -> dict[str, np.ndarray]:
    """Numbers over the plan of each field's questions, in their order in the field; keywords come first.

    Where they are looked for, what their columns are asked themselves is found, too.
    """
    grouped: dict[str, list[int]] = {}
    for ask in asks:
        grouped.setdefault(ask.asked, []).append(ask.number)
    ordered = sorted(grouped.items(), key=lambda one: one[0] != KEYWORDS)
    return {asked: np.array(numbers) for asked, numbers in ordered}


def _askers(
    rules: tuple[Rule, ...], routes: tuple[Expression, ...], numbers: dict[Expression, int]
) -> dict[tuple[int, ...], list[str]]:
    """Group the fields for which only routed rules ask by the routes of these rules."""
    free = (rule for rule in rules if rule.route is None)
    everywhere = frozenset[str]().union(*map(fields, routes), *map(_asked, free))
    asking: dict[str, set[int]] = {}
    for rule in rules:
        if rule.route is not None:
            for asked in _asked(rule) - everywhere:
                asking.setdefault(asked, set()).add(numbers[rule.route])
    grouped: dict[tuple[int, ...], list[str]] = {}
    for asked, known in asking.items():
        grouped.setdefault(tuple(sorted(known)), []).append(asked)
    return grouped


def _looking_anywhere(
    rules: tuple[Rule, ...], numbers: dict[Expression, int]
) -> Iterator[tuple[Expression, int | None]]:
    """Give what keywords are looked for in, and the number of its route; None where no route is known yet."""
    early = any(map(has_keywords, numbers))
    yield from ((route, None) for route in numbers)
    for rule in rules:
        yield rule.detection, None if early or rule.route is None else numbers[rule.route]


def _seekers(askers: dict[tuple[int, ...], list[str]], named: frozenset[str]) -> Askers:
    """Give for each column that a rule names the log sources whose rules look at it or at a field in it."""
    found: dict[str, tuple[int, ...] | None] = dict.fromkeys(named)
    for routes, names in askers.items():
        found.update((name, routes) for name in names if name != KEYWORDS)
    return found


def _asked(rule: Rule) -> frozenset[str]:
    names = fields(rule.detection)
    return names | {KEYWORDS} if has_keywords(rule.detection) else names
