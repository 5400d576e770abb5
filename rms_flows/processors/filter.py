"""The processor `filter`: thresholds and comparisons on fields, as in "report only values above 80 %"."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rms_flows.errors import DocumentError
from rms_flows.model import Example, Parameter, ProcessorDefinition
from rms_flows.processors.contract import Processor, Step
from rms_flows.report.build import EVENT_COLUMNS, Rule, single_event
from rms_flows.schema import MISFIT, field_type
from rms_flows.sigma.expression import Expression, Look, Test, conjunction, disjunction
from rms_flows.sigma.predicate import Number, Order, Present

Value = str | float | int | bool

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], pa.Array]]] = {
    "EQ": pc.equal,
    "NE": pc.not_equal,
    "GT": pc.greater,
    "GE": pc.greater_equal,
    "LT": pc.less,
    "LE": pc.less_equal,
}
_WORDS: Final = {
    "EQ": "is",
    "NE": "is not",
    "GT": "is above",
    "GE": "is at least",
    "LT": "is below",
    "LE": "is at most",
}
_EXACT: Final = 2**63
_LEVELS: Final = ("informational", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a field with a value; false where the field is absent, `NE` then true."""

    field: str
    operator: str
    value: Value

    def __str__(self) -> str:
        return f"{self.field} {_WORDS[self.operator]} {self.value}"

    def true(self, batch: pa.RecordBatch) -> np.ndarray:
        """Tell of which rows it is true: bool, shape (rows,)."""
        absent = self.operator == "NE"
        if self.field not in batch.schema.names:
            return np.full(batch.num_rows, absent)
        column = batch[self.field]
        if pa.types.is_list(column.type):
            return self._any(column, batch.num_rows)
        found = _compare(column, self.operator, self.value)
        return np.asarray(pc.fill_null(found, absent).to_numpy(zero_copy_only=False), np.bool_)

    def _any(self, column: pa.Array, rows: int) -> np.ndarray:
        """Judge lists: true if it is of any element; `NE` if no element equals the value."""
        negative = self.operator == "NE"
        hit = _compare(column.flatten(), "EQ" if negative else self.operator, self.value)
        parents = pc.list_parent_indices(column).filter(pc.fill_null(hit, False))
        found = np.zeros(rows, np.bool_)
        found[parents.to_numpy(zero_copy_only=False)] = True
        return ~found if negative else found


