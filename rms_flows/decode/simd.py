"""Sixty-four bytes at a time in code that Numba compiles: LLVM's vectors, as wide as the processor has them.

The same idea as simdjson's first stage (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", VLDB
Journal 2019): compare a block of bytes at once and go on with the bits of the answer. Bit k stands for byte
`i + k`. Places are addresses in memory, since an array would be seven arguments in every call. Each call
reads, and those that write write, all 64 bytes: buffers are padded by `WIDTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

WIDTH = 64
"""Bytes in a block."""

AHEAD = 4096
"""Bytes ahead of the place that is read at which memory is asked for: a block of megabytes lies beyond the
nearer caches, and the processor guesses no further than a page. It takes a third off the scan."""

_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_FLAGS = ir.VectorType(ir.IntType(1), WIDTH)
_BITS = ir.IntType(64)
_MEANT: Final = tuple(zip(b"nrtbf", b"\n\r\t\b\f", strict=True))
"""Letters behind a backslash that mean another byte."""


def _machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operation of Numba's of what types and generates it; the call leaves the first argument out."""
    return cast("Callable[..., Any]", intrinsic(function))


def _squeezes() -> bool:
    """Tell whether the processor that is compiled for moves chosen bytes of a block together at once."""
    if config.CPU_FEATURES is not None:  # type: ignore[attr-defined]
        return "+avx512vbmi2" in str(config.CPU_FEATURES)  # type: ignore[attr-defined]
    return bool(binding.get_host_cpu_features().get("avx512vbmi2"))


SQUEEZES: Final = _squeezes()
"""Whether `squeeze` can be called; else bytes between escapes are copied run by run."""


def _tuple(size: int) -> Any:
    return types.UniTuple(types.uint64, size)  # type: ignore[no-untyped-call]


def _load(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _BYTES.as_pointer()), align=1)


def _store(builder: Any, block: Any, address: Any) -> None:
    builder.store(block, builder.inttoptr(address, _BYTES.as_pointer()), align=1)


def _prefetch(builder: Any, address: Any, write: int) -> None:
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    place = builder.inttoptr(address, pointer)
    builder.call(fetch, [place, *(ir.Constant(number, n) for n in (write, 3, 1))])


def _compare(builder: Any, operator: str, block: Any, byte: int) -> Any:
    return builder.icmp_unsigned(operator, block, ir.Constant(_BYTES, [byte] * WIDTH))


def _any_of(builder: Any, block: Any, letters: bytes) -> Any:
    found = _compare(builder, "==", block, letters[0])
    for byte in letters[1:]:
        found = builder.or_(found, _compare(builder, "==", block, byte))
    return builder.bitcast(found, _BITS)


def _ends(builder: Any, block: Any) -> list[Any]:
    quotes, controls = _compare(builder, "==", block, 0x22), _compare(builder, "<", block, 0x20)
    slashes = _compare(builder, "==", block, 0x5C)
    return [builder.bitcast(one, _BITS) for one in (builder.or_(quotes, controls), slashes)]


@_machine
def address(_typing: Any, array: Any) -> Any:
    """Give where an array's memory begins."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(context.make_array(array)(context, builder, arguments[0]).data, _BITS)

    return types.int64(array), generate


@_machine
def ends(_typing: Any, i: Any) -> Any:
    """Give (quotes and control characters, backslashes) of the block at `i`: what ends a run of a string."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _ends(builder, _load(builder, arguments[0]))
        return context.make_tuple(builder, signature.return_type, found)

    return _tuple(2)(types.int64), generate


@_machine
def moved(_typing: Any, i: Any, to: Any) -> Any:
    """Copy the block at `i` to `to`; give its `ends`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0])
        _store(builder, block, arguments[1])
        return context.make_tuple(builder, signature.return_type, _ends(builder, block))

    return _tuple(2)(types.int64, types.int64), generate


@_machine
def counted(_typing: Any, i: Any, to: Any) -> Any:
    """Copy the block at `i` to `to`; give the bytes that are no digits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0])
        _store(builder, block, arguments[1])
        above = builder.sub(block, ir.Constant(_BYTES, [0x30] * WIDTH))
        return builder.bitcast(_compare(builder, ">", above, 9), _BITS)

    return types.uint64(types.int64, types.int64), generate


@_machine
def copy(_typing: Any, i: Any, to: Any) -> Any:
    """Copy the block at `i` to `to`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _store(builder, _load(builder, arguments[0]), arguments[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_machine
def escapes(_typing: Any, i: Any) -> Any:
    r"""Give (what may stand behind a backslash, but u; every u) of the block at `i`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0])
        found = [_any_of(builder, block, b'"\\/bfnrt'), _any_of(builder, block, b"u")]
        return context.make_tuple(builder, signature.return_type, found)

    return _tuple(2)(types.int64), generate


@_machine
def squeeze(_typing: Any, i: Any, to: Any, kept: Any, escaped: Any) -> Any:
    """Write some bytes of the block at `i` together at `to`, escaped ones as what they mean."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        block = _load(builder, arguments[0])
        kept, escaped = (builder.bitcast(bits, _FLAGS) for bits in arguments[2:])
        for letter, byte in _MEANT:
            chosen = builder.and_(escaped, _compare(builder, "==", block, letter))
            block = builder.select(chosen, ir.Constant(_BYTES, [byte] * WIDTH), block)
        kind = ir.FunctionType(_BYTES, [_BYTES, _BYTES, _FLAGS])
        name = f"llvm.x86.avx512.mask.compress.v{WIDTH}i8"
        compress = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        nothing = ir.Constant(_BYTES, [0] * WIDTH)
        _store(builder, builder.call(compress, [block, nothing, kept]), arguments[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64, types.uint64), generate


@_machine
def unequal(_typing: Any, i: Any, j: Any) -> Any:
    """Give the bytes in which the blocks at two places differ."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        one, two = (_load(builder, address) for address in arguments)
        return builder.bitcast(builder.icmp_unsigned("!=", one, two), _BITS)

    return types.uint64(types.int64, types.int64), generate


