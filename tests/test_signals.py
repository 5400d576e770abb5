"""How a program of ours is told to end, and that it leaves signals to others as it found them."""

import os
import signal
import subprocess
import sys

import pytest

from rms_flows.signals import told_to_end

ENDS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", ENDS)
def test_the_first_stops_in_order_and_afterwards_all_is_as_before(number):
    """Guards against a command, run by a program, that leaves Ctrl-C without effect for the rest of its life."""
    before, told = [signal.getsignal(one) for one in ENDS], []

    def fail():
        with told_to_end(lambda: told.append(number)):
            os.kill(os.getpid(), number)
            raise KeyError(told[0])

    with pytest.raises(KeyError):
        fail()
    assert told == [number]
    assert [signal.getsignal(one) for one in ENDS] == before


@pytest.mark.parametrize("second", ENDS)
def test_the_second_ends_at_once_though_what_runs_does_not_end(second):
    script = f"""if True:
        import os, time
        from rms_flows.signals import told_to_end
        with told_to_end(lambda: print("told", flush=True)):
            os.kill(os.getpid(), {int(signal.SIGTERM)})
            os.kill(os.getpid(), {int(second)})
            time.sleep(600)
    """
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603  our own
    assert (done.returncode, done.stdout) == (-second, "told\n")
