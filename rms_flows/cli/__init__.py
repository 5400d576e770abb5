"""The command line: `rms`, also `python -m rms_flows`.

Exit codes: 0 it ran; 1 it ran, but with dead letters or refused rules, under `--strict`; 2 it could not run;
75 a scheduled replay, or a stream on Flink, found another instance at work, and did nothing.
Nothing heavy is imported before a command needs it: `rms --help` answers at once.
"""

from __future__ import annotations

import os
import sys

from rms_flows.errors import BusyError, RmsError

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` names and exit with its code."""
    from rms_flows.cli.app import app

    try:
        app()
    except RmsError as error:
        sys.stderr.write(f"rms: {error}\n")
        sys.exit(os.EX_TEMPFAIL if isinstance(error, BusyError) else 2)
    except KeyboardInterrupt:
        sys.stderr.write("rms: interrupted; what was there before is untouched\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)  # as a program killed by SIGPIPE: whoever read us had enough
