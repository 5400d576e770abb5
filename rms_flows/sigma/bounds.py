"""Whether numbers stand within bounds; apart from what reads these, for that waits for pySigma."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Final

from rms_flows.correlate.spec import Bound, Order

_HOLDS: Final[dict[Order, Callable[[float, float], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}


def fulfills(found: float, asked: Iterable[Bound]) -> bool:
    """Tell whether a number stands within all bounds.

    Example:
        >>> [fulfills(found, (Bound("gt", 10), Bound("lte", 20))) for found in (10, 20, 21)]
        [False, True, False]
    """
    return all(_HOLDS[bound.order](found, bound.number) for bound in asked)
