"""Memory: how the C library gives large arrays back, and how often Python searches for garbage."""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Final

LARGE: Final = 1 << 20
"""Bytes of an array from which on its memory is the system's again as soon as it is freed."""

SELDOM: Final = 100
"""Looks at what is younger, for each at everything; Python's own number is 10."""

_M_MMAP_THRESHOLD: Final = -3  # malloc.h of glibc


def give_back() -> None:
    """Let large arrays lie apart from small objects; for who runs flows, before the first.

    glibc's own limit grows with the arrays that are freed, to 32 MiB. Then these lie among small objects that
    stay, and what is free between them stays with the process: 637 MB instead of 525 with all Windows rules
    over Parquet. Other C libraries, and who sets a limit in the environment, are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    told = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if mallopt is not None and not told:
        mallopt(_M_MMAP_THRESHOLD, LARGE)


def seldom() -> None:
    """Let Python look through all objects for garbage ten times less often; for who runs flows.

    Rules and libraries are hundreds of thousands of objects that stay: 0.2 s each time, in which no event is
    judged. Reference counts free nearly all that goes.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, SELDOM)
