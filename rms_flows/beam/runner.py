"""The local engine: one pipeline on Beam's `FnApiRunner`, inside this process.

The runner is named explicitly, as Beam's default may try to download a binary. Its own multi-process mode is
not used: it opens unauthenticated ports on all interfaces, and it waits forever for a worker that was killed.
Processes come from `workers` instead, each of which runs whole pipelines here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from rms_flows.beam.account import Account
from rms_flows.errors import FlowError, RmsError


def run(build: Callable[[beam.Pipeline], None]) -> Account:
    """Build a pipeline, run it to its end and give what its steps counted.

    Raises:
        RmsError: What a step raised, as it raised it.
        FlowError: A step failed otherwise, or the pipeline ended in another state than DONE.
    """
    # Beam would read sys.argv if it got no list.
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    # It is for artifacts, of which this runner has none; a run that is killed would leave it behind.
    Path(pipeline.local_tempdir).rmdir()
    with without_beams_notebook():
        build(pipeline)
    with without_beams_log():
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as error:
            if (ours := _first(error)) is not None:
                raise ours from None
            raise FlowError(
                f"a step failed with {type(error).__name__}: {error}",
                remedy="this is a defect; please report it with the input that caused it",
            ) from error
    if state != PipelineState.DONE:
        raise FlowError(f"the pipeline ended as {state}", remedy="run it again; what was there is untouched")
    return counted(result)


def counted(result: Any) -> Account:
    """Give what the steps of a pipeline counted, from the `PipelineResult`."""
    account: Account = Account()
    for counter in result.metrics().query()["counters"]:
        account[counter.key.metric.namespace, counter.key.metric.name] += counter.committed or 0
    return account


def _first(error: BaseException) -> RmsError | KeyboardInterrupt | None:
    """Find what was raised in a step; Beam wraps it in errors of its own, also a Ctrl-C."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RmsError | KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


@contextmanager
def without_beams_notebook() -> Iterator[None]:
    """Keep Beam from renaming transforms in an IPython kernel: for that it imports what fails on pandas 3."""
    known = beam.pipeline.alter_label_if_ipython
    beam.pipeline.alter_label_if_ipython = lambda *_: None
    try:
        yield
    finally:
        beam.pipeline.alter_label_if_ipython = known


@contextmanager
def without_beams_log() -> Iterator[None]:
    """Keep Beam from logging the traceback of an error that is raised anyway."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
