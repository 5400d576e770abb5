import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rms_flows import __version__, cli
from rms_flows.cli.app import app

RULE = "title: T\nid: 8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0b\nlogsource: {product: x}\ndetection: {s: {a: '1'}, condition: s}\n"
BAD = "title: B\nlogsource: {product: x}\ndetection: {condition: s}\n"
FLOW = """
orchestrator: t
sources: [{id: in, archive: in.ndjson}]
processors: [{id: p, processor: filter, inputs: [in], parameters: {field: a, operator: EQ, threshold: '1'}}]
sinks: [{id: out, inputs: [p], uri: out.ndjson}]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.ndjson").write_text(
        '{"@timestamp": "2026-01-01T00:00:00Z", "a": "1"}\n{"@timestamp": "2026-01-02T00:00:00Z", "a": 2}\n'
    )
    Path("flow.yaml").write_text(FLOW)
    Path("rules").mkdir()
    Path("rules/a.yml").write_text(RULE)
    return tmp_path


def run(monkeypatch, capsys, *arguments):
    """Run `rms` in this process, errors and exit codes as `main` gives them."""
    monkeypatch.setattr(sys, "argv", ["rms", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def rms(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def test_help_answers_at_once_and_loads_nothing_heavy():
    code = "import sys; from rms_flows.cli import main; sys.argv = ['rms', '--help']\ntry: main()\nexcept SystemExit: pass\nprint(sorted({'apache_beam', 'pyarrow', 'altair', 'sigma', 'numba'} & set(sys.modules)))"
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
        best = min(best, time.perf_counter() - began)
    assert found.stdout.splitlines()[-1] == "[]"
    assert best < (2.0 if "CI" in os.environ else 1.0)  # half a second on a quiet machine


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["replay"],
        ["detect"],
        ["archive"],
        ["report"],
        ["processors"],
        ["schema"],
        ["rules", "lint"],
        ["rules", "compile"],
        ["rules", "coverage"],
        ["rules", "explain"],
        ["rules", "test"],
    ],
)
def test_every_command_has_help_with_examples(command):
    got = CliRunner().invoke(app, [*command, "--help"])
    assert got.exit_code == 0
    assert "Examples:" in got.output
    assert f"rms {' '.join(command)}".strip() in got.output


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"rms {__version__}\n"


def test_replay_tells_what_it_read_found_and_wrote(home, rms):
    code, out, err = rms("replay", "flow.yaml")
    assert code == 0
    assert out == ""
    assert "in: format guessed from content: json (1)" in err
    assert "p: 1 of 2 rows" in err
    assert "out: 1 rows in out.ndjson" in err


def test_json_summaries_are_for_scripts(home, rms):
    code, out, err = rms("replay", "flow.yaml", "--json", "--from", "2026-01-02")
    assert code == 0
    assert err == ""
    got = json.loads(out)
    assert (got["rows"], got["reports"], got["dead"], got["refused"]) == (2, 0, 0, 0)


def test_strict_turns_dead_letters_and_refused_rules_into_exit_code_1(home, rms):
    with Path("in.ndjson").open("a") as handle:
        handle.write("oops\n")
    assert rms("replay", "flow.yaml")[0] == 0
    code, _, err = rms("replay", "flow.yaml", "--strict")
    assert code == 1
    assert "1 records could not be processed (1 json): out.dead-letters.ndjson" in err
    Path("in.ndjson").write_text('{"@timestamp": "2026-01-01T00:00:00Z", "a": "1"}\n')
    Path("rules/b.yml").write_text(BAD)
    assert rms("detect", "rules", "--in", "in.ndjson", "--out", "x.ndjson")[0] == 0
    code, _, err = rms("detect", "rules", "--in", "in.ndjson", "--out", "x.ndjson", "--strict")
    assert code == 1
    assert "b.yml:1: B: refused:" in err


def test_detect_prints_what_it_found_where_no_sink_is_named(home, rms):
    code, out, _ = rms("detect", "rules", "--in", "in.ndjson")
    assert code == 0
    assert "1 threat reports" in out
    assert not list(home.glob("*.dead-letters*"))
    with Path("in.ndjson").open("a") as handle:
        handle.write("oops\n")
    err = rms("detect", "rules", "--in", "in.ndjson")[2]  # nothing is lost where only a table is wanted
    assert "1 records could not be processed (1 json): detect.dead-letters.ndjson\n  in.ndjson#" in err
    assert ": not JSON: " in err
    assert json.loads(Path("detect.dead-letters.ndjson").read_text())["event.original"] == "b29wcw=="
    assert "rms-" not in err


def test_who_finds_nothing_is_told_where_to_look(home, rms):
    Path("in.ndjson").write_text('{"@timestamp": 0, "a": "nothing"}\n')
    code, out, _ = rms("detect", "rules", "--in", "in.ndjson")
    assert code == 0
    assert out.endswith("rms rules explain RULES --event SOURCE shows how a rule sees an event\n")


def test_archive_then_detect_over_it(home, rms):
    assert rms("archive", "in.ndjson", "parquet:ar", "--id", "hub")[0] == 0
    assert {path.parts[1] for path in Path("ar").rglob("*.parquet")} == {"rms.source=hub"}
    code, _, err = rms("detect", "rules", "--in", "parquet:ar", "--out", "x.ndjson")
    assert code == 0
    assert "sigma: 1 of 2 rows (1 evaluated, 0 refused, 0 unreachable)" in err
    assert json.loads(Path("x.ndjson").read_text())["rms.source"] == "hub"


def test_report_draws_a_page(home, rms):
    rms("replay", "flow.yaml")
    code, out, _ = rms("report", "out.ndjson", "--out", "r.html", "--title", "Week 14")
    assert (code, out) == (0, "1 reports in r.html\n")
    assert "<h1>Week 14</h1>" in Path("r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            ["replay", "none.yaml"],
            "rms: none.yaml: can't be read (No such file or directory); check path and rights\n",
        ),
        (
            ["detect", "rules", "--in", "none.log"],
            "rms: none.log: no such file; name a file or a glob such as 'logs/*.log'\n",
        ),
        (["detect", "norules", "--in", "in.ndjson"], "norules"),
        (["detect", "rules", "--in", "in.ndjson", "--out", "x.csv"], "rms: x.csv: nothing can write this"),
        (["report", "none.ndjson"], "rms: none.ndjson: no such file"),
        (["report", "in.ndjson"], "rms: in.ndjson:1: JSON, but no threat report"),
        (
            ["processors", "filtre"],
            "rms: no processor is called 'filtre'; the processors are filter, persist, sigma, transform\n",
        ),
        (["schema", "x"], "rms: no document is called 'x'; the documents are Orchestrator"),
        (["replay", "flow.yaml", "--from", "soon"], "'soon' is no ISO 8601 time"),
        (["replay", "flow.yaml", "--from", "2026-02-01", "--to", "2026-01-01"], "is empty"),
        (["replay", "flow.yaml", "--source", "in"], "'in' is not ID=URI"),
        (["replay", "flow.yaml", "--source", "in=a", "--source", "in=b"], "'in' is given twice"),
        (["replay", "flow.yaml", "--workers", "0"], "--workers"),
        (["rules", "lint", "none"], "none"),
        (
            ["archive", "in.ndjson", "parquet:ar", "--id", "a/b"],
            "rms: --id: 'a/b' can't be the id of a source: String should match",
        ),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_what_cannot_run_exits_with_2_and_one_clear_line(home, rms, arguments, match):
    Path("empty").mkdir()
    code, _, err = rms(*arguments)
    assert code == 2
    assert match in err
    assert "Traceback" not in err


def test_report_to_a_place_that_cannot_be_written(home, rms):
    rms("replay", "flow.yaml")
    code, _, err = rms("report", "out.ndjson", "--out", "none/r.html")
    assert code == 2
    assert "none/r.html: can't be written (No such file or directory); choose another --out" in err


def test_compile_keeps_a_pack_that_later_runs_open(home, rms):
    code, out, _ = rms("rules", "compile", "rules", "--json")
    got = json.loads(out)
    assert (code, Path(got["pack"]).stat().st_size) == (0, got["bytes"])
    assert (
        f"{got['evaluated']} rules, {got['refused']} refused, ready in" in rms("rules", "compile", "rules")[1]
    )


def test_detect_routes_rules_by_the_table_that_is_named(home, rms):
    Path("routes.yml").write_text("routes:\n- {product: x, when: {b: 1}}\n")
    Path("in.ndjson").write_text('{"@timestamp": 0, "event.dataset": "d", "a": "1"}\n')
    arguments = ("detect", "rules", "--in", "in.ndjson", "--out", "x.ndjson", "--json")
    whole, routed, free = (
        json.loads(rms(*arguments, *more)[1])
        for more in ([], ["--routes", "routes.yml"], ["--routes", "routes.yml", "--no-routing"])
    )
    assert [one["reports"] for one in (whole, routed, free)] == [1, 0, 1]
    assert whole["notes"] == ["{product: x}: no route: 1 rule looks at every event"]
    assert not routed["notes"] + free["notes"]


def test_coverage_tells_the_fate_of_each_rule(home, rms):
    Path("rules/b.yml").write_text(BAD)
    Path("rules/c.yml").write_text(RULE.replace("1d0b", "1d0c").replace("{a:", "{gone:"))
    code, out, _ = rms("rules", "coverage", "rules", "--in", "in.ndjson")
    assert code == 0
    assert "1 rules evaluated (1 of them on every event" in out
    assert "1 unreachable, 1 refused" in out
    assert "gone" in out
    assert "b.yml:1: B: refused:" in out
    code, out, err = rms("rules", "coverage", "rules", "--in", "in.ndjson", "--json", "--strict")
    assert (code, err) == (1, "")
    got = json.loads(out)
    assert got["events"] == {"product: x": got["rows"]}
    assert [one["fate"] for one in got["rules"]] == ["evaluated", "refused", "unreachable"]


def test_a_run_over_parquet_counts_what_its_footers_make_unreachable(home, rms):
    Path("rules/c.yml").write_text(RULE.replace("1d0b", "1d0c").replace("{a:", "{gone:"))
    rms("archive", "in.ndjson", "parquet:kept")
    out = rms("detect", "rules", "--in", "parquet:kept", "--out", "x.ndjson", "--json")[1]
    counts = json.loads(out)["processors"]["sigma"]
    assert (counts["evaluated"], counts["unreachable"], counts["refused"]) == (1, 1, 0)


def test_lint_names_each_refused_rule(home, rms):
    Path("rules/b.yml").write_text(BAD)
    code, out, _ = rms("rules", "lint", "rules")
    assert code == 0
    assert "rules/b.yml:1: B: " in out
    assert out.endswith("1 rules can be evaluated, 1 are refused\n")
    assert rms("rules", "lint", "rules", "--strict")[0] == 1
    got = json.loads(rms("rules", "lint", "rules", "--json")[1])
    assert got["evaluated"] == 1
    assert got["refused"][0]["rule"] == "B"


def test_processors_and_schemas_are_listed(home, rms):
    code, out, _ = rms("processors")
    assert code == 0
    assert all(name in out for name in ("filter", "sigma", "persist", "transform"))
    assert "threshold" in rms("processors", "filter")[1]
    assert json.loads(rms("processors", "--json")[1])[0]["name"] == "filter"
    assert "Orchestrator" in rms("schema")[1]
    assert json.loads(rms("schema", "Orchestrator")[1])["title"] == "Orchestrator"
    assert "16 schemas in s" in rms("schema", "--out", "s")[1]
    assert json.loads(Path("s/DataKind.schema.json").read_text())["title"] == "DataKind"


def test_python_m_is_the_same_program():
    found = subprocess.run(
        [sys.executable, "-m", "rms_flows", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"rms {__version__}\n"


def test_a_reader_that_closes_the_pipe_is_no_error(home):
    command = f"{sys.executable} -m rms_flows schema Orchestrator | head -c 10; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert "Traceback" not in found.stderr
    assert found.returncode in {0, 141}
