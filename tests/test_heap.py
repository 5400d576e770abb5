"""Memory that was freed is the system's again, and what stays is seldom looked through for garbage."""

import gc
import platform
import subprocess
import sys

import pytest

from rms_flows.beam.load import load
from rms_flows.heap import SELDOM

AFTER = """
import resource
import sys
import numpy as np
from rms_flows.heap import give_back
if sys.argv[1] == "back":
    give_back()
np.ones(3_000_000)  # 24 MB are freed: from here on glibc would put smaller arrays among small objects
arrays, small = [], []
for _ in range(60):
    arrays.append(np.ones(200_000))
    small.append(bytes(50_000))
del arrays
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * resource.getpagesize() // 1_000_000)
"""


def left(how, **environment):
    said = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", AFTER, how], capture_output=True, text=True, check=True, env=environment
    )
    return int(said.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_memory_of_large_arrays_goes_back_to_the_system():
    with_us, without = left("back"), left("as it is")
    assert without - with_us > 50, "96 MB are freed"
    for told in (
        {"MALLOC_MMAP_THRESHOLD_": "33554432"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432"},
    ):
        assert left("back", **told) - with_us > 50, "who sets it is left alone"


def test_flows_look_through_all_objects_seldom():
    """Guards against a fifth of a second, many times, in which Python goes through all rules."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        load()
        assert gc.get_threshold() == (700, 10, SELDOM)
        assert gc.get_freeze_count() == 0, "what is frozen would never be freed"
    finally:
        gc.set_threshold(*before)
