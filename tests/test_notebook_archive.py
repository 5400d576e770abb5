"""An archive as an analyst sees it."""

import os
import signal
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import home_day
import numpy as np
import pyarrow as pa
import pytest
from corridor_fakes import HOUR, Rows
from hypothesis import given
from hypothesis import strategies as st

import rms_flows as rms
from rms_flows.beam.progress import Progress
from rms_flows.errors import DocumentError, FlowError, RuleError, SourceError
from rms_flows.io.contract import Request
from rms_flows.io.memory import MemorySource
from rms_flows.notebook.archive import Archive
from rms_flows.notebook.cache import CachedSource
from rms_flows.notebook.progress import progress
from rms_flows.replay import archive as replay_archive
from rms_flows.schema import TIMESTAMP

SHELL = """
title: A shell
logsource: {category: process_creation}
detection:
  shell: {Image|endswith: /sh}
  condition: shell
"""


def archive(**columns):
    rows = len(next(iter(columns.values())))
    known = {
        "@timestamp": pa.array([row * HOUR for row in range(rows)], pa.int64()).cast(TIMESTAMP),
        "event.id": pa.array([f"e{row}" for row in range(rows)]),
    }
    return Archive(MemorySource([pa.record_batch({**known, **columns})]))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_day.generate(tmp_path_factory.mktemp("home"))


def test_a_file_says_what_it_holds(home):
    history = rms.open(f"{home}/auth.log?year=2026")
    assert {"@timestamp", "source.ip", "user.name"} <= set(history.schema().names)
    assert history.schema().field("source.port").type == pa.int64()
    whole = history.to_arrow()
    assert len(history.head(7)) == 7
    assert history.head(7).to_arrow()["event.id"].to_pylist() == whole["event.id"].to_pylist()[:7]
    profile = history.profile()
    assert profile.rows == whole.num_rows == sum(profile.steps["rows"].to_pylist())
    columns = {one["column"]: one for one in profile.columns.to_pylist()}
    assert columns["user.name"]["distinct"] == len(set(whole["user.name"].drop_null().to_pylist()))
    assert columns["source.ip"]["nulls"] == whole["source.ip"].null_count


def test_gaps_and_what_could_not_be_decoded_are_told(tmp_path):
    lines = [f'{{"@timestamp": "2026-03-14T{hour:02d}:30:00Z", "a": "{hour}"}}' for hour in (1, 2, 5, 6, 9)]
    (tmp_path / "a.ndjson").write_text("\n".join([*lines, "{"]) + "\n")
    profile = rms.open(tmp_path / "a.ndjson").profile()
    assert [(one["start"].hour, one["end"].hour) for one in profile.gaps.to_pylist()] == [(3, 5), (7, 9)]
    assert profile.dead_letters == {"json": 1}
    assert repr(profile).startswith("5 events\n  json: 1 records could not be decoded\n  input: 5 from")
    assert "<table>" in profile._repr_html_()
    assert rms.open(tmp_path / "a.ndjson").profile(every="1d").gaps.num_rows == 0


def test_of_a_column_with_many_values_their_number_is_not_told():
    many = [str(n) for n in range(10_001)]
    found = archive(few=["x", "y"] * 5_000 + ["x"], many=many).profile().columns.to_pylist()
    assert {one["column"]: one["distinct"] for one in found if one["column"] in {"few", "many"}} == {
        "few": 2,
        "many": None,
    }


def test_a_period_is_half_open_and_narrows_only():
    whole = archive(a=list("abcdef"))
    some = whole.where(start="1970-01-01T01:00:00", end=datetime(1970, 1, 1, 4, tzinfo=UTC))
    assert some.to_arrow()["a"].to_pylist() == ["b", "c", "d"]
    assert some.where(start="1970-01-01", end="1970-01-01T02:00:00Z").to_arrow()["a"].to_pylist() == ["b"]
    assert len(whole.where(start=date(1970, 1, 2)).to_arrow()) == 0
    assert repr(some).endswith(" from 1970-01-01 01:00:00 to 1970-01-01 04:00:00")


