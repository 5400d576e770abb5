"""Loops over bytes as machine code, made by Numba at their first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile with Numba; the machine code is kept on disk, beside the module where that can be written.

    Without Numba's run time (`_nrt`), since nothing is allocated here: counting references to each array in
    each call of these small functions took two thirds of the time.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "boundscheck": False, "_nrt": False}
    return cast("_F", njit(**options)(function))
