"""The command that runs the tests beside rules: `rms rules test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options

if TYPE_CHECKING:
    from rms_flows.flow.cases import Tested

EPILOG = """Beside a rule `ssh.yml` lie `ssh.true.ndjson` and `ssh.false.log`: events, in any format that can
be read, which the rule should find, or should not.

Examples:

rms rules test rules/

rms rules test rules/ssh.yml --pipeline iot --junit results.xml
"""


def run_tests(
    rules: options.Rules,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML, for CI.")
    ] = None,
    pipelines: options.Pipelines = None,
    routes: options.Routes = None,
    no_routing: options.NoRouting = False,
) -> None:
    """Run the tests of rules: events beside them that they should find, and others that they should not."""
    from rms_flows.errors import DocumentError
    from rms_flows.flow.cases import run_cases
    from rms_flows.sigma.pipelines import resolve

    tables = None if no_routing else routes or ()
    tested = run_cases(rules, [resolve(path) for path in pipelines or ()], tables)
    if not tested.cases:
        raise DocumentError(
            "no rule has a test", where=str(rules[0]), remedy="put NAME.true.ndjson beside NAME.yml"
        )
    if junit is not None:
        _write(tested, junit)
    for case in tested.failed:
        typer.echo(f"{case.rule}: {case.name}: {case.problem}")
    files = len({case.rule for case in tested.cases})
    failed = len(tested.failed)
    untested = f"; {_count(len(tested.without), 'rule file')} without a test" if tested.without else ""
    typer.echo(
        f"{_count(len(tested.cases), 'event')} beside {_count(files, 'rule file')}:"
        f" {len(tested.cases) - failed} right, {failed} wrong{untested}"
    )
    if failed:
        raise typer.Exit(1)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _write(tested: Tested, file: Path) -> None:
    from xml.etree import ElementTree as ET

    from rms_flows.errors import SinkError

    root = ET.Element("testsuites", name="rms rules test", tests=str(len(tested.cases)))
    root.set("failures", str(len(tested.failed)))
    suites: dict[str, ET.Element] = {}
    for case in tested.cases:
        suite = suites.get(case.rule)
        if suite is None:
            suite = suites[case.rule] = ET.SubElement(root, "testsuite", name=case.rule)
        one = ET.SubElement(suite, "testcase", classname=case.rule, name=_printable(case.name))
        one.set("time", f"{case.seconds:.6f}")
        if case.problem is not None:
            message = _printable(case.problem)
            ET.SubElement(one, "failure", message=message).text = message
    for suite in suites.values():
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    ET.indent(root)
    try:
        ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise SinkError(
            f"can't be written ({error.strerror})", where=str(file), remedy="choose another --junit"
        ) from None


def _printable(text: str) -> str:
    """Write as escapes what XML can't hold."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
