"""Sixty-four bytes at a time in code that Numba compiles: LLVM's vectors, as wide as the processor has them.

The same idea as simdjson's first stage (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", VLDB
Journal 2019): compare a block of bytes at once and go on with the bits of the answer. Bit k stands for byte
`i + k`. Each call reads, and `copy` writes, all 64 bytes: buffers are padded by `WIDTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = 64
"""Bytes in a block."""

_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_BITS = ir.IntType(64)
_PAIR = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]


def _machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operation of Numba's of what types and generates it; the call leaves the first argument out."""
    return cast("Callable[..., Any]", intrinsic(function))


def _block(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> Any:
    """Give the address of a block in an array."""
    place = builder.gep(context.make_array(kind)(context, builder, array).data, [i])
    return builder.bitcast(place, _BYTES.as_pointer())


def _compare(builder: Any, operator: str, block: Any, byte: int) -> Any:
    return builder.icmp_unsigned(operator, block, ir.Constant(_BYTES, [byte] * WIDTH))


@_machine
def ends(_typing: Any, array: Any, i: Any) -> Any:
    """Give (quotes and control characters, backslashes) of the block at `i`: what ends a run of a string."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = builder.load(_block(context, builder, array, *arguments), align=1)
        quotes, controls = _compare(builder, "==", block, 0x22), _compare(builder, "<", block, 0x20)
        slashes = _compare(builder, "==", block, 0x5C)
        found = [builder.bitcast(one, _BITS) for one in (builder.or_(quotes, controls), slashes)]
        return context.make_tuple(builder, signature.return_type, found)

    return _PAIR(array, types.intp), generate


@_machine
def escapes(_typing: Any, array: Any, i: Any) -> Any:
    r"""Give (what may stand behind a backslash, but backslash and u; every u) of the block at `i`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = builder.load(_block(context, builder, array, *arguments), align=1)
        simple = _compare(builder, "==", block, 0x22)
        for byte in b"/bfnrt":
            simple = builder.or_(simple, _compare(builder, "==", block, byte))
        found = [builder.bitcast(one, _BITS) for one in (simple, _compare(builder, "==", block, 0x75))]
        return context.make_tuple(builder, signature.return_type, found)

    return _PAIR(array, types.intp), generate


@_machine
def unequal(_typing: Any, array: Any, i: Any, other: Any, j: Any) -> Any:
    """Give the bytes in which the block at `i` differs from that of another array at `j`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        one = builder.load(_block(context, builder, array, *arguments[:2]), align=1)
        two = builder.load(_block(context, builder, other, *arguments[2:]), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", one, two), _BITS)

    return types.uint64(array, types.intp, other, types.intp), generate


@_machine
def word(_typing: Any, array: Any, i: Any) -> Any:
    """Give the eight bytes at `i` as one number, the first lowest."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.gep(context.make_array(array)(context, builder, arguments[0]).data, [arguments[1]])
        return builder.load(builder.bitcast(place, _BITS.as_pointer()), align=1)

    return types.uint64(array, types.intp), generate


@_machine
def copy(_typing: Any, array: Any, i: Any, to: Any, j: Any) -> Any:
    """Copy the block at `i` to another array at `j`; give its backslashes."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        block = builder.load(_block(context, builder, array, *arguments[:2]), align=1)
        builder.store(block, _block(context, builder, to, *arguments[2:]), align=1)
        return builder.bitcast(_compare(builder, "==", block, 0x5C), _BITS)

    return types.uint64(array, types.intp, to, types.intp), generate


@_machine
def lowest(_typing: Any, bits: Any) -> Any:
    """Give the number of the lowest bit that is set, 64 where none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@_machine
def leading(_typing: Any, bits: Any) -> Any:
    """Give how many of the highest bits are zeros in a row, 64 where all are."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
