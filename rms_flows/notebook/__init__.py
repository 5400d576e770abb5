r"""The analyst's window on the corridor: open history, run rules over it, look at what they find.

What `import rms_flows as rms` offers lives here; it is loaded when one of its names is used first.

Example:
    >>> import pathlib, tempfile
    >>> import rms_flows as rms
    >>> folder = tempfile.TemporaryDirectory()
    >>> log = pathlib.Path(folder.name, "auth.log")
    >>> _ = log.write_text(
    ...     "Mar 14 02:00:01 hub sshd[1]: Failed password for root from 203.0.113.5 port 4711 ssh2\n"
    ...     "Mar 14 02:00:09 hub sshd[2]: Accepted publickey for ana from 192.168.1.4 port 4712 ssh2\n"
    ... )
    >>> history = rms.open(f"{log}?year=2026")
    >>> history.where({"event.outcome": "failure"}).head()[0]["user.name"]
    'root'
    >>> found = history.detect(rms.rules('''
    ... title: Root was tried
    ... logsource: {product: linux, service: sshd}
    ... detection:
    ...   failed: {event.outcome: failure, user.name: root}
    ...   condition: failed
    ... level: low
    ... '''))
    >>> found
    1 threat report (1 low)
      1 Root was tried
    >>> [event["source.ip"] for event in found.evidence()]
    ['203.0.113.5']
    >>> folder.cleanup()
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rms_flows.backtest import Backtest, Truth
from rms_flows.flow.build import Choices
from rms_flows.flow.gather import gather
from rms_flows.model import Orchestrator
from rms_flows.notebook.archive import Archive, load_flow, reports_of
from rms_flows.notebook.archive import open_archive as open  # noqa: A004  read as rms.open
from rms_flows.notebook.compare import Comparison
from rms_flows.notebook.events import Events
from rms_flows.notebook.explained import Explained
from rms_flows.notebook.found import Found
from rms_flows.notebook.period import Moment, period
from rms_flows.notebook.profile import Profile
from rms_flows.notebook.progress import progress
from rms_flows.notebook.prototype import Rule
from rms_flows.notebook.prototype import Rule as rule  # noqa: N813  read as rms.rule
from rms_flows.notebook.reports import Reports
from rms_flows.notebook.ring import Tail, tail
from rms_flows.notebook.ruleset import Given, Rules
from rms_flows.pictures import Picture

__all__ = [
    "Archive",
    "Backtest",
    "Comparison",
    "Events",
    "Explained",
    "Found",
    "Picture",
    "Profile",
    "Reports",
    "Rule",
    "Rules",
    "Tail",
    "Truth",
    "open",
    "rule",
    "rules",
    "run",
    "tail",
]


def rules(
    given: Given,
    *,
    pipelines: Sequence[str | Path] = (),
    routes: Sequence[str | Path] = (),
    routing: bool = True,
) -> Rules:
    """Take rules from text, a file, a folder or an archive; the arguments are those of `Rules`.

    Raises:
        DocumentError: A path holds no rules, or a pipeline is none; a bad rule is refused, and told.
    """
    made = Rules(given, pipelines=pipelines, routes=routes, routing=routing)
    _ = made.loaded
    return made


def run(
    flow: Orchestrator | str | Path,
    *,
    folder: str | Path | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    workers: int = 1,
) -> Reports:
    """Run a flow over its archives: what `rms replay` reports, id for id; no sink is written.

    Args:
        flow: The document, or its path.
        folder: Where relative paths of the flow's data begin; the document's folder unless told.
        start: Judge events from this time on.
        end: Judge events before this time.
        workers: Processes that work at once.

    Raises:
        RmsError: As `replay.replay`.
    """
    document, here = load_flow(flow)
    first, last = period(start, end)
    with progress(document.orchestrator) as show:
        found = gather(
            document,
            folder=here,
            data_folder=here if folder is None else Path(folder),
            choices=Choices(first, last),
            workers=workers,
            progress=show,
        )
    return reports_of(found)
