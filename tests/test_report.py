"""Reports: made, written, read back and drawn."""

import gzip
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import home_day
import jsonschema
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from browsing import browser
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.errors import SourceError
from rms_flows.model import json_schemas
from rms_flows.report import WRITERS, read_reports, write_html
from rms_flows.report.build import Rule, many_rules, single_event
from rms_flows.report.identity import report_ids
from rms_flows.schema import ENVELOPE, REPORT, TIMESTAMP

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def events(count, **columns):
    envelope = {name: pa.nulls(count, kind) for name, kind in ENVELOPE.items()}
    envelope["@timestamp"] = pa.array([1_700_000_000_000_000 + row for row in range(count)], TIMESTAMP)
    envelope["event.id"] = pa.array([f"e{row}" for row in range(count)], pa.string())
    return pa.RecordBatch.from_pydict({**envelope, **columns})


def reports(count=3, **rule):
    batch = events(
        count, **{"source.ip": pa.array(["10.0.0.1"] * count), "host.name": pa.array(["hub"] * count)}
    )
    return single_event(
        batch,
        np.arange(count),
        Rule(**{"id": "r", "name": "R", "level": "low", **rule}),
        processor="p",
        kind="sigma",
        message="m",
    )


def test_ids_are_the_same_in_every_process_and_version():
    """They are what folds repeats: a change would double every report that was ever kept."""
    code = "from rms_flows.report.identity import report_ids; print(report_ids('rule', 'meaning', 'group', ['event'])[0])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own code
    assert found.stdout.strip() == report_ids("rule", "meaning", "group", ["event"])[0] == GOLDEN


GOLDEN = "656ca63767d655a486082c6928bdbd0e"


@given(st.lists(st.tuples(st.text(), st.text(), st.text(), st.text()), unique=True, min_size=2, max_size=6))
def test_ids_differ_when_any_part_differs_wherever_it_is_cut(parts):
    assert len({report_ids(a, b, c, [d])[0] for a, b, c, d in parts}) == len(parts)


def test_every_match_is_a_report_with_its_event_as_evidence():
    rules = [Rule("a", "A", "Ann", "high", ("t1",), "x"), Rule("b", "B")]
    made = many_rules(events(4), np.array([0, 2, 2]), np.array([0, 0, 1]), rules, processor="p", kind="sigma")
    assert made.schema.equals(REPORT)
    assert made["rms.evidence"].to_pylist() == [["e0"], ["e2"], ["e2"]]
    assert made["rule.id"].to_pylist() == ["a", "a", "b"]
    assert made["rule.author"].to_pylist() == ["Ann", "Ann", None]
    assert made["rule.tags"].to_pylist() == [["t1"], ["t1"], []]
    assert len(set(made["event.id"].to_pylist())) == 3
    assert (
        many_rules(
            events(4), np.array([], np.int64), np.array([], np.int32), rules, processor="p", kind="s"
        ).num_rows
        == 0
    )


def test_ids_do_not_depend_on_the_batch_that_a_match_came_in():
    rule = [Rule("a", "A", meaning="x")]
    whole = many_rules(events(4), np.arange(4), np.zeros(4, np.int32), rule, processor="p", kind="sigma")
    half = many_rules(
        events(4).slice(2), np.arange(2), np.zeros(2, np.int32), rule, processor="p", kind="sigma"
    )
    assert half["event.id"].to_pylist() == whole["event.id"].to_pylist()[2:]


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_compressed_reports_are_read_too(tmp_path, ending, pack):
    path = tmp_path / f"r.ndjson{ending}"
    path.write_bytes(pack(b"".join(line + b"\n" for line in WRITERS["ecs"](reports(3)))))
    assert read_reports([str(path)]).num_rows == 3
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SourceError, match=r"can't be read .*runcated"):
        read_reports([str(path)])


@pytest.mark.parametrize("form", ["ecs", "iotac"])
def test_documents_are_read_back_as_they_were(tmp_path, form):
    made = reports(3, author="Ann", tags=("t1", "t2"))
    path = tmp_path / "r.ndjson"
    path.write_bytes(b"\n".join(WRITERS[form](made)) + b"\n")
    got = read_reports([str(path)])
    lost = set() if form == "ecs" else {"event.dataset", "rms.processor"}
    names = [name for name in REPORT.names if name not in lost]
    assert got.select(names).to_pylist() == pa.Table.from_batches([made]).select(names).to_pylist()


