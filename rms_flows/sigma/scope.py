"""One batch while its rules are evaluated: what each field holds, worked out once, when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.sigma import columns
from rms_flows.sigma.both import Both
from rms_flows.sigma.codes import mark, tally
from rms_flows.sigma.keywords import Keywords
from rms_flows.sigma.recall import Recall
from rms_flows.sigma.verdicts import ABSENT, Value, Verdicts, some_of

KEYWORDS = ""
"""Stands for "any text of the event" where a field's name stands; no field is called so."""

ENOUGH: Final = 256
"""Bytes of a field's values for each predicate, from which on it pays to get ready for columns."""

_BEGINNING: Final = 128
"""Predicates that getting ready takes as long as, were there none."""

_FEW: Final = 1_000
"""Values, at most, that are copied to be judged together with others'."""

_SMALL: Final = 65_536
"""Bytes of a column, at most, that is copied as it is."""

SMALL_BATCH: Final = 16_384
"""Rows, at most, that are judged by what is remembered of single values, not column by column."""

_VALUES: Final = 4_096
"""Values of a column, at most, that are looked up one by one; equal ones of more are found first."""

_COPIED: Final = 16_000_000
"""Bytes of columns of a small batch, at most, that are copied into one place; others are judged alone."""

_TOGETHER: Final = 4_000_000
"""Bytes of columns, at most, that are searched for keywords at once; if one has any, each is searched."""

_LITTLE: Final = 262_144
"""Bytes of such a column of a large batch, at most; it takes as long to search it as to copy it."""

RARE: Final = 16
"""One in so many rows, at most, is looked at by rules whose short keywords are searched for there alone."""

_A_VALUE: Final = 256
"""Bytes that a value counts for, besides its text."""

_UNKNOWN: Final = -1
"""Stands for the verdict of a value that no row had so far."""

_ALL: Final = np.empty(0, dtype=bool)
_EVERY: Final = np.empty(0, dtype=np.intp)
"""Stand for all rows, as a mask and by their numbers."""

Column = tuple[str, columns.Encoded, np.ndarray]
"""A column's name, what it holds, and the rows that are looked at: a mask, or empty for all."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Distinct values and the verdict of each, as far as a row had it.

    Args:
        values: The values, kept so that their memory can be recognized.
        generation: Of the verdicts.
        verdicts: Shape (values + 1,), intp; the last is that of null.
    """

    values: pa.Array
    generation: int
    verdicts: np.ndarray


@dataclass(frozen=True, slots=True)
class Judged:
    """A column of a batch and the verdicts of its values.

    Args:
        verdicts: Shape (values + 1,), intp, the last that of null; any where no row that is looked at has it.
            The values of small batches are verdicts themselves.
        codes: Shape (rows,), int32: which value each row has.
        rows_of: Shape (values + 1,), int64: how many rows that are looked at have each value.
    """

    verdicts: np.ndarray
    codes: np.ndarray
    rows_of: np.ndarray

    def is_absent(self) -> bool:
        """Tell whether all verdicts are those of an absent field."""
        return not (self.verdicts[self.rows_of > 0] > ABSENT).any()