def test_a_selection_means_what_it_means_in_a_rule():
    whole = archive(Image=["/bin/SH", "/bin/ls", None, "/usr/bin/sh"], user=["a", "b", "c", "d"])
    assert whole.where({"Image|endswith": "/sh"}).to_arrow()["user"].to_pylist() == ["a", "d"]
    either = whole.where([{"user": "b"}, {"Image": None}])
    assert either.to_arrow(["user"])["user"].to_pylist() == ["b", "c"]
    both = whole.where({"Image|endswith": "sh"}).where({"user": "d"})
    assert both.to_arrow(["user"]).column_names == ["user"]
    assert len(both.to_arrow()) == 1
    assert [event["user"] for event in both.head()] == ["d"]


def test_rules_see_of_an_archive_what_was_selected():
    whole = archive(Image=["/bin/sh", "/bin/ls", "/usr/bin/sh"], user=["a", "b", "c"])
    assert len(whole.detect(SHELL)) == 2
    [report] = whole.where({"user": "c"}).detect(SHELL).to_arrow().to_pylist()
    assert report["rms.evidence"] == ["e2"]


@given(st.integers(0, 400), st.integers(1, 50), st.integers(0, 3))
def test_a_sample_is_part_of_the_whole_and_the_same_for_the_same_seed(rows, size, seed):
    batches = [archive(a=[""]).source.batches[0].slice(0, 0)] if not rows else []
    batches += [archive(a=[f"{first}-{n}" for n in range(min(97, rows - first))]).source.batches[0]
                for first in range(0, rows, 97)]  # fmt: skip
    whole = Archive(MemorySource(batches))
    found = [event["a"] for event in whole.sample(size, seed=seed)]
    assert found == [event["a"] for event in whole.sample(size, seed=seed)]
    assert len(set(found)) == len(found) == min(size, rows)
    assert set(found) <= set(whole.to_arrow()["a"].to_pylist() if rows else ())


def test_a_sample_takes_each_event_with_the_same_chance():
    whole = Archive(MemorySource([archive(a=["x"] * n).source.batches[0] for n in (10, 30)]))
    times = np.concatenate([
        whole.sample(4, seed=seed).to_arrow()["event.id"].to_pylist() for seed in range(300)
    ])  # fmt: skip
    assert 0.6 < np.isin(times, [f"e{n}" for n in range(10, 30)]).mean() / 0.5 < 1.4


def test_more_than_may_be_held_is_refused():
    with pytest.raises(
        SourceError, match=r"holds more than 3 events; look at fewer with where\(…\), or allow"
    ):
        archive(a=list("abcd")).to_arrow(limit=3)


