"""Arithmetic that never stops a flow: what has no finite result is null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_EXACT: Final = pa.decimal256(19, 0)
"""Holds every 64-bit integer; sums and products of two have at most 39 digits."""

_CHECKED: Final[Mapping[str, Callable[[Any, Any], pa.Array]]] = {
    "+": pc.add_checked,
    "-": pc.subtract_checked,
    "*": pc.multiply_checked,
}
_PLAIN: Final[Mapping[str, Callable[[Any, Any], pa.Array]]] = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
    "/": pc.divide,
}
_LEAST, _MOST = -(2**63), 2**63 - 1


def floats(values: pa.Array) -> pa.Array:
    """Give integers as their nearest floats; NaN and infinities are null."""
    made = values.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_finite(made), made, pa.scalar(None, pa.float64()))


def whole(operator: str, left: pa.Array, right: pa.Array) -> pa.Array:
    """Add, subtract or multiply 64-bit integers; null where the result is none.

    Example:
        >>> whole("*", pa.array([2**62, 3]), pa.array([2, 4])).to_pylist()
        [None, 12]
    """
    try:
        return _CHECKED[operator](left, right)
    except pa.ArrowInvalid:  # somewhere in the batch it is too large
        return fitting(_CHECKED[operator](left.cast(_EXACT), right.cast(_EXACT)))


def fitting(values: pa.Array) -> pa.Array:
    """Give decimals or floats that are whole as 64-bit integers, null where these can't hold them."""
    if pa.types.is_floating(values.type):
        fits = pc.and_(pc.greater_equal(values, float(_LEAST)), pc.less(values, float(2**63)))
    else:
        least, most = (pa.scalar(bound).cast(_EXACT) for bound in (_LEAST, _MOST))
        fits = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    return pc.if_else(fits, values, pa.scalar(None, values.type)).cast(pa.int64())


def real(operator: str, left: pa.Array, right: pa.Array) -> pa.Array:
    """Add, subtract, multiply or divide floats; null where the result is not finite, such as 1 / 0."""
    return floats(_PLAIN[operator](floats(left), floats(right)))
