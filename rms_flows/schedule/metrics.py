"""Figures of scheduled replays for Prometheus, as node_exporter's textfile collector takes them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from rms_flows.io.staging import publish, writing
from rms_flows.schedule.run import Done

_HELP: Final = {
    "rms_replay_done_timestamp_seconds": "All events before this time are judged.",
    "rms_replay_run_timestamp_seconds": "When the last start without an error was.",
    "rms_replay_spans": "Spans that this start replayed.",
    "rms_replay_rows": "Events that this start read.",
    "rms_replay_reports": "Threat reports that this start found.",
    "rms_replay_dead_letters": "Records that could not be processed.",
    "rms_replay_refused_rules": "Rules that could not be evaluated.",
    "rms_replay_seconds": "Seconds that this start worked.",
}


def metrics(done: Done, now: datetime) -> str:
    """Write the figures of a start as Prometheus has them.

    Args:
        done: What it did.
        now: When.
    """
    accounts = [summary for _, summary in done.spans]
    values = (
        done.mark.done.timestamp(),
        now.timestamp(),
        len(accounts),
        sum(one.rows for one in accounts),
        sum(one.reports for one in accounts),
        sum(one.dead for one in accounts),
        accounts[-1].refused if accounts else 0,
        sum(one.seconds for one in accounts),
    )
    flow = done.mark.flow.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f'# HELP {name} {words}\n# TYPE {name} gauge\n{name}{{flow="{flow}"}} {value:.15g}\n'
        for (name, words), value in zip(_HELP.items(), values, strict=True)
    ]
    return "".join(lines)


def write_metrics(path: Path, done: Done, now: datetime) -> None:
    """Write them to a file at once; raises SinkError."""
    with writing(str(path)):
        made = path.with_name(f".{path.name}.new")
        made.write_text(metrics(done, now))
        publish(made, path)
