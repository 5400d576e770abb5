"""Where to look for which literal: for each one a window, or one for each remainder, that is rare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from rms_flows.sigma import scan_kernel as kernel


class Literal(NamedTuple):
    """What to look for.

    Args:
        text: UTF-8, in the folded case unless `cased`; not empty.
        starts: Only where the text begins.
        ends: Only where the text ends.
        cased: Whether case counts.
    """

    text: bytes
    starts: bool = False
    ends: bool = False
    cased: bool = False


_FORMS: Final = ((8, 4), (6, 4), (5, 4), (4, 4), (3, 4), (2, 4), (2, 3), (1, 3))
"""Strides and widths of windows, the fastest first; the last is for any literals."""
_ANY: Final = [byte for byte in range(128) if byte & kernel.CASELESS == byte]
"""What a byte of a window can be."""
_OTHERS: Final = len(_ANY)
_MANY: Final = 4_096
"""Entries, at most, that windows take which short literals don't fill."""
_BITS, _MORE_BITS = 10, 18
"""Of the number of an entry, at least and at most: the table should stay near the processor."""
_OFTEN: Final = 1 << 20
"""From how many on it doesn't matter how often a window occurs: two such numbers and a third fit into one."""
_SPARSE: Final = 128
"""Entries for each window, at least, as long as `_MORE_BITS` are enough."""


class _Places(NamedTuple):
    """Where windows lie in literals.

    Args:
        literal: int64, numbers of literals.
        back: int64, bytes from the literal's beginning to the window's.
        code: uint32, four bytes, masked.
    """

    literal: np.ndarray
    back: np.ndarray
    code: np.ndarray


def windows(literals: Sequence[Literal], sample: bytes) -> kernel.Windows:
    """Choose for each literal windows that the sample seldom has, and that few literals share."""
    sizes = np.array([len(one.text) for one in literals], dtype=np.int64)
    stride, width, begins = _form(sizes)
    mask = np.uint32(int.from_bytes(bytes([kernel.CASELESS] * width), "little"))
    bits = min(max(_BITS, (_SPARSE * stride * len(literals)).bit_length()), _MORE_BITS)
    shift = np.uint32(32 - bits)
    codes = _codes(b"".join(one.text for one in literals)) & mask
    owner = np.repeat(np.arange(len(literals)), sizes)
    back = np.arange(len(codes)) - (np.cumsum(sizes) - sizes)[owner]
    entries = _entries(codes, shift)
    sampled = np.bincount(_entries(_codes(sample) & mask, shift), minlength=1 << bits)
    inside = np.flatnonzero(back + width <= sizes[owner])
    shared = np.bincount(entries[inside], minlength=1 << bits)
    group = owner[inside] * stride + back[inside] % stride
    rarity = np.minimum(sampled, _OFTEN - 1) * _OFTEN + np.minimum(shared, _OFTEN - 1)
    order = np.argsort(group * _OFTEN**2 + rarity[entries[inside]], kind="stable")
    ordered = group[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    groups, chosen = ordered[first], inside[order[first]]
    places = [_Places(owner[chosen], back[chosen], codes[chosen])]
    missing = np.setdiff1d(np.arange(len(literals) * stride), groups)
    for literal, remainder in zip((missing // stride).tolist(), (missing % stride).tolist(), strict=True):
        places.append(_open(literals[literal].text, literal, int(begins[remainder, literal]), width))
    literal, back, codes = (np.concatenate(parts) for parts in zip(*places, strict=True))
    return _table(_Places(literal, back, codes), mask, shift, stride)


def _form(sizes: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Choose stride and width: short literals don't fill long windows; give where these begin, too."""
    for stride, width in _FORMS:
        begins, outside = _begins(sizes, stride, width)
        if np.sum(float(_OTHERS) ** outside, where=outside > 0) <= _MANY:
            break
    return stride, width, begins


def _begins(sizes: np.ndarray, stride: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose where windows begin: before literals, in them, or near their ends.

    Args:
        sizes: int64, bytes of each literal.
        stride: Bytes between two windows.
        width: Bytes of a window.

    Returns:
        For each remainder by the stride and each literal, shape (stride, literals), the bytes from the
        literal's beginning to the window's, and how many bytes of the window lie outside of it; the fewer,
        the fewer places it may be at.
    """
    # A window further before a literal would miss one in the data's first bytes.
    first = -(-np.arange(stride) % stride)
    begins = (first[:, None] + np.arange(0, width + 2 * stride, stride))[:, :, None]
    outside = np.minimum(np.maximum(-begins, 0) + np.maximum(begins + width - sizes, 0), width)
    best = outside.argmin(axis=1)
    least = np.take_along_axis(outside, best[:, None], axis=1)[:, 0]
    return np.take_along_axis(begins[:, :, 0], best, axis=1), least


def _codes(text: bytes) -> np.ndarray:
    """Give the four bytes that begin at each place; zeros follow the last."""
    padded = np.frombuffer(text + bytes(3), np.uint8).astype(np.uint32)
    return padded[:-3] | padded[1:-2] << 8 | padded[2:-1] << 16 | padded[3:] << 24


def _entries(codes: np.ndarray, shift: np.uint32) -> np.ndarray:
    return (codes * np.uint32(kernel.SPREAD)) >> shift  # the product wraps round


def _open(text: bytes, literal: int, begin: int, width: int) -> _Places:
    """Give all windows that lie partly outside of a short literal, whatever stands there."""
    codes = np.zeros(1, dtype=np.uint32)
    for place in range(width):
        at = begin + place
        here = text[at : at + 1] if at >= 0 else b""
        bytes_ = np.array([here[0] & kernel.CASELESS] if here else _ANY, dtype=np.uint32)
        codes = (codes[:, None] | bytes_ << np.uint32(8 * place)).ravel()
    return _Places(np.full(len(codes), literal), np.full(len(codes), begin), codes)


def _table(places: _Places, mask: np.uint32, shift: np.uint32, stride: int) -> kernel.Windows:
    entries = _entries(places.code, shift)
    order = np.argsort(entries, kind="stable")
    counts = np.bincount(entries, minlength=1 << (32 - int(shift)))
    return kernel.Windows(
        mask=mask,
        shift=shift,
        stride=stride,
        table=(counts > 0).astype(np.uint8),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        listed=places.literal[order].astype(np.int32),
        back=places.back[order].astype(np.int32),
    )