texts = st.text(max_size=8)


@given(
    st.lists(
        st.tuples(texts, texts, st.none() | texts, st.floats(allow_nan=False, allow_infinity=False)),
        max_size=5,
    )
)
def test_any_text_in_a_report_survives_writing_and_reading(tmp_path_factory, rows):
    made = pa.RecordBatch.from_pylist(
        [
            {
                "@timestamp": 1_700_000_000_000_000 + at, "event.id": f"{at:03d}", "rms.report_type": "x", "rule.name": name,
                "message": message, "rms.request_source": source, "rms.measurement": [{"name": name, "value": value}],
            }
            for at, (name, message, source, value) in enumerate(rows)
        ],
        REPORT,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("r") / "r.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in WRITERS["ecs"](made)))
    assert read_reports([str(path)]).to_pylist() == made.to_pylist()


def test_iotac_documents_are_what_their_schema_says():
    for line in WRITERS["iotac"](reports(2, author="Ann")):
        jsonschema.validate(json.loads(line), json_schemas()["ThreatReport"])


def test_the_highest_revision_of_an_id_counts(tmp_path):
    rows = [json.loads(line) for line in WRITERS["ecs"](reports(1))]
    more = {**rows[0], "rms.revision": 3, "message": "grown"}
    for name, content in (("a", rows[0]), ("b", more), ("c", {**rows[0], "rms.revision": 2})):
        (tmp_path / f"{name}.ndjson").write_text(json.dumps(content) + "\n")
    got = read_reports([str(tmp_path / "*.ndjson")])
    assert got["message"].to_pylist() == ["grown"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"x\n", r"r.ndjson:1: no threat report: JSON is malformed.*; expected ECS or IoTAC threat reports"),
        (b"\n[1]\n", r"r.ndjson:2: no threat report: Expected `object`"),
        (b'{"a": 1}\n', r"r.ndjson:1: JSON, but no threat report"),
        (b"\xff\n", r"r.ndjson:1: no threat report"),
    ],
)
def test_what_is_no_report_is_an_error_with_its_line(tmp_path, content, match):
    path = tmp_path / "r.ndjson"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=match):
        read_reports([str(path)])


def test_files_that_are_missing_or_empty(tmp_path):
    with pytest.raises(SourceError, match="no such file; name a file of reports or a glob"):
        read_reports([str(tmp_path / "none")])
    with pytest.raises(SourceError, match=r"can't be read \(Is a directory\)"):
        read_reports([str(tmp_path)])
    (tmp_path / "r.ndjson").write_bytes(b"")
    assert read_reports([str(tmp_path / "r.ndjson")]).num_rows == 0


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.handlers, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in {"src", "href", "action", "data"}]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_says_whom_a_correlation_speaks_of(tmp_path):
    """The trap: a group of a field that is nobody's address stood in the file only, and four reports looked alike."""
    made = pa.Table.from_pylist(
        [{"@timestamp": 1, "event.id": "a", "rule.name": "x", "rms.group": '{"actor.name":"<guest>"}'}],
        REPORT,
    )
    write_html(made, tmp_path / "r.html", title="T")
    assert "actor.name = &lt;guest&gt;" in (tmp_path / "r.html").read_text(encoding="utf-8")


def page(tmp_path, table, title="T"):
    path = tmp_path / "r.html"
    write_html(table, path, title=title)
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_runs_nothing_that_an_attacker_wrote_and_loads_nothing(tmp_path):
    table = pa.Table.from_batches([reports(2, name=EVIL, author=EVIL)])
    table = table.set_column(
        REPORT.get_field_index("message"),
        REPORT.field("message"),
        pa.array([EVIL, EVIL]).cast(REPORT.field("message").type),
    )
    found = Page(page(tmp_path, table, title=EVIL))
    assert found.tags.count("script") == 2
    assert "img" not in found.tags
    assert found.loads == []
    assert found.handlers == []


def test_the_charts_data_is_whole_whatever_the_names(tmp_path):
    text = page(tmp_path, pa.Table.from_batches([reports(2, name=EVIL)]))
    specs = json.loads(re.search(r"^const specs = (.*);$", text, re.MULTILINE)[1])
    assert specs["rule"]["data"]["values"] == [{"rule": EVIL, "level": "low", "reports": 2}]
    assert set(specs) == {"time", "level", "rule", "source", "heat"}  # no rule names a tactic


