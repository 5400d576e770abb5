"""Formats against real data; what is expected was counted by other means, named at each."""

import json
from collections import Counter

import pyarrow.compute as pc
import pytest
from decoding import run

from rms_flows.errors import DecodeError


def read(path, **options):
    return run(path.read_bytes(), path.name, **options)


def column(result, name):
    return result.rows[name].to_pylist()


@pytest.mark.parametrize(
    ("file", "usage"),
    [
        ("cpu-8x-24core.json", 0.0457),  # total.norm.pct; total.pct is 1.0979 of 24
        ("cpu-5x.json", 1 - 0.852 / (0.852 + 0.0408 + 0.1071)),  # idle and the sum of its shares
    ],
)
def test_cpu_usage_means_the_same_in_all_generations(datasets, file, usage):
    got = read(datasets / "metricbeat" / file)
    assert got.format == "metricbeat"
    assert column(got, "host.cpu.usage") == [pytest.approx(usage)]
    assert column(got, "event.dataset") == ["system.cpu"]


@pytest.mark.parametrize(
    ("cpu", "host", "usage"),
    [
        ({"total": {"pct": 1.5}, "cores": 2}, {}, 0.75),
        ({"total": {"pct": 1.5, "norm": {"pct": 0.7}}, "cores": 2}, {"usage": 0.1}, 0.7),
        ({"total": {"pct": 1.5}}, {"usage": 0.1}, 0.1),
        ({"total": {"pct": 1.5}, "cores": 0}, {}, None),  # nothing is divided by no cores
        ({"total": {"pct": 1.5}}, {}, None),  # 150 % of what? units are declared, never guessed
        ({}, {}, None),
    ],
)
def test_cpu_usage_is_normalised_in_the_declared_order(cpu, host, usage):
    document = {"@timestamp": "2026-01-01T00:00:00Z", "metricset": {"name": "cpu"}, "system": {"cpu": cpu}}
    got = run(json.dumps({**document, "host": {"cpu": host}, "x": 1}).encode(), format="metricbeat")
    found = column(got, "host.cpu.usage")[0] if "host.cpu.usage" in got.rows.schema.names else None
    assert found == usage


def test_cpu_usage_is_made_when_only_it_is_needed(datasets):
    path = datasets / "metricbeat" / "cpu-8x-24core.json"
    assert column(read(path, columns=frozenset({"host.cpu.usage"})), "host.cpu.usage") == [0.0457]


@pytest.mark.parametrize("log", ["conn", "dns", "http", "ssl"])
def test_zeek_tsv_and_json_have_the_same_names(datasets, log):
    tsv = read(datasets / "zeek_small" / f"{log}.log")
    other = read(datasets / "zeek_small" / "json" / f"{log}.log")
    assert (tsv.format, other.format) == ("zeek", "zeek-json")
    lines = (datasets / "zeek_small" / f"{log}.log").read_bytes().splitlines()
    assert tsv.counts.rows == sum(not line.startswith(b"#") for line in lines)
    assert set(column(tsv, "event.dataset")) == set(column(other, "event.dataset")) == {f"zeek.{log}"}
    assert {"uid", "id.orig_h", "id.resp_p"} <= set(tsv.rows.schema.names) & set(other.rows.schema.names)


def test_zeek_logs_that_are_broken_or_empty(datasets):
    assert read(datasets / "zeek_small" / "http_empty.log").counts.rows == 0
    assert read(datasets / "zeek_small" / "conn_date_issue.log").counts.rows == 3


def test_zeek_lines_without_a_header_or_of_another_width_are_dead_letters():
    head = b"#separator \\x09\n#fields\tts\tuid\n"
    got = run(head + b"1.5\tC1\n1.5\n", format="zeek")
    assert got.counts.rows == 1
    assert got.dead[0]["error.message"] == "1 columns; expected the 2 of the #fields line before it"
    assert "has to begin with its header" in run(b"1.5\tC1\n", format="zeek").dead[0]["error.message"]


def test_zeek_headers_may_change_within_a_file():
    first = b"#separator \\x09\n#path\tconn\n#fields\tts\tuid\n1.5\tC1\n"
    got = run(first + b"#path\tdns\n#fields\tts\tquery\n2.5\ta\\x09b\n", format="zeek")
    assert column(got, "event.dataset") == ["zeek.conn", "zeek.dns"]
    assert column(got, "query") == [None, "a\tb"]


def test_zeek_of_a_real_attack_has_the_names_of_both_dialects(datasets):
    got = read(datasets / "apt29_zeek" / "day1.ndjson")
    to = got.rows.filter(pc.equal(got.rows["event.dataset"].cast("string"), "zeek.conn"))
    assert to.num_rows == 613
    channel = zip(column(got, "id.orig_h"), column(got, "id.resp_h"), column(got, "id.resp_p"), strict=True)
    counted = Counter(channel)
    in_conn = zip(
        to["id.orig_h"].to_pylist(), to["id.resp_h"].to_pylist(), to["id.resp_p"].to_pylist(), strict=True
    )
    assert Counter(in_conn)["10.0.1.6", "192.168.0.4", "8443"] == 376
    assert counted


