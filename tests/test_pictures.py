"""Pictures: few points whatever the rows, drawn without a network, for every eye."""

import json
import subprocess
import time

import home_day
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import rms_flows as rms
from rms_flows.errors import FlowError, SinkError
from rms_flows.pictures import MOST, Picture, events, reports
from rms_flows.pictures.theme import COLORS, LEVELS, SOFT
from rms_flows.schema import DICTIONARY, REPORT, TIMESTAMP

DAY = 86_400_000_000


def many_reports(count, rules=40):
    rng = np.random.default_rng(count)

    def texts(words):
        return pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, len(words), count), pa.int32()), words)

    known = {
        "@timestamp": pa.array(np.sort(rng.integers(0, 400 * DAY, count))).cast(TIMESTAMP),
        "rule.level": texts(pa.array(LEVELS)),
        "rule.name": texts(pa.array([f"rule {n}" for n in range(rules)])),
        "rms.request_source": texts(pa.array([f"10.0.{n // 250}.{n % 250}" for n in range(5_000)])).cast(
            pa.string()
        ),
        "rule.tags": pa.array([["attack.discovery", f"attack.t{1000 + n % 700}"] for n in range(count)]),
    }
    columns = [known[f.name].cast(f.type) if f.name in known else pa.nulls(count, f.type) for f in REPORT]
    return pa.Table.from_arrays(columns, schema=REPORT)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    home = home_day.generate(tmp_path_factory.mktemp("home"))
    return home, rms.run(home_day.FLOW, folder=home)


def values(picture, key):
    return [one for one in _data(picture.spec) if all(key in row for row in one)]


def _data(node):
    if isinstance(node, dict):
        yield from ([node["values"]] if isinstance(node.get("values"), list) else [])
        for one in node.values():
            yield from _data(one)
    elif isinstance(node, list):
        for one in node:
            yield from _data(one)


def test_a_million_reports_are_drawn_in_time_and_in_few_points(tmp_path):
    table = many_reports(1_000_000)
    began = time.process_time()
    picture = reports.timeline(table)
    path = picture.save(tmp_path / "timeline.svg")
    assert time.process_time() - began < 6  # 2 s on a core of its own, Altair's import aside
    assert path.stat().st_size < 1_000_000
    assert picture.points <= MOST
    close, wide = (sum(row["reports"] for row in one) for one in values(picture, "reports"))
    assert close == wide == 1_000_000


@pytest.mark.parametrize("draw", [reports.timeline, reports.heat, reports.tactics,
                                  lambda table: reports.groups(table, "rms.request_source", "from")])  # fmt: skip
def test_no_picture_of_reports_embeds_more_than_it_may(draw):
    picture = draw(many_reports(20_000, rules=300))
    assert 0 < picture.points <= MOST
    assert len(json.dumps(picture.spec)) < 1_000_000


def test_pictures_of_events_stay_small_too():
    rng = np.random.default_rng(1)
    count = 300_000
    table = pa.table({
        "@timestamp": pa.array(np.sort(rng.integers(0, 90 * DAY, count))).cast(TIMESTAMP),
        "source.ip": [f"10.0.0.{n}" for n in rng.integers(0, 250, count)],
        "destination.ip": [f"10.1.0.{n}" for n in rng.integers(0, 250, count)],
        "value": rng.random(count),
        "event.dataset": pa.array(["zeek.conn"] * count).cast(DICTIONARY),
    })  # fmt: skip
    drawn = [
        events.metric(table, "value", threshold=0.9),
        events.graph(table, "source.ip", "destination.ip"),
        events.beacon(table, "a", "b"),
        events.entity("a", table, many_reports(9_000)),
    ]
    assert all(0 < picture.points <= MOST for picture in drawn)
    with pytest.raises(AssertionError, match=r"5,001 points in one picture, at most 5,000 were meant"):
        Picture(
            type("Chart", (), {"to_dict": lambda _, **__: {"data": {"values": [{}] * 5_001}}})(), "too much"
        )


def test_what_the_pictures_count_is_what_there_is(day):
    home, found = day
    assert {sum(row["reports"] for row in one) for one in values(found.draw.timeline(), "reports")} == {
        len(found)
    }
    [hours] = values(found.draw.heat(), "hour")
    truth = found.to_pandas()
    expected = truth.groupby([truth["rule.name"].astype(str), truth["@timestamp"].dt.hour]).size().to_dict()
    assert {(row["rule"], row["hour"]): row["reports"] for row in hours} == expected
    [cells] = values(found.draw.tactics(), "technique")
    scans = {"Connection attempt rejected", "Port scan"}
    assert {row["reports"] for row in cells if row["technique"] == "T1046"} == {
        int(truth["rule.name"].isin(scans).sum())
    }
    assert repr(found.draw.groups()).startswith(f"{len(found)} threat reports by request_source: most of ")
    conn = rms.open(home / "conn.log")
    [links] = [one for one in values(conn.draw.graph("id.orig_h", "id.resp_h"), "count") if "from" in one[0]]
    assert sum(row["count"] for row in links) == len(conn.to_arrow())
    assert {row["to"] for row in links} == {"192.168.1.10", "203.0.113.200"}


def test_a_metric_shows_what_is_above_its_threshold(day):
    home, _ = day
    picture = rms.open(home / "metrics.ndjson").draw.metric("host.cpu.usage", threshold=0.8)
    truth = json.loads((home / "truth.json").read_text())["planted"]
    overload = sum(one["kind"] == "overload" for one in truth)
    assert repr(picture) == f"host.cpu.usage: 5,760 values, {overload} above 0.8"
    [line] = values(picture, "mean")
    known = [one for one in line if one["low"] is not None]
    assert len(known) == len(line) - 12
    calm = [one for one in known if one["highest"] < 0.6]
    assert np.mean([one["low"] <= one["mean"] <= one["high"] for one in calm]) > 0.9


