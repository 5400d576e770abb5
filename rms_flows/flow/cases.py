"""Tests of rules as data: beside `ssh.yml` lie `ssh.true.*` and `ssh.false.*`, files of events in any format.

Each event of a `true` file has to be found by a rule of the file, no event of a `false` one by any. What is
judged is what a run would report: the events are decoded and routed as in a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from msgspec import Struct

from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError, RmsError
from rms_flows.io.contract import Request
from rms_flows.io.files import FileSource
from rms_flows.sigma import Plan, Rule, RuleSet, compile  # noqa: A004 - as in re.compile
from rms_flows.sigma.explain import explain
from rms_flows.sigma.load import read

if TYPE_CHECKING:
    from sigma.rule import SigmaRule

VERDICTS: Final = ("true", "false")

YEAR: Final = 2000
"""Year of stamps that have none: no test depends on the day on which it runs."""


class Case(Struct, frozen=True):
    """One event, and whether a rule means it.

    Args:
        rule: File of the rule.
        name: File of the event and its number in it, from 1.
        problem: What went wrong; None where the verdict is right.
        seconds: How long it took to decode and judge the file, by the event.
    """

    rule: str
    name: str
    problem: str | None
    seconds: float


class Tested(Struct, frozen=True):
    """What the tests of some rules gave.

    Args:
        cases: In the order of files and events.
        without: Files of rules that have no test.
    """

    cases: tuple[Case, ...]
    without: tuple[str, ...]

    @property
    def failed(self) -> list[Case]:
        """Those that went wrong."""
        return [case for case in self.cases if case.problem is not None]


def run_cases(
    paths: Sequence[Path], pipelines: Sequence[Path] = (), tables: Sequence[Path] | None = ()
) -> Tested:
    """Run the tests that lie beside rules.

    Args:
        paths: Rule files, or folders of them.
        pipelines: Files of pipelines.
        tables: Tables of routes besides ours; None doesn't route.

    Raises:
        DocumentError: A path can't be read or holds no rules, or events lie beside no rule.
    """
    ruleset, parsed = read(paths, pipelines, tables)
    rules = {file: list(group) for file, group in groupby(ruleset.rules, attrgetter("file"))}
    reasons = {one.file: one.reason for one in ruleset.refused}
    files = sorted({*rules, *reasons})
    _check_strays(paths, files)
    cases: list[Case] = []
    without = []
    for file in files:
        events = _events(Path(file))
        if not any(events.values()):
            without.append(file)
        elif file in rules:
            cases += _judge(rules[file], parsed, events)
        else:
            cases.append(Case(file, "(the rule itself)", f"the rule is refused: {reasons[file]}", 0.0))
    return Tested(tuple(cases), tuple(without))


def _events(rule: Path) -> dict[str, list[Path]]:
    """Give the files of events beside a rule, by what the rule should say of them."""
    return {verdict: sorted(rule.parent.glob(f"{escape(rule.stem)}.{verdict}.*")) for verdict in VERDICTS}


def _check_strays(paths: Sequence[Path], files: Sequence[str]) -> None:
    """Refuse events without a rule: somebody renamed one and would believe that it is tested."""
    used = {event for file in files for events in _events(Path(file)).values() for event in events}
    for folder in (path for path in paths if path.is_dir()):
        for verdict in VERDICTS:
            for event in sorted(folder.rglob(f"*.{verdict}.*")):
                if event not in used:
                    raise DocumentError(
                        "no rule lies beside these events",
                        where=str(event),
                        remedy=f"name the rule {event.name.split(f'.{verdict}.')[0]}.yml, or move the file",
                    )


def _judge(
    rules: Sequence[Rule], parsed: Mapping[str, SigmaRule], events: Mapping[str, Sequence[Path]]
) -> Iterator[Case]:
    plan = compile(RuleSet(tuple(rules), ()))
    for verdict, files in events.items():
        for file in files:
            began = time.perf_counter()
            found = list(_file(plan, parsed, file, expected=verdict == "true"))
            seconds = (time.perf_counter() - began) / len(found)
            for number, problem in enumerate(found, 1):
                yield Case(rules[0].file, f"{file.name} #{number}", problem, seconds)


def _file(plan: Plan, parsed: Mapping[str, SigmaRule], file: Path, *, expected: bool) -> Iterator[str | None]:
    """Give for each event of a file what is wrong with it; a file that holds none is wrong itself."""
    source, request = FileSource(escape(str(file)), Options(year=YEAR)), Request()
    seen = False
    try:
        for fragment in source.fragments(request):
            for decoded in source.read(fragment, request):
                for reason in decoded.dead.column("error.message").to_pylist():
                    seen = True
                    yield f"the record is no event: {reason}"
                for problem in _batch(plan, parsed, decoded.rows, expected=expected):
                    seen = True
                    yield problem
    except RmsError as error:
        seen = True
        yield str(error)
    if not seen:
        yield "the file holds no event"


def _batch(
    plan: Plan, parsed: Mapping[str, SigmaRule], batch: pa.RecordBatch, *, expected: bool
) -> Iterator[str | None]:
    matches = plan.match(batch)
    first = dict(zip(matches.row.tolist()[::-1], matches.rule.tolist()[::-1], strict=True))
    for row in range(batch.num_rows):
        if expected is (row in first):
            yield None
        elif expected:
            told = [explain(rule, parsed[rule.id], batch, row).summary for rule in plan.rules]
            yield "; ".join(told)
        else:
            rule = plan.rules[first[row]]
            yield f"{explain(rule, parsed[rule.id], batch, row).summary} ({rule.title})"
