"""A document of actions compiled: which reports its routes, inhibitions and silences mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.action.plan import Seen, Side, Timing
from rms_flows.errors import DocumentError, RuleError
from rms_flows.model import Actions, microseconds
from rms_flows.model.actions import ALONE, ActionRoute, Inhibition, Matchers, Silence
from rms_flows.schema import MISFIT, micros
from rms_flows.sigma.selection import Selection, select

LABELS: Final = (
    "rule.id",
    "rule.name",
    "rule.level",
    "rms.report_type",
    "rms.processor",
    "rms.source",
    "event.dataset",
    "rms.system_id",
    "rms.location",
    "rms.request_source",
)
"""Columns that say what a report is of and never change with its revision; texts."""

COLUMNS: Final = (
    *LABELS,
    "rule.author",
    "rule.tags",
    "rms.status",
    "rms.monitored_asset_id",
    "rms.monitored_asset_ip",
)
"""Columns that matchers and groups may name, besides `group.NAME` for a part of the group key."""

GROUP: Final = "group."


@dataclass(frozen=True, slots=True)
class _Route:
    timing: Timing
    keep: Selection | None
    by: tuple[str, ...]
    goes_on: bool


@dataclass(frozen=True, slots=True)
class _Inhibition:
    key: str
    sources: Selection
    targets: Selection
    equal: tuple[str, ...]
    within: int


@dataclass(frozen=True, slots=True)
class _Silence:
    keep: Selection | None
    start: int
    end: int
    why: str


class Policy:
    """What a document of actions means for reports.

    Args:
        document: It.
        where: Names it in errors.

    Raises:
        DocumentError: A matcher is no Sigma selection, or names a column that reports don't have.
    """

    def __init__(self, document: Actions, where: str) -> None:
        self._where = where
        self._routes = [self._route(number, one) for number, one in enumerate(document.routes)]
        self._inhibitions = [
            self._inhibition(number, one) for number, one in enumerate(document.inhibit_rules)
        ]
        self._silences = [self._silence(number, one) for number, one in enumerate(document.silences)]

    def seen(self, reports: pa.Table) -> list[Seen]:
        """Tell of each report (`schema.REPORT`) what a plan needs, in their order."""
        if not reports.num_rows:
            return []
        rows = [
            row(one) for one in reports.select([*COLUMNS, "@timestamp", "event.id", "rms.group"]).to_pylist()
        ]
        batch = _batch(rows)
        times = reports["@timestamp"].cast(pa.int64()).to_pylist()
        groups, sides = self._groups(batch, rows), self._sides(batch, rows)
        silenced = self._silenced(batch, np.array(times, np.int64))
        return [
            Seen(
                one["event.id"],
                times[number],
                xxhash.xxh3_64_hexdigest(json.dumps(labels(one)).encode()),
                tuple(groups[number]),
                *sides[number],
                silenced[number],
            )
            for number, one in enumerate(rows)
        ]

    def _sides(
        self, batch: pa.RecordBatch, rows: Sequence[Mapping[str, Any]]
    ) -> list[tuple[tuple[Side, ...], tuple[Side, ...]]]:
        """Give the inhibitions that each report is a source of, and those that it is a target of."""
        masks = [(one, _mask(one.sources, batch), _mask(one.targets, batch)) for one in self._inhibitions]
        found = []
        for number, one in enumerate(rows):
            sources, targets = list[Side](), list[Side]()
            for known, source, target in masks:
                both = bool(source[number] and target[number])
                side = Side(known.key, key_of(one, known.equal), both, known.within)
                sources += [side] * bool(source[number])
                targets += [side] * bool(target[number])
            found.append((tuple(sources), tuple(targets)))
        return found

    def _groups(
        self, batch: pa.RecordBatch, rows: Sequence[Mapping[str, Any]]
    ) -> list[list[tuple[Timing, str]]]:
        found: list[list[tuple[Timing, str]]] = [[] for _ in rows]
        left = np.ones(len(rows), np.bool_)
        for route in self._routes:
            fits = left & _mask(route.keep, batch)
            for number in np.flatnonzero(fits).tolist():
                by = ("event.id",) if ALONE in route.by else route.by
                found[number].append((route.timing, key_of(rows[number], by)))
            if not route.goes_on:
                left &= ~fits
        return found

    def _silenced(self, batch: pa.RecordBatch, times: np.ndarray) -> list[str | None]:
        found: list[str | None] = [None] * len(times)
        for silence in reversed(self._silences):
            fits = _mask(silence.keep, batch) & (times >= silence.start) & (times < silence.end)
            for number in np.flatnonzero(fits).tolist():
                found[number] = silence.why
        return found

    def _route(self, number: int, one: ActionRoute) -> _Route:
        where = f"routes[{number}]"
        self._check((name for name in one.group_by if name != ALONE), f"{where}.group_by")
        timing = Timing(
            _hash(one),
            one.receiver,
            microseconds(one.group_wait),
            microseconds(one.group_interval),
            microseconds(one.repeat_interval),
        )
        return _Route(timing, self._selection(one.matchers, f"{where}.matchers"), one.group_by, one.continue_)

    def _inhibition(self, number: int, one: Inhibition) -> _Inhibition:
        where = f"inhibit_rules[{number}]"
        self._check(one.equal, f"{where}.equal")
        sources = self._selection(one.source_matchers, f"{where}.source_matchers")
        targets = self._selection(one.target_matchers, f"{where}.target_matchers")
        assert sources is not None  # noqa: S101  the document has both
        assert targets is not None  # noqa: S101
        return _Inhibition(_hash(one), sources, targets, one.equal, microseconds(one.within))

    def _silence(self, number: int, one: Silence) -> _Silence:
        keep = self._selection(one.matchers, f"silences[{number}].matchers")
        return _Silence(keep, micros(one.starts_at), micros(one.ends_at), f"{one.comment} ({one.created_by})")

    def _selection(self, matchers: Matchers | None, where: str) -> Selection | None:
        if matchers is None:
            return None
        try:
            made = select(matchers)
        except RuleError as error:
            raise DocumentError(
                f"no Sigma selection: {error.problem}",
                where=f"{self._where}: {where}",
                remedy='write one such as {"rule.level": [high, critical]}',
            ) from None
        if made.columns is None:
            raise DocumentError(
                "matchers without a column search all text of a report, which may grow",
                where=f"{self._where}: {where}",
                remedy="name the column",
            )
        # A nested field is looked for by each part of its name.
        heads = {name[:end] for name in made.columns for end, mark in enumerate(name) if mark == "."}
        self._check(sorted(made.columns - heads - {MISFIT}), where)
        return made

    def _check(self, names: Iterable[str], where: str) -> None:
        for name in names:
            if name not in COLUMNS and not name.startswith(GROUP):
                raise DocumentError(
                    f"no column {name!r} of reports can be matched or grouped by",
                    where=f"{self._where}: {where}",
                    remedy=f"there are {', '.join(COLUMNS)}, and {GROUP}NAME for a part of the group key",
                )


def row(report: Mapping[str, Any]) -> dict[str, Any]:
    """Give a report's columns with the parts of its group key beside them, as `group.NAME`."""
    try:
        parts = msgspec.json.decode(report["rms.group"]) if report["rms.group"] else {}
    except msgspec.DecodeError:  # reports of others may say anything there
        parts = {}
    named = parts.items() if isinstance(parts, dict) else ()
    return {**report, **{f"{GROUP}{name}": text(value) for name, value in named if value is not None}}