def test_a_beacon_and_an_entity_are_seen(day):
    home, found = day
    conn = rms.open(home / "conn.log")
    columns = ("id.orig_h", "id.resp_h")
    beacon = conn.draw.beacon("192.168.1.31", "203.0.113.200", columns=columns)
    assert " calls, 299." in repr(beacon) or " calls, 300." in repr(beacon)
    scanner = found.draw.entity("192.168.1.99")
    assert repr(scanner) == "192.168.1.99: 251 threat reports over 250 observations"
    with pytest.raises(FlowError, match=r"nothing is known of '10.9.9.9'; see draw.groups\(\) for who is"):
        found.draw.entity("10.9.9.9")
    with pytest.raises(
        FlowError, match=r"conn.log: has 0 events with id.orig_h and id.resp_h, at least 3 can be"
    ):
        conn.draw.beacon("192.168.1.31", "10.9.9.9", columns=columns)
    with pytest.raises(FlowError, match=r"there are no reports to draw; run other rules"):
        found.where({"rule.name": "none"}).draw.heat()


def test_gaps_and_trust_of_a_source_are_seen(tmp_path):
    lines = [
        json.dumps({"@timestamp": f"2026-03-14T{hour:02d}:{minute:02d}:00Z", "rms.source": "probe"})
        for hour in (1, 2, 5) for minute in range(0, 60, 5)
    ]  # fmt: skip
    (tmp_path / "a.ndjson").write_text("\n".join(lines) + "\n")
    picture = rms.open(tmp_path / "a.ndjson").draw.health()
    assert repr(picture) == "36 events of 1 sources, 1 gaps"
    [silent] = [one for one in _data(picture.spec) if one and "end" in one[0] and "rows" not in one[0]]
    assert (silent[0]["end"] - silent[0]["time"]) / 3_600_000 == 2


def test_a_steady_source_is_drawn_as_steady():
    times = pa.array([600_000_000 * n for n in range(145)]).cast(TIMESTAMP)
    steps = pa.table({"source": ["probe"] * 145, "time": times, "rows": pa.array([40] * 145)})
    gaps = pa.table({"source": pa.array([], pa.string()), "start": times[:0], "end": times[:0]})
    trust = pa.table({"source": ["probe"], "trust": ["unknown"], "rows": [40]})
    picture = events.health(steps, gaps, trust, 600_000_000)
    [rate] = [one for one in _data(picture.spec) if one and "end" in one[0]]
    assert {one["rows"] for one in rate[:-1]} == {80}


def test_a_peak_widens_no_band_behind_it():
    values = np.random.default_rng(2).normal(0.2, 0.01, 100)
    values[40] = 1.0
    times = pa.array([300_000_000 * n for n in range(100)]).cast(TIMESTAMP)
    [line] = values_of_metric(pa.table({"@timestamp": times, "load": values}))
    assert max(one["high"] - one["low"] for one in line if one["low"] is not None) < 0.1
    assert [one["mean"] for one in line if one["low"] is not None and one["mean"] > one["high"] + 0.1] == [
        1.0
    ]


def values_of_metric(table):
    return [one for one in _data(events.metric(table, "load").spec) if "mean" in one[0]]


def _linear(color):
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# Machado, Oliveira and Fernandes 2009, severity 1.0
_SEEN = {
    "all": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def _lab(linear):
    xyz = _XYZ @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", sorted(_SEEN))
def test_levels_are_told_apart_by_every_eye(eye):
    seen = [_lab(_SEEN[eye] @ _linear(color)) for color in COLORS]
    distances = [np.linalg.norm(a - b) for at, a in enumerate(seen) for b in seen[:at]]
    assert min(distances) > 20


@pytest.mark.parametrize("paper", ["#ffffff", "#14181f"])
def test_everything_stands_out_on_light_and_on_dark(paper):
    below = (_XYZ @ _linear(paper))[1]
    for color in (*COLORS, SOFT):
        above = (_XYZ @ _linear(color))[1]
        low, high = sorted((below, above))
        assert (high + 0.05) / (low + 0.05) >= 3, color


def test_a_picture_is_saved_in_each_form_and_says_when_it_cannot_be(day, tmp_path):
    picture = day[1].draw.timeline()
    heads = {".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!DOCTYPE html>", ".json": b"{"}
    for ending, head in heads.items():
        assert picture.save(tmp_path / f"p{ending}").read_bytes().lstrip().startswith(head)
    with pytest.raises(SinkError, match=r"no picture is written as '.gif'; use .svg, .png, .html, .json"):
        picture.save(tmp_path / "p.gif")
    with pytest.raises(SinkError, match=r"can't be written \(No such file.*\); choose another path"):
        picture.save(tmp_path / "none" / "p.svg")
    bundle = picture._repr_mimebundle_()
    assert bundle["application/vnd.vegalite.v5+json"]["$schema"].endswith("/v5.json")
    assert bundle["text/plain"] == repr(picture)
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "text/html" not in bundle  # JupyterLab would show it in the place of what can be brushed


def test_a_browser_without_a_network_draws_a_saved_picture(day, tmp_path, chromium):
    path = day[1].draw.timeline().save(tmp_path / "p.html")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=10000",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    command = [chromium, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{path}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout  # noqa: S603
    assert "<canvas" in shown or "<svg" in shown


def test_the_same_reports_give_the_same_picture():
    table = many_reports(500)
    shuffled = table.take(pc.sort_indices(table["rms.request_source"]))
    assert reports.timeline(table).spec == reports.timeline(shuffled).spec