def _compare(column: pa.Array, operator: str, value: Value) -> pa.Array:
    """Compare numbers with numbers, else text with text; of a dictionary its distinct values."""
    if pa.types.is_dictionary(column.type):
        return _compare(column.dictionary, operator, value).take(column.indices)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if pa.types.is_integer(column.type) and float(value).is_integer() and abs(value) < _EXACT:
            return _OPERATORS[operator](column, pa.scalar(int(value), pa.int64()))
        return _OPERATORS[operator](numbers(column), float(value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _OPERATORS[operator](column.cast(pa.string()), text)


def numbers(column: pa.Array) -> pa.Array:
    """Read text as numbers; what is none is null, so that no comparison with it is true.

    Args:
        column: Numbers or string.
    """
    if not pa.types.is_string(column.type):
        return column.cast(pa.float64(), safe=False)  # beyond 2^53 the nearest
    good = pc.match_substring_regex(column, r"^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
    return pc.if_else(good, column, None).cast(pa.float64())


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Make the step; raises DocumentError for parameters that contradict each other."""
    del folder
    comparisons, join = _comparisons(parameters, manifest_id)
    level = parameters.get("level", "medium")
    if level not in _LEVELS:
        raise DocumentError(
            f"no level is called {level!r}",
            where=f"{manifest_id}.level",
            remedy=f"the levels are {', '.join(_LEVELS)}",
        )
    said = f" {join} ".join(map(str, comparisons))
    meaning = json.dumps(
        [join, sorted(([c.field, c.operator, c.value] for c in comparisons), key=json.dumps)]
    )
    rule = Rule(
        id=manifest_id,
        name=parameters.get("title") or manifest_id,
        level=level,
        meaning=xxhash.xxh3_128_hexdigest(meaning.encode()),
        pack=xxhash.xxh3_128_hexdigest(f"{manifest_id} {meaning}".encode()),
    )
    message = parameters.get("message") or said
    measured = tuple(
        c.field
        for c in comparisons
        if pa.types.is_floating(field_type(c.field)) or pa.types.is_integer(field_type(c.field))
    )

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        truths = [comparison.true(batch) for comparison in comparisons]
        found = np.logical_and.reduce(truths) if join == "and" else np.logical_or.reduce(truths)
        rows = np.flatnonzero(found)
        return single_event(
            batch, rows, rule, processor=manifest_id, kind="threshold", message=message, measurement=measured
        )

    columns = {comparison.field for comparison in comparisons} | {*EVENT_COLUMNS, MISFIT}
    joined = conjunction if join == "and" else disjunction
    return Step(
        run=run,
        gives="reports",
        columns=frozenset(columns),
        meaning=rule.pack or "",
        looks_for=(Look(rule.name, None, joined(map(_looks_for, comparisons))),),
    )


def _looks_for(one: Comparison) -> Expression:
    """Say in the words of rules what a comparison can at most be true of."""
    if one.operator == "NE":
        return conjunction(())  # nothing is asked: it is true where the field is absent, too
    there = Test(one.field, Present())
    kind = field_type(one.field)
    if isinstance(one.value, bool) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return there
    return there if isinstance(one.value, str) else Test(one.field, Number(_ORDERS[one.operator], one.value))


_ORDERS: Final[Mapping[str, Order]] = {"EQ": "eq", "GT": "gt", "GE": "gte", "LT": "lt", "LE": "lte"}


def _comparisons(parameters: Mapping[str, Any], where: str) -> tuple[list[Comparison], str]:
    given = [name for name in ("field", "all", "any") if name in parameters]
    if len(given) != 1:
        raise DocumentError(
            f"expected one of field, all and any, not {' and '.join(given) or 'none of them'}",
            where=where,
            remedy="write field, operator and threshold, or a list of such under all or any",
        )
    if given == ["field"]:
        return [_comparison(parameters, where)], "and"
    if beside := sorted({"operator", "threshold"} & parameters.keys()):
        raise DocumentError(
            f"{beside[0]!r} stands beside {given[0]!r}", where=where, remedy="each comparison has its own"
        )
    entries = parameters[given[0]]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DocumentError(
            "expected a list of comparisons",
            where=f"{where}.{given[0]}",
            remedy="each has field, operator, threshold",
        )
    found = []
    for at, entry in enumerate(entries):
        place = f"{where}.{given[0]}[{at}]"
        if unknown := sorted(entry.keys() - {"field", "operator", "threshold"}):
            raise DocumentError(
                f"no such key: {unknown[0]!r}", where=place, remedy="each has field, operator, threshold"
            )
        found.append(_comparison(entry, place))
    return found, "and" if given == ["all"] else "or"


def _comparison(entry: Mapping[str, Any], where: str) -> Comparison:
    for key in ("field", "operator", "threshold"):
        if key not in entry:
            raise DocumentError(
                f"{key!r} is missing", where=where, remedy="a comparison has field, operator, threshold"
            )
    operator, value = entry["operator"], entry["threshold"]
    if operator not in _OPERATORS:
        raise DocumentError(
            f"no operator is called {operator!r}",
            where=f"{where}.operator",
            remedy=f"it is one of {', '.join(_OPERATORS)}",
        )
    if not isinstance(value, (str, int, float, bool)):
        raise DocumentError(
            f"expected a number, text or true/false, not {value!r}",
            where=f"{where}.threshold",
            remedy="write one value",
        )
    return Comparison(str(entry["field"]), operator, value)


PROCESSOR: Final = Processor(
    ProcessorDefinition(
        id="filter",
        name="filter",
        description="Reports each event whose fields compare as told, such as CPU usage above 80 %.",
        vendor="rms_flows",
        version="1",
        availability="replay, stream",
        processorType="stateless",
        inputKinds=("observation",),
        outputKinds=("threat report",),
        parameters=(
            Parameter(name="field", description="Dotted name of the field.", dataType="string"),
            Parameter(name="operator", description="EQ, NE, GT, GE, LT or LE.", dataType="string"),
            Parameter(
                name="threshold",
                description="In the field's own unit; shares run from 0 to 1.",
                dataType="any",
                unit="that of the field",
            ),
            Parameter(
                name="all", description="Several comparisons that all have to be true.", dataType="list"
            ),
            Parameter(
                name="any", description="Several comparisons of which one has to be true.", dataType="list"
            ),
            Parameter(
                name="level",
                description=f"One of {', '.join(_LEVELS)}.",
                dataType="string",
                defaultValue="medium",
            ),
            Parameter(
                name="title",
                description="Name of the report; the processor's id unless told.",
                dataType="string",
            ),
            Parameter(
                name="message", description="For people; says the comparisons unless told.", dataType="string"
            ),
        ),
        examples=(
            Example(
                description="CPU load above 80 %",
                parameters={"field": "host.cpu.usage", "operator": "GT", "threshold": 0.8, "level": "high"},
            ),
            Example(
                description="Log-ins as root that failed",
                parameters={
                    "all": [
                        {"field": "user.name", "operator": "EQ", "threshold": "root"},
                        {"field": "event.outcome", "operator": "EQ", "threshold": "failure"},
                    ]
                },
            ),
        ),
    ),
    make,
)