def test_suricata_has_ecs_names(datasets):
    got = read(datasets / "crowdsec" / "suricata-eve-detect" / "suricata-eve-detect.log")
    assert got.format == "suricata"
    assert set(column(got, "source.ip")) >= {"1.2.3.4", "2.2.3.4"}
    assert got.rows["source.port"].type == "int64"
    assert column(got, "event.dataset") == ["suricata.alert"] * 4


def test_csv_of_every_folder_is_read_whole(datasets):
    for path in [*(datasets / "nab" / "data").rglob("*.csv"), *(datasets / "cloud_metrics").glob("*.csv")]:
        got = read(path)
        assert got.format == "csv", path
        assert got.counts.rows == len(path.read_bytes().splitlines()) - 1
        assert not got.dead


def test_csv_cells_are_quoted_as_spreadsheets_do():
    got = run(b'timestamp;"a ""b"" c";d\n2026-01-01;"x;y";\n2026-01-02;"z\n', format="csv")
    assert column(got, 'a "b" c') == ["x;y"]
    assert column(got, "d") == [None]
    assert got.reasons == {"csv": 1}
    assert "expected one row a line" in got.dead[0]["error.message"]


def test_csv_rows_of_another_width_and_without_a_time_are_dead_letters():
    got = run(b"time,a\n2026-01-01T00:00:00Z,1,2\nsoon,1\n", format="csv")
    messages = sorted(dead["error.message"] for dead in got.dead)
    assert messages[0].startswith("'soon' is no time (field time)")
    assert messages[1] == "3 cells; expected the 2 of the header"


def test_csv_columns_of_one_name_are_told_apart():
    got = run(b"time,a,a,a_2\n2026-01-01T00:00:00Z,x,y,z\n", format="csv")
    assert [column(got, name) for name in ("a", "a_3", "a_2")] == [["x"], ["y"], ["z"]]


def test_csv_without_a_time_column_says_how_to_name_it():
    assert "name the field with time_column=" in run(b"a,b\n1,2\n", format="csv").dead[0]["error.message"]


def test_a_time_column_that_the_header_has_not_is_one_error_and_no_dead_letter_a_row():
    with pytest.raises(DecodeError, match=r"input.log: the header has no column 'tiem'; .*it has time, a"):
        run(b"time,a\n2026-01-01T00:00:00Z,1\n", format="csv", time_column="tiem")


REPORT = {
    "_timestamp": "2023-07-26T12:00:00.123Z",
    "dataSourceID": "gw",
    "value": {
        "type": "overload",
        "monitoredAssetID": "hub",
        "monitoredAssetIP": ["10.0.0.1"],
        "measurement": [{"Name": "cpu", "Value": "0.9"}, {"name": "x", "value": 2}],
        "requestSource": "6.6.6.6",
    },
}


@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda one: json.dumps([one]),
        lambda one: json.dumps(json.dumps(one)),
        lambda one: json.dumps(json.dumps([one])),
        lambda one: json.dumps({key[0].upper() + key[1:]: value for key, value in one.items()}),
    ],
)
def test_iotac_reports_are_read_however_partners_spell_them(write):
    got = run(write(REPORT).encode(), format="iotac")
    row = got.rows.to_pylist()[0]
    assert str(row["@timestamp"]) == "2023-07-26 12:00:00.123000+00:00"
    assert row["rms.monitored_asset_id"] == ["hub"]
    assert row["rms.monitored_asset_ip"] == ["10.0.0.1"]
    assert row["rms.measurement"] == [{"name": "cpu", "value": 0.9}, {"name": "x", "value": 2.0}]
    assert row["rms.request_source"] == "6.6.6.6"
    assert row["rms.report_type"] == "overload"


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        ("07/05/2023, 12:00:00", "2023-07-05 12:00:00+00:00"),
        ("2023-07-26T12:00:00.123456", "2023-07-26 12:00:00.123456+00:00"),
        ("1690372800", "2023-07-26 12:00:00+00:00"),
    ],
)
def test_iotac_stamps(stamp, time):
    got = run(json.dumps({**REPORT, "_timestamp": stamp}).encode(), format="iotac", date_order="month-first")
    assert str(column(got, "@timestamp")[0]) == time


def test_iotac_arrays_count_their_further_reports():
    got = run(json.dumps(json.dumps([REPORT, REPORT, REPORT])).encode(), format="iotac")
    assert (got.counts.framed, got.counts.extra, got.counts.rows) == (1, 2, 3)
    assert len(set(column(got, "event.id"))) == 3


def test_iotac_record_with_one_bad_report_is_one_dead_letter():
    got = run(json.dumps(json.dumps([REPORT, {**REPORT, "_timestamp": "x"}])).encode(), format="iotac")
    assert (got.counts.rows, got.reasons) == (0, {"timestamp": 1})


def test_windows_events_are_named_by_their_channel():
    line = '{"@timestamp":"2026-01-01T00:00:00Z","Channel":"%s","EventID":1}\n'
    got = run((line % "Microsoft-Windows-Sysmon/Operational" + line % "Security").encode(), format="windows")
    assert column(got, "event.dataset") == ["windows.sysmon", "windows.security"]
    assert column(got, "EventID") == ["1", "1"]
