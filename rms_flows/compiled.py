"""Loops over bytes as machine code, made by Numba at their first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., object])
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "boundscheck": False, "_nrt": False}


def compiled(function: _F) -> _F:
    """Compile with Numba; the machine code is kept on disk, beside the module where that can be written.

    Without Numba's run time (`_nrt`), since nothing is allocated here: counting references to each array in
    each call of these small functions took two thirds of the time.
    """
    return cast("_F", njit(cache=True, **_OPTIONS)(function))


def inlined(function: _F) -> _F:
    """Compile into whoever calls it, and keep no machine code of its own.

    For what is called a value or more often: LLVM leaves most calls in place, and each array is seven
    arguments.
    """
    return cast("_F", njit(forceinline=True, **_OPTIONS)(function))
