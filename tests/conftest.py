"""Fixtures that every test may use."""

import gc
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from servers import elasticsearch_node as elasticsearch
from servers import flink_cluster as flink
from servers import forked
from servers import kafka_broker as kafka
from servers.home import MissingToolError
from servers.shared import Start, shared

from rms_flows.io.kafka.client import CLIENTS
from rms_flows.sigma import pack, scope

settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("steady")

collect_ignore = ["oracle"]  # scripts of an environment of their own, see their docstrings

PARTS = (
    "nab/labels/combined_windows.json",
    "cloud_metrics/mongo-01.csv",
    "metricbeat/cpu-8x-24core.json",
    "apt29_zeek/day1.ndjson",
    "ssh_auth/auth.log",
    "crowdsec/ssh-bf/scenario.assert",
    "zeek_small/conn.log",
    "windows_events/purplesharp_ad_playbook_I.zip",
    "sigmahq-rules-8eaafff1f.tar.gz",
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep packs of rules apart from those of the user; the processes of one run share them, and lose none.

    Tests read small rules so often that those of thousands of rules, which are dear, would be gone at once.
    """
    base = tmp_path_factory.getbasetemp()
    os.environ["XDG_CACHE_HOME"] = str(
        (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "KEPT", 10_000)
        yield


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background deaf to it


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """See that a test leaves SIGTERM and Ctrl-C as they were: one that took them made others, far away, fail."""
    ends = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in ends]
    yield
    left = [signal.getsignal(number) for number in ends]
    for number, handler in zip(ends, before, strict=True):
        signal.signal(number, handler)
    assert left == before


@pytest.fixture(scope="module", params=["text by text", "small batches", "columns"])
def both_searches(request):
    """Evaluate rules as small and as large batches are, when little text has come so far and when much has."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "text by text":
            patch.setattr(scope, "ENOUGH", 0)
        if request.param == "columns":
            patch.setattr(scope, "SMALL_BATCH", 0)
            patch.setattr(scope, "RARE", 2)  # half of a few rows
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser: missing it skips the test, in CI it fails it."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )
    if found is None and "CI" in os.environ:
        pytest.fail("there is no Chromium; .ci/run installs it")
    if found is None:
        pytest.skip("there is no Chromium to look at pages with")
    return found


@pytest.fixture(scope="session")
def datasets() -> Path:
    """Folder of real data: RMS_DATASETS unset skips the test, set and incomplete fails it."""
    named = os.environ.get("RMS_DATASETS")
    if not named:
        pytest.skip("RMS_DATASETS names no folder of real data (see datasets/public.yaml)")
    missing = [part for part in PARTS if not (Path(named) / part).exists()]
    if missing:
        pytest.fail(f"RMS_DATASETS={named} is incomplete: no {', '.join(missing)}")
    return Path(named)


@pytest.fixture(scope="session")
def servers_set_up() -> None:
    """See to what servers run from: a program that is missing skips the test, in CI it fails it."""
    _set_up(elasticsearch.elasticsearch_home)


@pytest.fixture(scope="session")
def kafka_set_up() -> None:
    """See to what brokers run from, likewise."""
    _set_up(kafka.kafka_home)


@pytest.fixture(scope="session")
def flink_set_up() -> None:
    """See to what Flink runs from, likewise."""
    _set_up(flink.flink_home)


def _set_up(home: Callable[[], Path]) -> None:
    try:
        home()
    except MissingToolError as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def elasticsearch_node(servers_set_up, tmp_path_factory) -> Iterator[str]:
    """URL of a real node that all tests of a run share: each names its indices by a prefix of its own."""
    yield from _shared(tmp_path_factory, "elasticsearch", elasticsearch.start_shared)


@pytest.fixture(scope="session")
def kafka_broker(kafka_set_up, tmp_path_factory) -> Iterator[str]:
    """`HOST:PORT` of a real broker that all tests of a run share: each names its topics by a prefix of its own."""
    yield from _shared(tmp_path_factory, "kafka", kafka.start_shared)


@pytest.fixture(scope="session")
def flink_cluster(flink_set_up, tmp_path_factory) -> Iterator[flink.Address]:
    """Where a real Flink with Beam's job server is, which all tests of a run share."""
    for url in _shared(tmp_path_factory, "flink", flink.start_shared):
        yield flink.Address(*url.split())


@pytest.fixture(scope="session")
def forked_rms(own_cache, tmp_path_factory) -> Iterator[str]:
    """Folder of an `rms` whose imports are done, see `servers.forked`."""
    yield from _shared(tmp_path_factory, "rms", forked.start_shared)


@pytest.fixture
def shell(forked_rms, monkeypatch) -> None:
    """Let commands find `rms`, and the Python of this environment."""
    places = [forked_rms, str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(places))


@pytest.fixture(params=CLIENTS)
def kafka_client(request, monkeypatch) -> Iterator[str]:
    """Take each client in turn."""
    monkeypatch.setenv("RMS_KAFKA_CLIENT", request.param)
    yield request.param
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # kafka-python leaves sockets open where it found no broker


def _shared(factory: pytest.TempPathFactory, name: str, start: Start) -> Iterator[str]:
    base = factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with shared(run / name, start) as url:
        yield url
