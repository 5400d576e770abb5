"""The stateful half of the processor `sigma`: matches of rules → reports of correlations, level by level."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa

from rms_flows.correlate import match as matching
from rms_flows.correlate.match import NO_MATCHES
from rms_flows.correlate.spec import NUMERIC, Correlation, Key, horizon
from rms_flows.correlate.state import EVER, State, dump, empty, read
from rms_flows.correlate.step import ALWAYS, step
from rms_flows.processors.chain import Link, chained, expected, link_of
from rms_flows.processors.contract import Given, Reach
from rms_flows.processors.group import Fields
from rms_flows.report.build import Rule
from rms_flows.report.correlated import correlated, ids

States = dict[int, State]
"""Number of a correlation → its memory in one shard."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rules of a processor say of a batch.

    Args:
        reports: `schema.REPORT`, of rules that report by themselves.
        rows: int64, the row of each match, of all rules.
        rules: The rule of each match.
    """

    reports: pa.RecordBatch
    rows: np.ndarray
    rules: np.ndarray


class Correlations:
    """All correlations of a processor; each level is a keyed stage of its own.

    Args:
        specs: Those that can be evaluated, inner ones before those that look at them.
        rules: Ids of the processor's rules, in the order of its plan.
        judge: Judges a batch by these rules.
        processor: Id of the processor's manifest.
        silent: Ids of rules and correlations that don't report, because others look at them.
        pack: See `Rule`.
    """

    def __init__(
        self,
        specs: Sequence[Correlation],
        rules: Sequence[str],
        judge: Callable[[pa.RecordBatch], Judged],
        *,
        processor: str,
        silent: frozenset[str] = frozenset(),
        pack: str | None = None,
    ) -> None:
        self.specs = tuple(specs)
        self._judge = judge
        self._processor = processor
        self._silent = silent
        numbers = {one.id: number for number, one in enumerate(self.specs)}
        places = {name: place for place, name in enumerate(rules)}
        self._of_rule: dict[int, list[Link]] = {}
        self._of_inner: dict[int, list[Link]] = {}
        for number, one in enumerate(self.specs):
            for bit, source in enumerate(one.inputs):
                link = link_of(number, bit, one, source)
                if source.id in numbers:
                    self._of_inner.setdefault(numbers[source.id], []).append(link)
                else:
                    self._of_rule.setdefault(places[source.id], []).append(link)
        inner = [[numbers[i.id] for i in one.inputs if i.id in numbers] for one in self.specs]
        self._levels = [0] * len(self.specs)
        self._delays = [0] * len(self.specs)
        self._back = [0] * len(self.specs)
        self._ahead = [0] * len(self.specs)
        for number, ones in enumerate(inner):
            self._place(number, ones)
        self._reports = [
            Rule(one.id, one.title, one.author, one.level, one.tags, one.meaning, pack) for one in self.specs
        ]
        self._expected = {
            number: expected(one, one.keys)
            for number, one in enumerate(self.specs)
            if isinstance(one.keys, tuple)
        }

    def expecting(self, sources: Mapping[str, int | None]) -> Self:
        """See `Stateful.expecting`."""
        made = copy.copy(self)
        keys = [Key((name,), valid_from) for name, valid_from in sources.items()]
        made._expected = self._expected | {  # noqa: SLF001  of a copy of itself
            number: expected(one, keys) for number, one in enumerate(self.specs) if one.keys == "sources"
        }
        return made

    def _place(self, number: int, inner: Sequence[int]) -> None:
        """Work out the level of a correlation, and how far it looks, along the chain."""
        one = self.specs[number]
        self._levels[number] = 1 + max((self._levels[i] for i in inner), default=-1)
        self._delays[number] = max((self._delays[i] + horizon(self.specs[i]) for i in inner), default=0)
        self._back[number] = one.timespan + max((self._back[i] for i in inner), default=0)
        self._ahead[number] = horizon(one) + max((self._ahead[i] for i in inner), default=0)

    @property
    def levels(self) -> int:
        """How many stages there are, one behind the other."""
        return 1 + max(self._levels, default=-1)

    @property
    def level_of(self) -> tuple[int, ...]:
        """The level of each correlation."""
        return tuple(self._levels)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that groups and values are taken from."""
        links = [link for some in self._of_rule.values() for link in some]
        return frozenset(name for link in links for name in (*link.group, *link.value))

    def reach(self, start: int | None, end: int | None) -> Reach:
        """Tell what has to be read so that all anchors in [start, end) are judged right; microseconds."""
        first, last = start, end
        for number, one in enumerate(self.specs):
            bucket = one.suppress or 1
            if start is not None and first is not None:
                first = min(first, start - start % bucket - self._back[number])
            if end is not None and last is not None:
                last = max(last, end + -end % bucket + self._ahead[number])
        return Reach(first, last)

    def split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch, int]:
        """See `Stateful.split`."""
        judged = self._judge(batch)
        return judged.reports, *self.matches(batch, judged.rows, judged.rules)

    def matches(
        self, batch: pa.RecordBatch, rows: np.ndarray, rules: np.ndarray
    ) -> tuple[pa.RecordBatch, int]:
        """Make matches of pairs of row and rule; give them, and how many took no part for want of a group.

        Args:
            batch: Observations.
            rows: int64, the row of each match.
            rules: The rule of each match, an index into the processor's rules.
        """
        fields = Fields(batch)
        found, missing = [], 0
        for rule, links in self._of_rule.items():
            some = rows[rules == rule]
            if not len(some):
                continue
            named = fields.ids(some)
            for link in links:
                made, left = self._linked(fields, some, named, link)
                found.append(made)
                missing += left
        return matching.concatenated(found), missing

    def _linked(
        self, fields: Fields, rows: np.ndarray, named: matching.Ids, link: Link
    ) -> tuple[pa.RecordBatch, int]:
        one = self.specs[link.number]
        groups = fields.groups(rows, link.group, link.names)
        kept = groups.there
        missing = len(kept) - int(np.count_nonzero(kept))
        value = np.zeros(len(rows), np.int64)
        if link.value:
            value, valued = (
                fields.numbers(rows, link.value) if one.kind in NUMERIC else fields.values(rows, link.value)
            )
            kept = kept & valued
        if link.number in self._expected:
            kept = kept & np.isin(groups.hash, self._expected[link.number].group)
        if not kept.all():
            rows, value = rows[kept], value[kept]
            groups = groups.take(kept)
            high, low, texts = named
            named = high[kept], low[kept], texts.filter(pa.array(kept))
        time = pa.array(fields.time[rows])
        made = matching.build(link.number, link.bit, time, named, groups.hash, groups.name, value)
        return made, missing

    def start(self, level: int, shard: int, shards: int, since: int | None = None) -> States:
        """See `Stateful.start`; who is expected is waited for from the first."""
        states = {}
        for number, one in enumerate(self.specs):
            if self._levels[number] == level:
                state = empty(one)
                if (known := self._expected.get(number)) is not None:
                    here = known.of(shard, shards)
                    state = State(here.rows, here.groups, here.texts)
                if since is not None:
                    state = replace(state, said=self._told(number, since))
                states[number] = state
        return states

    def needed(self, settled: int) -> int:
        """Give the time from which on events matter for what is not certain yet, microseconds."""
        return min([settled, *(self._told(n, settled) - self._back[n] for n in range(len(self.specs)))])

    def told(self, settled: int) -> int:
        """See `Stateful.told`."""
        if abs(settled) >= ALWAYS:
            return settled
        return min([settled, *(self._told(number, settled) for number in range(len(self.specs)))])

    def _told(self, number: int, settled: int) -> int:
        line = settled - self._ahead[number]
        return line - line % (self.specs[number].suppress or 1)

    def step(self, states: States, matches: pa.RecordBatch, settled: int) -> tuple[States, Given]:
        """Go on with all correlations of a level in one shard.

        Args:
            states: As `start` or the last step gave them.
            matches: `MATCH`, of this level and shard, in any order.
            settled: Microseconds; no event before it comes any more.
        """
        given, after = Given(), dict(states)
        parts = dict(matching.split(self.specs, matches)) if matches.num_rows else {}
        for number, state in states.items():
            one = self.specs[number]
            rows, names = matching.rows(one, parts.get(number, NO_MATCHES))
            line = settled if settled >= ALWAYS else settled - self._delays[number]
            outcome = step(one, state, rows, names, line)
            after[number] = outcome.state
            given.counts.update(late=outcome.late, capped=outcome.capped, evicted=outcome.evicted)
            if outcome.reports.num_rows and one.id not in self._silent:
                given.reports.append(self._report(number, outcome.reports))
            if outcome.found.num_rows and number in self._of_inner:
                given.matches.append(self._inner(number, outcome.found))
        return after, given

    def end(self, states: States, until: int | None) -> tuple[States, Given]:
        """Say what is left when nothing comes any more; silences up to `until`, microseconds, None: none."""
        quiet = {number: state for number, state in states.items() if self.specs[number].kind == "flatline"}
        others = {number: state for number, state in states.items() if number not in quiet}
        after, given = self.step(others, NO_MATCHES, ALWAYS)
        if quiet:
            silent, more = self.step(quiet, NO_MATCHES, EVER if until is None else until)
            after |= silent
            given.reports += more.reports
            given.matches += more.matches
        return after, given

    def waits(self, level: int) -> bool:
        """See `Stateful.waits`."""
        return any(self._levels[number] == level and len(one.rows) for number, one in self._expected.items())

    def _report(self, number: int, found: pa.RecordBatch) -> pa.RecordBatch:
        return correlated(
            found, self._reports[number], processor=self._processor, kind=self.specs[number].kind
        )

    def _inner(self, number: int, found: pa.RecordBatch) -> pa.RecordBatch:
        """Make matches of what an inner correlation found, for those that look at it."""
        named = ids(found, self._reports[number])
        links = self._of_inner[number]
        return matching.concatenated(chained(found, named, link, self.specs[link.number]) for link in links)

    @staticmethod
    def dump(states: States) -> bytes:
        """Write the memory of a shard as one Arrow IPC stream."""
        batch = pa.record_batch(
            {
                "correlation": pa.array(list(states), pa.int32()),
                "state": pa.array([dump(state) for state in states.values()], pa.large_binary()),
            }
        )
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, batch.schema) as writer:
            writer.write_batch(batch)
        written: bytes = out.getvalue().to_pybytes()
        return written

    @staticmethod
    def read(data: bytes) -> States:
        """Read what `dump` wrote."""
        with pa.ipc.open_stream(pa.BufferReader(data)) as reader:
            batch = reader.read_next_batch()
        pairs = zip(batch.column("correlation").to_pylist(), batch.column("state"), strict=True)
        return {number: read(state.as_buffer()) for number, state in pairs}
