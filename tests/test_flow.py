"""The corridor: what it lays, what it counts, and that every number of workers gives the same."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import apache_beam as beam
import corridor_fakes as fakes
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from rms_flows.beam.account import Account
from rms_flows.beam.coder import RecordBatchCoder
from rms_flows.beam.load import load
from rms_flows.beam.pieces import Piece, shares
from rms_flows.errors import FlowError, SinkError, SourceError
from rms_flows.flow import corridor
from rms_flows.flow.launch import work
from rms_flows.flow.reconcile import reconcile
from rms_flows.flow.window import within
from rms_flows.io.contract import Fragment, Window

SMALL = fakes.Rows(count=3, rows=1_500, dead=2)


def laid(plan):
    pipeline = beam.Pipeline(options=PipelineOptions([]))
    corridor(pipeline, plan, work(plan))
    return pipeline.to_runner_api(return_context=True)


def test_every_batch_between_transforms_is_coded_as_arrow(tmp_path):
    proto, context = laid(fakes.plan_of(tmp_path, SMALL))
    coders = [
        (transform.unique_name, context.coders.get_by_id(proto.components.pcollections[output].coder_id))
        for transform in proto.components.transforms.values()
        for output in transform.outputs.values()
        if not transform.unique_name.startswith("Pieces")
    ]
    ends = {
        "Dead letters",
        "b > all",
        "a > hot > found",
        "b > hot > found",
        "a > again > found",
        "a > hot > again > found",
    }
    assert {"Read", "Annotate a", "Window b", "a > hot", "b > hot > again"} <= {name for name, _ in coders}
    pickled = {name for name, coder in coders if not isinstance(coder, RecordBatchCoder)}
    assert pickled - {""} <= ends | {"b > hot > again > found"}


def test_names_of_transforms_are_stable_and_nothing_is_grouped(tmp_path):
    names, urns = [], set()
    for _ in range(2):
        proto, _ = laid(fakes.plan_of(tmp_path, SMALL))
        names.append({transform.unique_name for transform in proto.components.transforms.values()})
        urns |= {transform.spec.urn for transform in proto.components.transforms.values()}
    assert names[0] == names[1]
    assert not any("group" in urn or "flatten" in urn or "reshuffle" in urn for urn in urns)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    summary = fakes.run(fakes.plan_of(folder, SMALL))
    return summary, {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_account_agrees_with_the_rows(alone):
    summary, files = alone
    batches = [fakes.rows_of(number, SMALL.rows) for number in range(SMALL.count)]
    hot = sum(fakes.above(batch).num_rows for batch in batches)
    assert summary.rows == 2 * SMALL.count * SMALL.rows
    assert summary.processors["hot"] == {"rows": summary.rows, "found": 2 * hot}
    assert summary.processors["again"] == {"rows": summary.rows // 2 + 2 * hot, "found": 3 * hot}
    assert summary.sinks == {"found": 5 * hot, "all": summary.rows // 2}
    assert summary.dead_letters == {"json": 2 * SMALL.count * SMALL.dead}
    assert set(files) == {"found.ndjson", "all.ndjson", "dead.ndjson"}
    assert len(files["found.ndjson"].splitlines()) == 5 * hot
    assert json.loads(summary.to_json())["rows"] == summary.rows


def test_again_gives_the_same_bytes(alone, tmp_path):
    fakes.run(fakes.plan_of(tmp_path, SMALL))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == alone[1]


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_workers_give_the_same_bytes(alone, tmp_path, workers):
    seen = []
    summary = fakes.run(fakes.plan_of(tmp_path, SMALL), workers=workers, progress=seen.append)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == alone[1]
    assert (summary.rows, summary.processors) == (alone[0].rows, alone[0].processors)
    assert seen[-1].done == seen[-1].total


def test_the_window_is_half_open_and_empty_rows_travel_no_further(tmp_path):
    start, end = fakes.HOUR, 2 * fakes.HOUR
    summary = fakes.run(fakes.plan_of(tmp_path, SMALL, window=Window(start, end)))
    assert summary.processors["hot"]["rows"] == 2 * SMALL.rows
    assert summary.rows == 2 * SMALL.count * SMALL.rows
    edge = pa.record_batch(
        {"@timestamp": pa.array([start - 1, start, end - 1, end], pa.timestamp("us", "UTC"))}
    )
    assert within(Window(start, end))(edge).num_rows == 2


def test_a_source_that_fails_leaves_what_was_there(tmp_path):
    fakes.run(fakes.plan_of(tmp_path, SMALL))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SourceError, match="fake:rows: cut in half; copy it again"):
        fakes.run(fakes.plan_of(tmp_path, fakes.Rows(count=3, fail_at=2)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_record_without_fate_fails_the_run(tmp_path, workers):
    with pytest.raises(
        FlowError, match=r"records of 'a': 6,003 were due and 6,000 came; nothing was committed"
    ):
        fakes.run(fakes.plan_of(tmp_path, fakes.Rows(count=3, lose=1)), workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_a_defect_in_a_step_is_named_without_a_traceback(tmp_path):
    with pytest.raises(FlowError, match=r"a step failed with KeyError: .*no such column.*please report it"):
        fakes.run(fakes.plan_of(tmp_path, SMALL, ready=fakes.broken))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_fails_the_run_and_leaves_nothing(tmp_path):
    with pytest.raises(FlowError, match=r"a worker process died with exit code -9; .*fewer --workers"):
        fakes.run(fakes.plan_of(tmp_path, SMALL, ready=fakes.suicidal), workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_sink_that_cannot_be_prepared_stops_the_run_before_work(tmp_path):
    plan = fakes.plan_of(tmp_path / "absent", SMALL)
    with pytest.raises((SinkError, FileNotFoundError)):
        fakes.run(plan)


def test_every_stage_of_the_books_is_checked(tmp_path):
    plan = fakes.plan_of(tmp_path, SMALL)
    pieces = work(plan)
    total = Account()
    for name in ("a", "b"):
        total.update(
            {
                (f"source:{name}", "fragments"): 3,
                (f"source:{name}", "framed"): 5,
                (f"source:{name}", "rows"): 5,
            }
        )
        total.update(
            {(f"{stage}:{name}", word): 5 for stage in ("annotate", "window") for word in ("rows", "found")}
        )
    total.update(
        {("processor:hot", "rows"): 10, ("processor:hot", "found"): 4, ("processor:again", "rows"): 9}
    )
    total.update({("processor:again", "found"): 2, ("sink:found", "rows"): 6, ("sink:all", "rows"): 5})
    reconcile(plan, pieces, total)
    for key in total:
        with pytest.raises(FlowError, match="were due and"):
            reconcile(plan, pieces, total + Account({key: 1}))


def test_shares_hold_every_piece_once_and_even_weights():
    pieces = [Piece(n, "a", Fragment("f", str(n), size=1 + n * n)) for n in range(50)]
    dealt = shares(pieces, 3)
    assert sorted(piece.number for share in dealt for piece in share) == list(range(50))
    weights = [sum(piece.weight for piece in share) for share in dealt]
    assert weights == sorted(weights, reverse=True)
    assert max(weights) < 1.2 * min(weights)
    assert shares(pieces, 1) == [tuple(pieces)]
    assert shares([], 2) == []


def test_a_launcher_of_workers_needs_no_beam():
    code = "import sys, rms_flows.flow.launch; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603  our own interpreter


@pytest.mark.parametrize("runs_us", [None, object()])
def test_beam_asks_for_a_kernel_only_where_ipython_is_loaded(monkeypatch, runs_us):
    """Guards against half a second of each command, for the import of what does not run it."""
    load()
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert beam.pipeline.is_in_ipython() is False
    assert "IPython" not in sys.modules
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: runs_us))
    assert beam.pipeline.is_in_ipython() is (runs_us is not None)