@pytest.mark.parametrize(
    ("ask", "error", "match"),
    [
        (lambda: rms.open("none.log"), SourceError, "none.log: no such file"),
        (lambda: rms.open("a.log", start="14.3."), DocumentError, r"start: '14.3.' is no ISO 8601 time; write 2026"),
        (lambda: rms.open("a.log", start="2026-01-02", end="2026-01-02"), DocumentError, r"end: the period .* is empty; let"),
        (lambda: archive(a=["b"]).where({"a|contain": "b"}), RuleError, r"Unknown modifier 'contain'"),
        (lambda: archive(a=["b"]).where({"a": {1, 2}.union}), RuleError, r"can't be a selection .*; write \{"),
        (lambda: archive(a=["b"]).profile("soon"), DocumentError, r"every: 'soon' is no length of time; write 10m"),
        (lambda: archive(a=["b"]).run(home_day.FLOW), DocumentError, r"smart-home: the flow has 4 sources; say which"),
        (lambda: archive(a=["b"]).detect("none.yml"), DocumentError, r"none.yml: rules can't be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_with_its_remedy(ask, error, match):
    with pytest.raises(error, match=match):
        ask()


def test_pandas_that_is_not_there_is_an_error_with_its_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(FlowError, match=r"pandas is not installed; pip install 'rms-flows\[notebook\]'"):
        archive(a=["b"]).to_pandas()


def test_a_second_look_reads_nothing_again():
    source = Counting()
    first = CachedSource(source, 1 << 30)
    history = Archive(first)
    assert len(history.detect(SHELL)) == 0
    reads = source.reads.copy()
    history.detect(SHELL.replace("/sh", "/zsh"))
    assert source.reads == reads
    history.profile()  # needs all columns, so all is read once more, and then never again
    assert len(source.reads) == 2 * len(reads)
    history.to_arrow()
    assert len(source.reads) == 2 * len(reads)


def test_what_is_kept_is_bounded():
    source = Counting()
    request = Request()
    whole = sum(d.rows.nbytes for f in source.fragments(request) for d in source.read(f, request))
    cached = CachedSource(source, whole // 2)
    for _ in range(2):
        source.reads.clear()
        assert (
            sum(d.rows.num_rows for f in cached.fragments(request) for d in cached.read(f, request)) == 12_000
        )
        assert 0 < cached.held <= whole // 2
    assert 0 < len(source.reads) < 6  # what is kept is found the next time


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "a.ndjson"
    line = '{{"@timestamp": "2026-03-14T01:00:00Z", "a": "{}"}}\n'
    path.write_text(line.format(1))
    history = rms.open(path)
    assert history.head()[0]["a"] == "1"
    path.write_text(line.format(2))
    os.utime(path, ns=(1, 1))
    assert history.head()[0]["a"] == "2"


@dataclass(frozen=True)
class Counting(Rows):
    reads: list = field(default_factory=list)

    def read(self, fragment, request):
        self.reads.append(fragment.key)
        return super().read(fragment, request)


@dataclass(frozen=True)
class Interrupting(Rows):
    """Sends Ctrl-C to the process that asked, when it comes to the fragment 3."""

    launcher: int = 0

    def read(self, fragment, request):
        if fragment.key == "3":
            os.kill(self.launcher, signal.SIGINT)
            if os.getpid() != self.launcher:
                signal.pause()  # the launcher ends us
        yield from super().read(fragment, request)


ALL = """
title: All
logsource: {category: any}
detection:
  all: {event.dataset: system.cpu}
  condition: all
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_stopped_gives_what_it_found_so_far_and_says_so(workers):
    found = Archive(Interrupting(launcher=os.getpid())).detect(ALL, workers=workers)
    assert not found.complete
    assert 2_000 <= len(found) < 12_000
    assert len(set(found.to_arrow()["event.id"].to_pylist())) == len(found)
    assert "the run was stopped: this is what was found so far" in repr(found)
    whole = Archive(Rows()).detect(ALL)
    assert whole.complete
    assert set(found.to_arrow()["event.id"].to_pylist()) < set(whole.to_arrow()["event.id"].to_pylist())


def test_progress_is_a_bar_where_somebody_watches(capsys):
    with progress("quiet", watch=False) as show:
        assert show is None
    with progress("looking", watch=True) as show:
        show(Progress(5, 1.0, 10.0, 100.0))
        show(Progress(50, 9.0, 100.0, 100.0))
    with progress("looking") as show:
        assert show is None  # no terminal, no notebook


def test_representations_are_text_whatever_the_data_says():
    evil = archive(**{"user.name": ["<script>alert(1)</script>"], "a": ["x" * 100]})
    for one in (evil.head(), evil.profile(), evil):
        assert "<script" not in one._repr_html_()
        assert one._repr_html_().startswith("<")
    assert "…" in evil.head()._repr_html_()
    assert repr(evil.head()) == "1 event: @timestamp, rms.source, user.name, a, rms.trust, event.id"
    assert repr(evil) == "memory:batches"


def test_a_picture_leaves_out_what_tells_events_apart_and_takes_it_from_nobody(home, tmp_path):
    replay_archive(f"{home}/auth.log?year=2026", f"parquet:{tmp_path / 'kept'}")
    history = rms.open(f"parquet:{tmp_path / 'kept'}")
    lean = pa.Table.from_batches(history.batches(("source.ip",), lean=True))
    assert all(lean[name].null_count == lean.num_rows > 0 for name in ("event.id", "rms.origin"))
    whole = history.to_arrow()  # after what was kept in memory
    assert whole["event.id"].null_count == 0
    assert lean["@timestamp"].to_pylist() == whole["@timestamp"].to_pylist()
    named = history.where({"event.id": whole["event.id"][3].as_py()})
    [again] = named.batches((), lean=True)
    assert again["event.id"].to_pylist() == [whole["event.id"][3].as_py()]
    assert repr(history.draw.health()) == repr(rms.open(f"parquet:{tmp_path / 'kept'}").draw.health())
