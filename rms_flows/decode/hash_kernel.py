"""XXH3 with 128 bits over many records at once, compiled by Numba; the same numbers as `xxhash` gives.

After its specification, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, whose names are kept.
Only its way for inputs of more than 240 bytes: shorter ones have three more.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rms_flows.compiled import compiled, inlined
from rms_flows.decode.simd import address, folded, put_byte, put_word, stripe, stripes, word

DIGITS: Final = 32
"""Hexadecimal digits of a hash."""

LONGER: Final = 240
"""Bytes that a record must have more than."""

SCRATCH: Final = 32
"""Words of memory that a hash takes."""

SECRET: Final = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
        "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
        "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint64,
)

_P32_1, _P32_2, _P32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
_P64_1, _P64_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_P64_3, _P64_4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
_P64_5, _MX1 = np.uint64(0x27D4EB2F165667C5), np.uint64(0x165667919E3779F9)
_START = np.array([_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1], np.uint64)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).astype(np.int64)
_BLOCK, _STRIPE = 1024, 64


@inlined
def _scrambled(sums: int, secret: int) -> None:
    for lane in range(0, 64, 8):
        value = word(sums + lane)
        value = (value ^ (value >> np.uint64(47)) ^ word(secret + lane)) * _P32_1
        put_word(sums + lane, value)


@inlined
def _merged(sums: int, secret: int, start: np.uint64) -> np.uint64:
    for lane in range(0, 64, 16):
        start += folded(
            word(sums + lane) ^ word(secret + lane), word(sums + lane + 8) ^ word(secret + lane + 8)
        )
    start ^= start >> np.uint64(37)
    start *= _MX1
    return start ^ (start >> np.uint64(32))


@inlined
def _written(value: np.uint64, to: int) -> None:
    for digit in range(16):
        put_byte(to + digit, _HEX[(value >> np.uint64(60 - 4 * digit)) & np.uint64(15)])


@compiled
def digest(i: int, end: int, seed: np.uint64, secret: np.ndarray, scratch: np.ndarray, to: int) -> None:
    """Hash one record.

    Args:
        i: Its address.
        end: That of the place behind its last byte, more than `LONGER` from the first.
        seed: The seed.
        secret: `SECRET`.
        scratch: uint64[`SCRATCH`].
        to: Address of `DIGITS` bytes, takes hexadecimal digits, as `xxhash.xxh3_128_hexdigest` gives them.
    """
    for lane in range(8):
        scratch[lane] = _START[lane]
    for pair in range(0, 24, 2):
        scratch[8 + pair] = secret[pair] + seed
        scratch[9 + pair] = secret[pair + 1] - seed
    sums = address(scratch)
    own = sums + 64
    size = np.uint64(end - i)
    while i + _BLOCK < end:
        stripes(sums, i, own)
        _scrambled(sums, own + 128)
        i += _BLOCK
    key = own
    while i + _STRIPE < end:
        stripe(sums, i, key)
        i, key = i + _STRIPE, key + 8
    stripe(sums, end - _STRIPE, own + 121)
    _written(_merged(sums, own + 117, ~(size * _P64_2)), to)
    _written(_merged(sums, own + 11, size * _P64_1), to + 16)


@compiled
def digests(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    seeds: np.ndarray,
    secret: np.ndarray,
    scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """Hash records, whose first and last places in `data` are given, into uint8[records, DIGITS]."""
    at, to = address(data), address(out)
    for r in range(len(starts)):
        digest(at + starts[r], at + ends[r], seeds[r], secret, scratch, to + r * DIGITS)


def hashed(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Hash records of more than `LONGER` bytes.

    Args:
        data: uint8, padded.
        starts: int64, shape (records,): where each begins.
        ends: The same shape: the place behind each.
        seeds: uint64, the same shape.

    Returns:
        Hexadecimal digits: uint8, shape (records, DIGITS).
    """
    out = np.empty((len(starts), DIGITS), np.uint8)
    digests(data, starts, ends, seeds, SECRET, np.empty(SCRATCH, np.uint64), out)
    return out