def test_a_page_of_nothing_says_so(tmp_path):
    text = page(tmp_path, REPORT.empty_table())
    assert "No threat reports: nothing was found" in text
    assert "<script" not in text


def test_the_same_reports_give_the_same_page(tmp_path):
    table = pa.Table.from_batches([reports(5)])
    assert page(tmp_path, table) == page(tmp_path, table)


def test_long_tables_are_cut_and_say_so(tmp_path):
    text = page(tmp_path, pa.Table.from_batches([reports(1_500)]))
    assert text.count('<td class="time">') == 1_000
    assert "The newest 1,000 of 1,500." in text
    assert "<b>1,500</b>reports" in text


def test_many_rules_are_shown_as_the_most_frequent_and_others(tmp_path):
    tables = [pa.Table.from_batches([reports(1 + n, id=f"r{n}", name=f"rule {n}")]) for n in range(30)]
    specs = json.loads(
        re.search(r"^const specs = (.*);$", page(tmp_path, pa.concat_tables(tables)), re.MULTILINE)[1]
    )
    values = {one["rule"]: one["reports"] for one in specs["rule"]["data"]["values"]}
    assert len(values) == 16
    assert sum(values.values()) == sum(range(1, 31))
    assert values["others"] == sum(range(1, 16))


def test_a_page_that_cannot_be_written_leaves_no_litter(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_html(REPORT.empty_table(), tmp_path / "none" / "r.html", title="T")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def window(chromium):
    with browser(chromium) as window:
        yield window


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_real_browser_draws_it_without_a_network_and_runs_nothing_else(window, tmp_path, scheme):
    evil = "</script><script>document.title = 'owned'</script>"
    tables = [
        reports(3, name=evil),
        reports(20, id="r2", name="rule 2"),
        reports(9, id="r3", name="rule 3", tags=("attack.discovery", "attack.t1046")),
    ]
    page(tmp_path, pa.Table.from_batches(tables), title="Seen")
    said, asked = [], []
    look = window.new_context(
        offline=True, color_scheme=scheme, viewport={"width": 1280, "height": 900}
    ).new_page()
    look.on("console", lambda one: said.append(one.text))
    look.on("pageerror", lambda one: said.append(one))  # noqa: PLW0108  Playwright puts a mark on it
    look.on("request", lambda one: asked.append(one.url))
    look.goto((tmp_path / "r.html").as_uri())
    look.locator("#chart-tactics svg").wait_for()
    assert (look.title(), said) == ("Seen", [])
    assert asked == [(tmp_path / "r.html").as_uri()]
    pictures = look.locator("[role=graphics-document]").all()
    assert len(pictures) == look.locator("[role=graphics-document] > svg").count() == 6
    assert all(len(one.get_attribute("aria-label")) > 10 for one in pictures)
    assert look.locator("#chart-rule .mark-rect path").count() >= 3
    kept = home_day.ROOT / "out/report"
    kept.mkdir(parents=True, exist_ok=True)
    look.screenshot(path=kept / f"{scheme}.png", full_page=True)
    look.set_default_timeout(5_000)
    chosen(look)
    look.context.close()


def chosen(look):
    """Choose rows, as one who sees and as one who hears the page."""
    rows, shown = look.locator("tbody tr:visible"), look.get_by_role("status")
    assert rows.count() == 32
    look.get_by_role("combobox", name="rule", exact=True).select_option("rule 2")
    assert (rows.count(), shown.inner_text()) == (20, "20 of 32 shown")
    look.get_by_role("searchbox", name="text", exact=True).fill("nowhere")
    assert rows.count() == 0
    look.get_by_role("searchbox", name="text", exact=True).fill("")
    look.locator("#chart-rule .mark-rect path").nth(2).click()
    assert (rows.count(), look.get_by_role("combobox", name="rule", exact=True).input_value()) == (
        9,
        "rule 3",
    )
    names = look.locator("select, input, summary").evaluate_all(
        "all => all.map(one => one.labels?.[0]?.textContent || one.textContent)"
    )
    assert all(names)
