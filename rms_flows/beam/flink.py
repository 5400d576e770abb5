"""The Flink engine: a pipeline on a Flink cluster behind Beam's job server.

Its steps run in this process, or in one that Flink has a pool of workers start. Flink decides when a bundle
is due, and begins the next; the reader, what is committed and the sinks live in that one process, so that a
start is the same rewind as on the local engine; what a checkpoint of Flink's holds is only that there is a
reader, and its next batch. In this process a job is tried once: where Flink or a step fails, the stream ends
with an error, and its next start goes on. With other workers Flink tries again by itself, and there may be
several readers (`beam.share`), each in a process of its own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker import sdk_worker
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from rms_flows import errors
from rms_flows.beam.account import READER, Account, words
from rms_flows.beam.cluster import SECONDS, Cluster
from rms_flows.beam.gather import GATHER
from rms_flows.beam.reading import STALLED, STALLED_BEHIND, Live
from rms_flows.beam.runner import counted, without_beams_log, without_beams_notebook
from rms_flows.errors import FlowError, RmsError

BUNDLE_MS: Final = 200
"""A bundle is closed after so long: what was found is flushed, and acknowledged."""

RETRIES: Final = 10
RETRY_MS: Final = 1_000
"""How often Flink starts a job again whose workers are gone, and after how long."""

STAGES: Final = 3
"""Of a job with several readers: what begins, the readers, what is behind them; each task has a process."""

LOOK_EVERY: Final = 0.2
"""Seconds between two looks at a job."""

LOOK_CLOSER_EVERY: Final = 5.0
"""Seconds between two looks at a step of it."""

START: Final = 330.0
"""Seconds until a job has to run: Flink itself gives up after 300 s without a free slot."""

BEGINS: Final = 60.0
"""Seconds for which all tasks of a job that was brought back may run before the first step."""

OLD_RUNNER: Final = (
    "start it again, it goes on without loss; Beam's Flink runner loses work up to 2.75, use 2.76"
)

NO_READER: Final = (
    "start it without --savepoint, it goes on from its positions; what Flink kept of a job that had "
    "read all has no reader"
)


def run(
    build: Callable[[beam.Pipeline], None],
    cluster: Cluster,
    name: str,
    live: Live | None,
    stopped: Callable[[], bool],
) -> Account:
    """Build a pipeline, run it to its end and give what its steps counted.

    Args:
        build: Lays the graph.
        cluster: Where it runs.
        name: Of the job: what it has in common with others of its flow, a dash and what no other has.
        live: What the steps work on; None where other processes run them.
        stopped: Whether to end; where `live` is here, the reader ends itself.

    Raises:
        RmsError: What a step raised.
        BusyError: A job of the same flow runs already, in other processes.
        FlowError: The cluster can't be reached, the job ended in another state than DONE or before all that
            was read is in all sinks, or it does nothing.
    """
    cluster.check()
    if live is None:
        cluster.only(name)
    with ExitStack() as stack:
        address = cluster.workers or stack.enter_context(_workers())
        stack.enter_context(without_beams_log())
        stack.enter_context(_quietly())
        pipeline = beam.Pipeline(runner=PortableRunner(), options=_options(cluster, name, address))
        with without_beams_notebook():
            build(pipeline)
        try:
            result = pipeline.run()
            if live is None:
                return _away(result, cluster, name, stopped)
            return _here(result, cluster, name, live)
        except BaseException:
            if live is not None:
                live.leave()  # the runner may not know yet that it is over
            with suppress(RmsError):  # what happened first is what a person has to know
                cluster.cancel(name)
            raise


def _options(cluster: Cluster, name: str, workers: str) -> PipelineOptions:
    # In one process, a second attempt would find the reader of the first further on than its own work says.
    again = RETRIES if cluster.workers else 0
    return PipelineOptions(
        [
            f"--job_endpoint={cluster.job_server}",
            f"--job_name={name}",
            "--environment_type=EXTERNAL",
            f"--environment_config={workers}",
            "--streaming",
            # One reader feeds all steps, which the runner fuses with it; several have tasks of their own.
            f"--parallelism={cluster.parallelism}",
            f"--sdk_worker_parallelism={1 if cluster.parallelism == 1 else STAGES * cluster.parallelism}",
            f"--max_bundle_time_mills={BUNDLE_MS}",
            f"--number_of_execution_retries={again}",
            f"--execution_retry_delay={RETRY_MS}",
            *_kept(cluster),
        ]
    )


def _kept(cluster: Cluster) -> Iterator[str]:
    """Say what Flink keeps of a job, and what the job begins from."""
    # Else what a bundle gives that a checkpoint closes waits for the next, and the reader has none.
    yield "--finish_bundle_before_checkpointing"
    if cluster.checkpoint is not None:
        yield f"--checkpointing_interval={round(cluster.checkpoint * 1_000)}"
        yield "--externalized_checkpoints_enabled"
        yield "--retain_externalized_checkpoints_on_cancellation"
    if cluster.savepoint is not None:
        yield f"--savepoint_path={cluster.savepoint}"


def _away(result: Any, cluster: Cluster, name: str, stopped: Callable[[], bool]) -> Account:
    """Wait for the end of a job whose steps other processes run, or end it."""
    looked = time.monotonic()

    def waiting() -> float:
        """Tell whether all readers were lost; what they do is else seen where they run (see `reading`)."""
        nonlocal looked
        if cluster.parallelism == 1 or time.monotonic() - looked < LOOK_CLOSER_EVERY:
            return 0.0
        looked = time.monotonic()
        with suppress(RmsError):
            return waits if (waits := cluster.waits(name, GATHER)) > STALLED_BEHIND else 0.0
        return 0.0

    _watch(result, cluster, name, waiting, stopped)
    if stopped():
        cluster.cancel(name)
        return Account()  # the runner tells of no job that was ended
    total = counted(result)
    told = words(total, READER)
    _reconcile(
        cluster, told["ends"] >= cluster.parallelism, told["owed"] - told["given"], begun=told["turns"] > 0
    )
    return total


def _here(result: Any, cluster: Cluster, name: str, live: Live) -> Account:
    """Wait for the end of a job whose steps this process runs; with checkpoints Flink waits for more then."""
    kept = cluster.checkpoint is not None
    _watch(result, cluster, name, live.waiting, live.is_done if kept else lambda: False)
    _reconcile(cluster, live.over, sum(live.ledger.owing().values()), begun=live.left is not None)
    if not kept:
        return counted(result)
    cluster.cancel(name)
    return live.counts  # the runner tells of no job that was ended


def _watch(
    result: Any,
    cluster: Cluster,
    name: str,
    waiting: Callable[[], float | None],
    stopped: Callable[[], bool],
) -> None:
    """Wait for the end of a job, and see that it does something meanwhile."""
    began = time.monotonic()
    while (state := _state(result, cluster)) not in _ENDS and not stopped():
        idle = waiting()
        if idle is None and time.monotonic() - began > BEGINS:
            _begins(cluster, name, state, time.monotonic() - began)
        if idle is not None and idle > STALLED:
            raise FlowError(
                f"Flink says that the job is {state}, and has run no step of it for {idle:.0f} s",
                where=cluster.rest,
                remedy=OLD_RUNNER,
            )
        time.sleep(LOOK_EVERY)
    if state in _ENDS and state != PipelineState.DONE:
        raise _failed(result, cluster, state)


def _begins(cluster: Cluster, name: str, state: str, seconds: float) -> None:
    """See that a job without a step so far still waits for something."""
    if cluster.savepoint is not None and (running := cluster.running(name)) > BEGINS:
        raise FlowError(
            f"Flink says that the job is {state}, and has run no step of it for {running:.0f} s",
            where=cluster.rest,
            remedy=NO_READER,
        )
    if seconds > START:
        raise FlowError(
            f"the job hasn't begun after {seconds:.0f} s, it is {state}",
            where=cluster.rest,
            remedy="see on Flink's page what it waits for: a free slot, or workers that can't be reached",
        )


def _reconcile(
    cluster: Cluster,
    over: bool,  # noqa: FBT001  it is what was found
    owing: int,
    *,
    begun: bool,
) -> None:
    """See that all was read that was to be, and that all sinks have it: that a job is DONE proves nothing."""
    if owing or not over:
        raise FlowError(
            f"Flink says that the job is DONE, {'at' if over else 'before'} the end of what was to be read, "
            f"where sinks have {owing} acknowledgements to give",
            where=cluster.rest,
            remedy=OLD_RUNNER if begun or cluster.savepoint is None else NO_READER,
        )


_ENDS: Final = frozenset(
    {PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.DRAINED}
)


def _state(result: Any, cluster: Cluster) -> str:
    try:
        return str(result.state)
    except grpc.RpcError as error:
        raise FlowError(
            f"Beam's job server no longer answers ({getattr(error, 'details', str)()})",
            where=cluster.job_server,
            remedy="start it again, then the stream, which goes on without loss",
        ) from None


_OURS: Final = re.compile(r"^rms_flows\.errors\.(\w+): (.*)$", re.MULTILINE)
_LAST: Final = re.compile(r"^(?!\s)(?:Caused by: )?([\w.$]+(?:Error|Exception)\b.*)$", re.MULTILINE)


def _failed(result: Any, cluster: Cluster, state: str) -> RmsError:
    """Give what a step raised, of which the runner knows the text."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # Beam tells the root logger
    try:
        result.wait_until_finish()
        said = ""
    except Exception as error:  # noqa: BLE001  Beam raises what it likes
        said = str(error)
    finally:
        logging.disable(disabled)
    if ours := _OURS.search(said):
        kind = getattr(errors, ours[1], FlowError)
        return kind(ours[2])
    last = _LAST.findall(said)
    return FlowError(
        f"the job ended as {state}: {last[-1] if last else said or 'it does not say why'}",
        where=cluster.rest,
        remedy="see its page on Flink; started again, the stream goes on without loss",
    )


