"""Expressions over fields: parsed by a whitelist, typed before anything is read, run on whole columns.

An expression can't call but what is listed, has a limit on size and depth, and each part of it costs one
pass over the batch: none can take for ever. Null is what is not known: it goes through arithmetic and
functions, and is what has no finite result; of a condition it counts as false.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import DocumentError
from rms_flows.processors.transform.columns import plain, read
from rms_flows.processors.transform.functions import FUNCTIONS
from rms_flows.processors.transform.kinds import KINDS, Kind, Part, WrongKindError, alike, as_kind, common
from rms_flows.processors.transform.numbers import floats, real, whole

LONGEST: Final = 2_000
"""Characters of an expression; a person has no need of more."""
DEEPEST: Final = 30
"""Levels of parts within parts, far less than Python's own limit of recursion."""
MOST: Final = 300
"""Parts of an expression, each a pass over a batch."""

_ARITHMETIC: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], pa.Array]]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}


def compile_expression(text: str, where: str) -> Part:
    """Make of an expression what gives its values for a batch.

    Args:
        text: `source.bytes / 1000`, `"night" if hour(field("@timestamp")) < 6 else "day"`.
        where: Names it in errors.

    Raises:
        DocumentError: It is too long or too deep, has what isn't in the list, or mixes kinds of values.

    Example:
        >>> rows = pa.record_batch({"source.bytes": pa.array([10, None])})
        >>> compile_expression("source.bytes * 8", "").run(rows).to_pylist()
        [80, None]
    """
    if len(text) > LONGEST:
        raise DocumentError(
            f"the expression has {len(text):,} characters, more than {LONGEST:,}",
            where=where,
            remedy="derive it in steps",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a regular expression's \d is no escape, and stays
            tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise DocumentError(
            f"{text!r} is no expression: {error.msg} at character {error.offset}",
            where=where,
            remedy='write one such as source.bytes / 1000, and field("…") for odd names',
        ) from None
    except (ValueError, MemoryError, RecursionError):
        raise DocumentError(
            "the expression is nested too deep to be read", where=where, remedy="derive it in steps"
        ) from None
    return _Compiler(text.strip(), where).part(tree.body, 0)


def field_part(name: str) -> Part:
    """Give the part that reads a field; raises WrongKindError where expressions know no such values."""
    kind = plain(name)
    if kind == pa.float64():  # where NaN is no value
        return Part("number", lambda batch: floats(read(batch, name)), frozenset({name}))
    for known, arrow in KINDS.items():
        if arrow == kind and known != "null":
            return Part(known, lambda batch: read(batch, name), frozenset({name}), loose=known == "text")
    raise WrongKindError(f"{name} holds {kind}, which expressions can't read")


class _Compiler:
    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._parts = 0

    def part(self, node: ast.expr, depth: int) -> Part:
        self._parts += 1
        if depth > DEEPEST or self._parts > MOST:
            raise self._error(
                node,
                f"more than {DEEPEST} levels or {MOST} parts",
                "derive it in steps",
            )
        make = _NODES.get(type(node))
        if make is None:
            raise self._error(
                node,
                f"{type(node).__name__} is not allowed",
                "use fields, numbers, texts, + - * /, comparisons, in, and, or, not, A if B else C, and the "
                f"functions {', '.join(sorted(['field', *FUNCTIONS]))}",
            )
        try:
            return make(self, node, depth + 1)
        except WrongKindError as error:
            raise self._error(node, str(error), error.remedy) from None

    def _error(self, node: ast.expr, problem: str, remedy: str) -> DocumentError:
        at = len(self._text.encode()[: node.col_offset].decode()) + 1
        return DocumentError(
            f"{problem}, at character {at} of {self._text!r}", where=self._where, remedy=remedy
        )

    def constant(self, node: ast.Constant, _depth: int) -> Part:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            raise WrongKindError(f"{value} is too large for 64 bits", "write a float")
        names: dict[type, Kind] = {
            bool: "truth",
            int: "integer",
            float: "number",
            str: "text",
            type(None): "null",
        }
        kind = names.get(type(value))
        if kind is None or value == float("inf"):
            raise WrongKindError(f"{value!r} is neither a finite number, text, True, False nor None")
        scalar = pa.scalar(value, KINDS[kind])
        return Part(kind, lambda batch: pa.repeat(scalar, batch.num_rows), frozenset(), literal=value)

    def name(self, node: ast.Name | ast.Attribute, _depth: int) -> Part:
        parts: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise WrongKindError("a dot follows what is no name of a field", 'write field("…") for odd names')
        return field_part(".".join([inner.id, *reversed(parts)]))

    def call(self, node: ast.Call, depth: int) -> Part:
        called = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
        if node.keywords or (called != "field" and called not in FUNCTIONS):
            raise WrongKindError(
                f"no function is called {called!r}" if not node.keywords else "arguments have no names here",
                f"the functions are {', '.join(sorted(['field', *FUNCTIONS]))}",
            )
        arguments = [self.part(one, depth) for one in node.args]
        if called != "field":
            return FUNCTIONS[called](arguments)
        if len(arguments) != 1 or not isinstance(arguments[0].literal, str):
            raise WrongKindError("field takes the name of one field as text")
        return field_part(arguments[0].literal)

    def binary(self, node: ast.BinOp, depth: int) -> Part:
        operator = _ARITHMETIC.get(type(node.op))
        if operator is None:
            raise WrongKindError(f"the operator {type(node.op).__name__} is not allowed", "there are + - * /")
        left, right = self.part(node.left, depth), self.part(node.right, depth)
        reads = left.reads | right.reads
        if operator == "-" and left.kind == right.kind == "time":
            return Part("number", lambda batch: _seconds(left.run(batch), right.run(batch)), reads)
        kind: Kind = "integer" if left.kind == right.kind == "integer" and operator != "/" else "number"
        count = whole if kind == "integer" else real
        one, two = as_kind(left, kind), as_kind(right, kind)
        return Part(kind, lambda batch: count(operator, one.run(batch), two.run(batch)), reads)

    def unary(self, node: ast.UnaryOp, depth: int) -> Part:
        inner = self.part(node.operand, depth)
        if isinstance(node.op, ast.Not):
            truth = as_kind(inner, "truth")
            return Part("truth", lambda batch: pc.invert(truth.run(batch)), inner.reads)
        if not isinstance(node.op, ast.USub):
            raise WrongKindError(
                f"the operator {type(node.op).__name__} is not allowed", "there are - and not"
            )
        kind: Kind = "integer" if inner.kind == "integer" else "number"
        count, one = whole if kind == "integer" else real, as_kind(inner, kind)

        def run(batch: pa.RecordBatch) -> pa.Array:
            zero = pa.repeat(pa.scalar(0, KINDS[kind]), batch.num_rows)
            return count("-", zero, one.run(batch))

        return Part(kind, run, inner.reads, literal=None if inner.literal is None else -inner.literal)

    def joined(self, node: ast.BoolOp, depth: int) -> Part:
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        parts = [as_kind(self.part(one, depth), "truth") for one in node.values]

        def run(batch: pa.RecordBatch) -> pa.Array:
            found = parts[0].run(batch)
            for one in parts[1:]:
                found = join(found, one.run(batch))
            return found

        return Part("truth", run, common(parts))

    def compare(self, node: ast.Compare, depth: int) -> Part:
        if len(node.ops) != 1:
            raise WrongKindError("comparisons stand in a row", "join two by and")
        left, asked = self.part(node.left, depth), node.comparators[0]
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            return self._within(left, asked, negative=isinstance(node.ops[0], ast.NotIn))
        compare = _COMPARE.get(type(node.ops[0]))
        if compare is None:
            raise WrongKindError("is is not allowed", "use ==, or is_null(…)")
        one, two = alike([left, self.part(asked, depth)], "compared")
        if one.kind in {"list", "null"}:
            raise WrongKindError(f"a {one.kind} can't be compared", "use first(…), length(…) or is_null(…)")
        return Part("truth", lambda batch: compare(one.run(batch), two.run(batch)), one.reads | two.reads)

    def _within(self, left: Part, asked: ast.expr, *, negative: bool) -> Part:
        values = [self.part(one, 0) for one in asked.elts] if isinstance(asked, (ast.Tuple, ast.List)) else []
        if not values or any(one.literal is None for one in values):
            raise WrongKindError("in wants a list of numbers or texts", 'write name in ("a", "b")')
        one, *others = alike([left, *values], "compared")
        row = pa.record_batch({"": pa.nulls(1)})
        known = pa.concat_arrays([other.run(row) for other in others])

        def run(batch: pa.RecordBatch) -> pa.Array:
            given = one.run(batch)
            found = pc.is_in(given, value_set=known)
            return pc.if_else(pc.is_valid(given), pc.invert(found) if negative else found, None)

        return Part("truth", run, one.reads)

    def choice(self, node: ast.IfExp, depth: int) -> Part:
        test = as_kind(self.part(node.test, depth), "truth")
        yes, no = alike([self.part(node.body, depth), self.part(node.orelse, depth)], "chosen from")

        def run(batch: pa.RecordBatch) -> pa.Array:
            return pc.if_else(pc.fill_null(test.run(batch), False), yes.run(batch), no.run(batch))

        return Part(yes.kind, run, test.reads | yes.reads | no.reads)


def _seconds(left: pa.Array, right: pa.Array) -> pa.Array:
    apart = whole("-", left.cast(pa.int64()), right.cast(pa.int64()))
    return real("/", apart, pa.repeat(1_000_000, len(apart)))


_NODES: Final[Mapping[type[ast.expr], Callable[[_Compiler, Any, int], Part]]] = {
    ast.Attribute: _Compiler.name,
    ast.BinOp: _Compiler.binary,
    ast.BoolOp: _Compiler.joined,
    ast.Call: _Compiler.call,
    ast.Compare: _Compiler.compare,
    ast.Constant: _Compiler.constant,
    ast.IfExp: _Compiler.choice,
    ast.Name: _Compiler.name,
    ast.UnaryOp: _Compiler.unary,
}
