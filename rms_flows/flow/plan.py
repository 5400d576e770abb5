"""What a worker has to know to lay the corridor. Knows no Beam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from rms_flows.flow.window import within
from rms_flows.io.contract import Request, Sink, Source, Window
from rms_flows.io.spill import Spill
from rms_flows.processors.contract import Stateful, Step

Function = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class SourceStage:
    """A source ready to be read.

    Args:
        id: Its id in the orchestrator.
        source: Where it lies.
        request: What the stages behind it need of it.
        annotator: Makes the function that puts what is known of the probe on its batches.
        lateness: Microseconds that an event may lie behind the latest one, in a stream.
        idle: Microseconds without an event after which the rest of a stream doesn't wait for it; None for a
            source that ends.
    """

    id: str
    source: Source
    request: Request
    annotator: Callable[[], Function]
    lateness: int = 0
    idle: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessorStage:
    """A processor with its inputs (ids of sources and of processors before it).

    Args:
        id: Its id in the orchestrator.
        inputs: What it reads.
        ready: Makes its step where it runs; the same step for the same stage within a process.
        window: The period of which its reports matter: what is judged, and what lies around it and can matter
            for a processor behind.
    """

    id: str
    inputs: tuple[str, ...]
    ready: Callable[[], Step]
    window: Window = field(default_factory=Window)

    def function(self) -> Function:
        """Make the plain function of the step; of reports it gives those that matter."""
        step, keep = self.ready(), within(self.window)
        return step.run if step.gives == "observations" else lambda batch: keep(step.run(batch))

    def stateful(self) -> Stateful:
        """Give what the step finds in many events together; for processors in `Plan.spills`."""
        found = self.ready().stateful
        assert found is not None  # noqa: S101  asked when the plan was made
        return found


@dataclass(frozen=True, slots=True)
class SinkStage:
    """A sink with its inputs."""

    id: str
    inputs: tuple[str, ...]
    sink: Sink


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole flow, picklable; processors stand in graph order, ids are unique.

    Args:
        sources: What is read; more than the window, where something that lies around it can matter.
        processors: What is found.
        sinks: Where it goes.
        dead_letters: Where records go that can't be processed.
        window: The period that is judged.
        spills: Processor that finds something in many events together → where its matches wait.
    """

    sources: tuple[SourceStage, ...]
    processors: tuple[ProcessorStage, ...]
    sinks: tuple[SinkStage, ...]
    dead_letters: Sink
    window: Window = field(default_factory=Window)
    spills: Mapping[str, Spill] = field(default_factory=dict)
