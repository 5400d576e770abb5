"""Kinds of values in expressions, and how one becomes another: only where nothing has to be guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.processors.filter import numbers
from rms_flows.processors.transform.numbers import floats
from rms_flows.schema import TEXTS, TIMESTAMP

Kind = Literal["integer", "number", "text", "truth", "time", "list", "null"]

KINDS: Final[Mapping[Kind, pa.DataType]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "truth": pa.bool_(),
    "time": TIMESTAMP,
    "list": TEXTS,
    "null": pa.null(),
}


class WrongKindError(Exception):
    """A part of an expression can't be what it has to be; whoever knows its place says where.

    Args:
        problem: What is wrong.
        remedy: How to mend it.
    """

    def __init__(self, problem: str, remedy: str = "see docs/transform.md") -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression.

    Args:
        kind: Of its values.
        run: Batch → values of `KINDS[kind]`, one a row.
        reads: Fields that it looks at.
        loose: It is a field of text, where logs keep numbers and truths too: these are read as what is asked.
        literal: What stands there itself.
    """

    kind: Kind
    run: Callable[[pa.RecordBatch], pa.Array]
    reads: frozenset[str]
    loose: bool = False
    literal: Any = None


def as_kind(part: Part, kind: Kind) -> Part:
    """Give a part as values of a kind; raises WrongKindError where these are another thing."""
    if part.kind == kind:
        return part
    run = part.run
    if part.kind == "null":
        return Part(kind, lambda batch: pa.nulls(batch.num_rows, KINDS[kind]), part.reads)
    if kind == "number" and part.kind == "integer":
        return Part(kind, lambda batch: floats(run(batch)), part.reads)
    if kind == "number" and part.loose:
        return Part(kind, lambda batch: floats(numbers(run(batch))), part.reads)
    if kind == "truth" and part.loose:
        return Part(kind, lambda batch: pc.equal(run(batch), "true"), part.reads)
    raise WrongKindError(f"expected a value of kind {kind}, not {part.kind}", "see docs/transform.md")


def alike(parts: Sequence[Part], what: str) -> list[Part]:
    """Give parts as values of one kind: fields of text as the others are, integers beside numbers as such."""
    kinds: set[Kind] = {part.kind for part in parts if not part.loose and part.kind != "null"}
    if not kinds:
        kinds.add("text" if any(part.loose for part in parts) else "null")
    if kinds == {"integer", "number"} or (kinds == {"integer"} and any(part.loose for part in parts)):
        kinds = {"number"}
    if len(kinds) > 1:
        raise WrongKindError(
            f"{' and '.join(sorted(kinds))} can't be {what} together",
            "turn one into the other: number(…), text(…)",
        )
    return [as_kind(part, next(iter(kinds))) for part in parts]


def common(parts: Iterable[Part]) -> frozenset[str]:
    """Give all fields that parts look at."""
    return frozenset[str]().union(*(part.reads for part in parts))


def written(values: pa.Array) -> pa.Array:
    """Write values as text, as they stand in logs; a float that is not finite is null."""
    return (floats(values) if pa.types.is_floating(values.type) else values).cast(pa.string())