def _marks(builder: Any, address: Any) -> list[Any]:
    block = _load(builder, address)
    return [_compare(builder, "==", block, 0x0A), _compare(builder, ">", block, 0x7F)]


@_machine
def marks(_typing: Any, i: Any) -> Any:
    """Give (line feeds, bytes beyond ASCII) of the block at `i`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = [builder.bitcast(one, _BITS) for one in _marks(builder, arguments[0])]
        return context.make_tuple(builder, signature.return_type, bits)

    return _tuple(2)(types.int64), generate


@_machine
def unmarked(_typing: Any, i: Any) -> Any:
    """Tell whether the four blocks at `i` have neither line feeds nor bytes beyond ASCII."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        found = []
        for n in range(4):
            address = builder.add(arguments[0], ir.Constant(_BITS, n * WIDTH))
            _prefetch(builder, builder.add(address, ir.Constant(_BITS, AHEAD)), 0)
            found += _marks(builder, address)
        whole = found[0]
        for one in found[1:]:
            whole = builder.or_(whole, one)
        return builder.icmp_unsigned("==", builder.bitcast(whole, _BITS), ir.Constant(_BITS, 0))

    return types.boolean(types.int64), generate


@_machine
def above_one(_typing: Any, i: Any) -> Any:
    """Give the bytes of the block at `i` that are more than 1."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(_compare(builder, ">", _load(builder, arguments[0]), 1), _BITS)

    return types.uint64(types.int64), generate


_LANES = ir.VectorType(_BITS, 8)


def _stripe(builder: Any, sums: Any, data: Any, secret: Any) -> Any:
    """Take 64 bytes into the eight sums of XXH3."""
    place = _LANES.as_pointer()
    words = builder.load(builder.inttoptr(data, place), align=1)
    mixed = builder.xor(words, builder.load(builder.inttoptr(secret, place), align=1))
    low = builder.and_(mixed, ir.Constant(_LANES, [0xFFFFFFFF] * 8))
    product = builder.mul(low, builder.lshr(mixed, ir.Constant(_LANES, [32] * 8)))
    swapped = ir.Constant(ir.VectorType(ir.IntType(32), 8), [1, 0, 3, 2, 5, 4, 7, 6])
    return builder.add(builder.add(sums, product), builder.shuffle_vector(words, words, swapped))


def _striper(count: int) -> Callable[..., Any]:
    """Make an operation that takes stripes of 64 bytes at `i` into `sums` (`accumulate` of XXH3)."""

    def take(_typing: Any, sums: Any, i: Any, secret: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], _LANES.as_pointer())
            value = builder.load(place, align=8)
            for n in range(count):
                data = builder.add(arguments[1], ir.Constant(_BITS, n * WIDTH))
                _prefetch(builder, builder.add(data, ir.Constant(_BITS, AHEAD)), 0)
                key = builder.add(arguments[2], ir.Constant(_BITS, n * 8))
                value = _stripe(builder, value, data, key)
            builder.store(value, place, align=8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return _machine(take)


stripe = _striper(1)
"""Take a stripe into the sums of XXH3."""

stripes = _striper(16)
"""Take a block of 16 stripes into the sums of XXH3."""


@_machine
def folded(_typing: Any, a: Any, b: Any) -> Any:
    """Multiply two numbers to 128 bits; give the halves of that, one XOR the other."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(one, wide) for one in arguments))
        high = builder.lshr(product, ir.Constant(wide, 64))
        return builder.trunc(builder.xor(product, high), _BITS)

    return types.uint64(types.uint64, types.uint64), generate


@_machine
def word(_typing: Any, i: Any) -> Any:
    """Give the eight bytes at `i` as one number, the first lowest."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _BITS.as_pointer()), align=1)

    return types.uint64(types.int64), generate


@_machine
def byte(_typing: Any, i: Any) -> Any:
    """Give the byte at `i`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(place), _BITS)

    return types.int64(types.int64), generate


def _writer(bits: int, number: Any = types.int64) -> Callable[..., Any]:
    """Make an operation that writes the low bits of a number at an address."""

    def write(_typing: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            place = builder.inttoptr(arguments[0], kind.as_pointer())
            value = arguments[1] if kind == _BITS else builder.trunc(arguments[1], kind)
            builder.store(value, place, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, number), generate

    return _machine(write)


put_byte = _writer(8)
"""Write the low byte of a number at an address."""

put_int32 = _writer(32)
"""Write the low four bytes of a number at an address."""


put_word = _writer(64, types.uint64)
"""Write eight bytes at an address."""


def _prefetcher(write: int) -> Callable[..., Any]:
    """Make an operation that asks for the line of cache at an address, before it is needed."""

    def prefetch(_typing: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            _prefetch(builder, arguments[0], write)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return _machine(prefetch)


to_read = _prefetcher(0)
"""Ask for the line of cache at an address that will be read soon."""

to_write = _prefetcher(1)
"""Ask for the line of cache at an address that will be written soon."""


def _bit_count(operation: str) -> Callable[..., Any]:
    def count(_typing: Any, bits: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            if operation == "ctpop":
                return builder.ctpop(arguments[0])
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.uint64), generate

    return _machine(count)


lowest = _bit_count("cttz")
"""Give the number of the lowest bit that is set, 64 where none is."""

ones = _bit_count("ctpop")
"""Give how many bits are set."""
