"""Memory that was freed is the system's again, and what stays is not looked through for garbage."""

import gc
import platform
import subprocess
import sys

import apache_beam as beam
import pytest

from rms_flows.beam import runner

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


FROZEN = []


def note(_):
    FROZEN.append(gc.get_freeze_count())


def test_what_was_there_is_not_looked_through_for_garbage_while_a_pipeline_runs():
    """Guards against a fifth of a second, many times, in which Python goes through all rules."""
    runner.run(lambda pipeline: pipeline | beam.Create([1]) | beam.Map(note))
    assert FROZEN[0] > 10_000
    assert gc.get_freeze_count() == 0