@contextmanager
def _workers() -> Iterator[str]:
    """Let Flink run steps in this process; give the address."""
    with served("127.0.0.1:0", BeamFnExternalWorkerPoolServicer()) as port:
        yield f"127.0.0.1:{port}"


def serve(address: str, ready: Callable[[int], None], wait: Callable[[], Any]) -> None:
    """Let Flink run steps in processes of their own, started here, until `wait` returns.

    Args:
        address: `HOST:PORT` to listen at; port 0 is a free one. Who reaches it may run anything here.
        ready: Called with the port.
        wait: Returns when it is over.

    Raises:
        FlowError: Nobody can listen there.
    """
    # Beam starts whatever is called python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with without_beams_log(), served(address, BeamFnExternalWorkerPoolServicer(use_process=True)) as port:
        ready(port)
        wait()


@contextmanager
def served(address: str, pool: Any) -> Iterator[int]:
    """Serve a pool of workers; Beam's own way listens on all interfaces."""
    # Where ports may be shared, two pools would get each other's workers.
    server = grpc.server(shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise FlowError(
            f"can't listen here ({error})", where=address, remedy="name another with --listen"
        ) from None
    server.start()
    try:
        yield port
    finally:
        # Beam ends them only when this process ends.
        for name in [*pool._worker_processes, *pool._worker_threads]:  # noqa: SLF001
            pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=name), None)
        server.stop(1).wait()
        for thread in threading.enumerate():
            if thread.name.startswith(("run_worker_", "read_grpc_client_inputs")):
                thread.join(SECONDS)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Beam's workers here from printing what is raised anyway, and that the runner has hung up."""
    known = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, grpc.RpcError):
            known(args)

    threading.excepthook = hook
    sdk_worker.print = lambda *_, **__: None
    try:
        yield
    finally:
        threading.excepthook = known
        del sdk_worker.print