class Memory:
    """What outlives a batch: the verdicts of each field, and of dictionaries that come again.

    Args:
        verdicts: Field (or KEYWORDS) → the memory of its values.
        keywords: What any text is asked.
    """

    def __init__(self, verdicts: Mapping[str, Verdicts], keywords: Keywords) -> None:
        self.verdicts = verdicts
        self.keywords = keywords
        self._searched: dict[str, tuple[pa.Array, int, int]] = {}
        self._last: dict[tuple[str, str], _Known] = {}
        self._recall = Recall(verdicts)
        self._both: dict[str, Both] = {}
        self._left = {asked: ENOUGH * (_BEGINNING + one.predicates) for asked, one in verdicts.items()}

    def begin(self) -> None:
        """Get ready for the next batch."""
        for verdicts in self.verdicts.values():
            verdicts.begin()
        for both in self._both.values():
            both.begin()

    def keyword_groups(self, name: str, column: pa.Array, wanted: int, rare: int, few: np.ndarray) -> int:
        """Give the groups of rules of which a keyword may be true of a text of a column.

        Args:
            name: Of the column.
            column: What is searched.
            wanted: Bits of the groups that are asked for.
            rare: Those of them that have short literals, if their rules look at a few rows only; these rows
                are searched for them, of a dictionary all texts.
            few: These rows, int64.
        """
        if not pa.types.is_dictionary(column.type):
            often = self.keywords.groups_in_column(column, wanted & ~rare)
            return often | (self.keywords.groups_in_column(column.take(pa.array(few)), rare) if rare else 0)
        last = self._searched.get(name)
        if last is None or last[1] != wanted or not columns.same_memory(last[0], column.dictionary):
            found = self.keywords.groups_in_column(column, wanted)
            last = self._searched[name] = (column.dictionary, wanted, found)
        return last[2]

    def of_small(self, looked_at: Sequence[tuple[str, pa.Array, np.ndarray]]) -> list[Judged]:
        """Judge columns of text of a small batch: field, column, and rows that are looked at."""
        found = []
        for (asked, _, rows), codes in zip(
            looked_at, self._recall.of(looked_at, self._verdicts_of), strict=True
        ):
            rows_of = np.zeros(len(self.verdicts[asked]) + 1, dtype=np.int64)
            tally(codes, rows, rows_of)
            verdicts = np.arange(len(rows_of))
            verdicts[-1] = ABSENT
            found.append(Judged(verdicts, codes, rows_of))
        return found

    def of(self, asked: str, looked_at: Sequence[Column]) -> list[Judged]:
        """Judge columns, those rows that are looked at.

        Of KEYWORDS, columns without any are left out, and what is not looked at counts as absent.

        Batches may share a dictionary: of its values each is judged once, and only when a row has it.
        """
        known = [self._known(asked, name, encoded) for name, encoded, _ in looked_at]
        found = [
            _judged(one, encoded.codes, rows)
            for one, (_, encoded, rows) in zip(known, looked_at, strict=True)
        ]
        missing = (np.flatnonzero((one.verdicts == _UNKNOWN) & (one.rows_of > 0)) for one in found)
        self._judge(asked, list(zip(known, missing, strict=True)))
        if asked == KEYWORDS:
            return [
                replace(one, verdicts=np.maximum(one.verdicts, ABSENT))
                for one in found
                if not one.is_absent()
            ]
        return found

    def of_both(self, asked: str, encoded: columns.Encoded) -> tuple[Judged, Judged] | None:
        """Judge a column by what its field and what keywords ask at once; None where that doesn't pay."""
        one, keywords, texts = self.verdicts.get(asked), self.verdicts[KEYWORDS], encoded.values
        if one is None or encoded.again or not pa.types.is_string(texts.type):
            return None
        if texts.nbytes < ENOUGH * (_BEGINNING + one.predicates + keywords.predicates):
            return None
        rows_of = np.zeros(len(texts) + 1, dtype=np.int64)
        tally(encoded.codes, _ALL, rows_of)
        which = np.flatnonzero(rows_of[:-1])
        both = self._both.get(asked)
        if both is None:
            both = self._both[asked] = Both(one, keywords)
        found = []
        for some in both.of_texts(texts, which):
            verdicts = np.full(len(rows_of), ABSENT, dtype=np.intp)
            verdicts[which] = some
            found.append(Judged(verdicts, encoded.codes, rows_of))
        return found[0], found[1]

    def _known(self, asked: str, column: str, encoded: columns.Encoded) -> _Known:
        generation, values = self.verdicts[asked].generation, encoded.values
        last = self._last.get((asked, column)) if encoded.again else None
        if last is None or last.generation != generation or not columns.same_memory(last.values, values):
            verdicts = np.full(len(values) + 1, _UNKNOWN, dtype=np.intp)
            verdicts[-1] = ABSENT
            last = _Known(values, generation, verdicts)
            if encoded.again:
                self._last[asked, column] = last
        return last

    def _judge(self, asked: str, missing: Sequence[tuple[_Known, np.ndarray]]) -> None:
        """Find the missing verdicts; many columns with a few texts each are asked for at once."""
        verdicts = self.verdicts[asked]
        few: list[tuple[_Known, np.ndarray, pa.Array]] = []
        for known, which in missing:
            if not len(which):
                continue
            texts = columns.as_strings(known.values)
            if texts is None:
                known.verdicts[which] = verdicts.of(columns.texts(known.values.take(pa.array(which))))
            elif self._is_little(asked, texts, len(which)):
                known.verdicts[which] = verdicts.of(some_of(texts, which))
            elif len(missing) == 1 or len(which) > _FEW:
                known.verdicts[which] = verdicts.of_texts(texts, which)
            else:
                few.append((known, which, texts))
        if few:
            _judge_together(verdicts, few)

    def _verdicts_of(self, asked: str, texts: pa.Array, which: np.ndarray) -> np.ndarray:
        verdicts = self.verdicts[asked]
        if self._is_little(asked, texts, len(which)):
            return verdicts.of(some_of(texts, which))
        return verdicts.of_texts(texts, which)

    def _is_little(self, asked: str, texts: pa.Array, values: int) -> bool:
        """Tell whether so little of a field has come that getting ready for columns doesn't pay yet."""
        if self._left[asked] > 0:
            self._left[asked] -= values * (_A_VALUE + texts.nbytes // max(len(texts), 1))
        return self._left[asked] > 0


def _judged(known: _Known, codes: np.ndarray, rows: np.ndarray) -> Judged:
    rows_of = np.zeros(len(known.verdicts), dtype=np.int64)
    tally(codes, rows, rows_of)
    return Judged(known.verdicts, codes, rows_of)


def _judge_together(verdicts: Verdicts, few: Sequence[tuple[_Known, np.ndarray, pa.Array]]) -> None:
    """Find the verdicts of a few texts each of many columns, which are copied into one."""
    parts, places, begin = [], [], 0
    for _, which, texts in few:
        whole = texts.nbytes <= _SMALL  # quicker to copy than to choose from
        parts.append(texts if whole else texts.take(pa.array(which)))
        places.append(begin + (which if whole else np.arange(len(which))))
        begin += len(parts[-1])
    found = verdicts.of_texts(pa.concat_arrays(parts), np.concatenate(places))
    for known, which, _ in few:
        known.verdicts[which], found = found[: len(which)], found[len(which) :]


@dataclass(slots=True)
class Scope:
    """A batch and what has been found out about it.

    Args:
        batch: The events.
        memory: What is known from other batches.
    """

    batch: pa.RecordBatch
    memory: Memory
    routed: np.ndarray = field(init=False)
    """Which rows are of which log source: shape (routes, rows), bool."""
    _columns: dict[str, pa.Array] = field(init=False)
    _looked_at: dict[str, np.ndarray] = field(init=False, default_factory=dict)
    _misfits: columns.Misfits = field(init=False)
    _encoded: dict[str, columns.Encoded | None] = field(init=False, default_factory=dict)
    _judged: dict[str, list[Judged]] = field(init=False, default_factory=dict)
    _chosen: dict[tuple[str, int], np.ndarray] = field(init=False, default_factory=dict)
    _mark: np.ndarray = field(init=False)
    all_rows: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._columns = columns.by_name(self.batch)
        self._misfits = columns.Misfits(self.batch)
        self._mark = np.zeros(self.batch.num_rows, dtype=bool)
        self.routed = np.zeros((0, self.batch.num_rows), dtype=bool)
        self.all_rows = np.arange(self.batch.num_rows)

    def route(self, routed: np.ndarray, askers: Mapping[tuple[int, ...], Sequence[str]]) -> None:
        """Tell which rows are of which log source: a field is looked at only where a rule asks for it.

        Args:
            routed: Shape (routes, rows), bool.
            askers: Routes → the fields (or KEYWORDS) for which only rules of these routes ask.
        """
        self.routed = routed
        some = np.asarray(routed.any(axis=1)).tolist()
        rows_of: dict[tuple[int, ...], np.ndarray] = {}
        for routes, fields in askers.items():
            here = tuple(route for route in routes if some[route])
            if not here:
                self._judged.update((field, []) for field in fields)
                continue
            rows = rows_of.get(here)
            if rows is None:
                rows = np.asarray(routed[list(here)].any(axis=0))
                rows_of[here] = rows = _ALL if rows.all() else rows
            if len(rows):
                self._looked_at.update(dict.fromkeys(fields, rows))

    def judge(self, fields: Iterable[str]) -> None:
        """Judge fields of a small batch at once, those that are text and fit their columns."""
        if self.batch.num_rows > SMALL_BATCH:
            return
        found, copied = [], 0
        for asked in fields:
            if asked in self._judged or asked == KEYWORDS or asked in self._misfits.fields:
                continue
            column = columns.find(self._columns, asked)
            if column is None or columns.is_empty(column):
                self._judged[asked] = []
                continue
            few = len(column) - column.null_count <= _VALUES
            if few and pa.types.is_string(column.type) and copied + column.nbytes <= _COPIED:
                copied += column.nbytes
                found.append((asked, column, self._looked_at.get(asked, _ALL)))
        if found:
            for (asked, *_), one in zip(found, self.memory.of_small(found), strict=True):
                self._judged[asked] = [one]

    def judged(self, asked: str) -> list[Judged]:
        """Give the verdicts of the field; for KEYWORDS, of each text column that has any.

        Rows of log sources whose rules don't ask for the field may have any verdict.
        """
        found = self._judged.get(asked)
        if found is None:
            found = self._judged[asked] = self._judge(asked, self._looked_at.get(asked, _ALL))
        return found

    def _judge(self, asked: str, rows: np.ndarray) -> list[Judged]:
        found: list[Judged] = []
        if asked == KEYWORDS:
            looked_at, odd = self._with_keywords(), self._misfits.texts
            looked_at, found = self._judge_both(looked_at)
        else:
            column = columns.find(self._columns, asked)
            there = column is not None and not columns.is_empty(column)
            looked_at = [(asked, self._encode(asked, column), rows)] if there else []
            odd = self._misfits.fields.get(asked, [])
        found += self.memory.of(asked, looked_at) if looked_at else []
        if odd and asked == KEYWORDS:
            found.append(self._with(asked, None, odd))
        elif odd:
            found = [self._with(asked, found[0] if found else None, odd)]
        return found

    def _judge_both(self, looked_at: Sequence[Column]) -> tuple[list[Column], list[Judged]]:
        """Judge columns that rules name, too, by both at once; give those left, and what was found."""
        left, found = [], []
        for name, encoded, rows in looked_at:
            everywhere = not len(rows) and not len(self._looked_at.get(name, _ALL))
            both = None
            if everywhere and name not in self._judged and name not in self._misfits.fields:
                both = self.memory.of_both(name, encoded)
            if both is None:
                left.append((name, encoded, rows))
                continue
            self._judged[name] = [both[0]]
            if not both[1].is_absent():
                found.append(both[1])
        return left, found

    def _with_keywords(self) -> list[Column]:
        """Give the columns that may have keywords of rules whose log sources have rows, and these rows."""
        masks = self.memory.keywords.rows_of_groups(self.routed)
        wanted = sum(1 << group for group, rows in enumerate(masks) if not len(rows) or rows.any())
        if not wanted:
            return []
        rare, few = self._rare(masks, wanted)
        found = []
        for name, column in self._hopeful(list(columns.text_columns(self._columns)), wanted, rare, few):
            groups = self.memory.keyword_groups(name, column, wanted, rare, few)
            if groups:
                parts = [rows for group, rows in enumerate(masks) if groups >> group & 1]
                rows = np.any(parts, axis=0) if all(map(len, parts)) else _ALL
                found.append((name, self._encode(name, column), rows))
        return found

    def _hopeful(
        self, texts: list[tuple[str, pa.Array]], wanted: int, rare: int, few: np.ndarray
    ) -> list[tuple[str, pa.Array]]:
        """Leave out plain columns without keywords that are quicker searched together than one by one.

        Of a small batch these are nearly all, of a large one those that are small, as most of hundreds are.
        """
        if self.memory.keywords.always & wanted:
            return texts
        size = self.batch.num_rows
        most = _TOGETHER if size <= SMALL_BATCH else _LITTLE
        shelves: list[list[str]] = [[]]
        room = 0
        for name, column in texts:
            if pa.types.is_string(column.type) and column.nbytes <= most:
                if room + column.nbytes > _TOGETHER:
                    shelves.append([])
                    room = 0
                shelves[-1].append(name)
                room += column.nbytes
        gone = set[str]()
        known = dict(texts)
        for names in shelves:
            if len(names) <= 1:
                continue
            whole = pa.concat_arrays([known[name] for name in names])
            rows = (few + size * np.arange(len(names))[:, None]).ravel()
            if not self.memory.keyword_groups("", whole, wanted, rare, rows):
                gone.update(names)
        return [one for one in texts if one[0] not in gone]

    def _rare(self, masks: Sequence[np.ndarray], wanted: int) -> tuple[int, np.ndarray]:
        """Give the wanted groups with short literals, and the rows that they look at; none if these are many.

        All such groups or none, lest each batch has another choice of groups to get ready for.
        """
        rare = wanted & self.memory.keywords.short
        looking = [rows for group, rows in enumerate(masks) if rare >> group & 1]
        if looking and all(map(len, looking)):
            few = np.flatnonzero(np.any(looking, axis=0))
            if RARE * len(few) <= self.batch.num_rows:
                return rare, few
        return 0, _EVERY

    def _with(self, asked: str, column: Judged | None, odd: Sequence[tuple[int, Value]]) -> Judged:
        """Put values in the place of those that rows have: each row becomes a value of its own."""
        size = self.batch.num_rows
        verdicts = np.full(size + 1, ABSENT, dtype=np.intp)
        rows_of = np.ones(size + 1, dtype=np.int64)
        if column is not None:
            verdicts[:-1] = column.verdicts[column.codes]
            rows_of[:-1] = column.rows_of[column.codes] > 0
        rows = [row for row, _ in odd]
        verdicts[rows] = self.memory.verdicts[asked].of([value for _, value in odd])
        rows_of[rows] = 1
        rows_of[-1] = 0
        return Judged(verdicts, np.arange(size, dtype=np.int32), rows_of)

    def _encode(self, name: str, column: pa.Array) -> columns.Encoded:
        encoded = self._encoded.get(name)
        if encoded is None:
            encoded = self._encoded[name] = columns.encode(column)
        return encoded

    def counts(self, asked: str) -> np.ndarray | None:
        """How many rows each question is true of, for keywords at most; None where the field is absent."""
        found = self.judged(asked)
        if not found:
            return None
        verdicts = self.memory.verdicts[asked]
        counts = [verdicts.counts(one.verdicts, one.rows_of) for one in found]
        return counts[0] if len(counts) == 1 else np.sum(counts, axis=0)

    def choose(self, asked: str, question: int, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` (None: all) of which the question is true."""
        if rows is None:
            chosen = self._chosen.get((asked, question))
            if chosen is None:
                chosen = self._chosen[asked, question] = np.flatnonzero(self._true(asked, question, None))
            return chosen
        return np.asarray(rows[self._true(asked, question, rows)])

    def _true(self, asked: str, question: int, rows: np.ndarray | None) -> np.ndarray:
        found = self.judged(asked)
        truth = self.memory.verdicts[asked].truth[question]
        size = self.batch.num_rows if rows is None else len(rows)
        if not found:
            return np.full(size, truth[ABSENT])
        marked = np.zeros(size, dtype=bool)
        for one in found:
            if size:
                mark(truth[one.verdicts], one.codes, _EVERY if rows is None else rows, marked)
        return marked

    def union(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """Give the rows of all parts, in their order, each once."""
        found = [rows for rows in parts if len(rows)]
        if len(found) <= 1:
            return found[0] if found else self.all_rows[:0]
        for rows in found:
            self._mark[rows] = True
        both = np.flatnonzero(self._mark)
        self._mark[both] = False
        return both

    def without(self, rows: np.ndarray, gone: np.ndarray) -> np.ndarray:
        """Give those of `rows` that are not among `gone`."""
        self._mark[rows] = True
        self._mark[gone] = False
        left = np.asarray(rows[self._mark[rows]])
        self._mark[rows] = False
        return left

    def pairs(
        self, one: str, other: str, rows: np.ndarray
    ) -> tuple[list[tuple[Value | None, Value | None]], np.ndarray, np.ndarray]:
        """Give the pairs of values that two fields have, each once, for a comparison of fields.

        Returns:
            The pairs as text; those of `rows` that have both fields; the number of each one's pair.
        """
        found = [columns.find(self._columns, name) for name in (one, other)]
        if not self._misfits.fields.keys().isdisjoint((one, other)):
            which = np.arange(len(rows))
            return list(zip(self.values(one, rows), self.values(other, rows), strict=True)), rows, which
        if found[0] is None or found[1] is None:
            return [], rows[:0], rows[:0]
        left, right = self._encode(one, found[0]), self._encode(other, found[1])
        first, second = left.codes[rows].astype(np.int64), right.codes[rows]
        there = (first != len(left.values)) & (second != len(right.values))
        rows, both = rows[there], first[there] * len(right.values) + second[there]
        _, some, which = np.unique(both, return_index=True, return_inverse=True)
        chosen = rows[some]
        return list(zip(self.values(one, chosen), self.values(other, chosen), strict=True)), rows, which

    def values(self, name: str, rows: np.ndarray) -> Sequence[Value | None]:
        """Give the values of a field as text, for a comparison of fields."""
        column = columns.find(self._columns, name)
        if column is None:
            found: list[Value | None] = [None] * len(rows)
        else:
            encoded = self._encode(name, column)
            codes, which = np.unique(encoded.codes[rows], return_inverse=True)
            values = encoded.values.take(pa.array(codes, mask=codes == len(encoded.values)))
            known = columns.texts(values)
            found = [known[code] for code in which.tolist()]
        if odd := dict(self._misfits.fields.get(name, ())):
            found = [odd.get(row, value) for row, value in zip(rows.tolist(), found, strict=True)]
        return found