def labels(one: Mapping[str, Any]) -> dict[str, str]:
    """Give what a report says, but for its time, as texts: what makes it the same alert as another."""
    found = {name: str(one[name]) for name in LABELS if one.get(name)}
    for name in ("rms.monitored_asset_id", "rms.monitored_asset_ip"):
        if one.get(name):
            found[name] = ",".join(one[name])
    return found | {name: value for name, value in sorted(one.items()) if name.startswith(GROUP)}


def key_of(one: Mapping[str, Any], names: Sequence[str]) -> str:
    """Give what a report says in some columns, as JSON text; what it lacks is left out.

    Example:
        >>> key_of({"rule.id": "r", "rms.source": None}, ("rule.id", "rms.source"))
        '{"rule.id":"r"}'
    """
    found = {name: one[name] for name in sorted(names) if one.get(name)}
    return msgspec.json.encode(found).decode()


def text(value: Any) -> str:
    """Give a value of a group key as text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _batch(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    names = dict.fromkeys(name for one in rows for name in one if name in COLUMNS or name.startswith(GROUP))
    return pa.RecordBatch.from_pydict({name: [one.get(name) for one in rows] for name in names})


def _mask(keep: Selection | None, batch: pa.RecordBatch) -> np.ndarray:
    """Tell of which rows a selection is true, shape (rows,), bool."""
    if keep is None:
        return np.ones(batch.num_rows, np.bool_)
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[keep.plan.match(batch).row] = True
    return mask


def _hash(one: ActionRoute | Inhibition) -> str:
    return xxhash.xxh3_64_hexdigest(one.model_dump_json().encode())
