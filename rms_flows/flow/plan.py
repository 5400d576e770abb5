"""What a worker has to know to lay the corridor. Knows no Beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from rms_flows.io.contract import Request, Sink, Source, Window
from rms_flows.processors.contract import Step

Function = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class SourceStage:
    """A source ready to be read.

    Args:
        id: Its id in the orchestrator.
        source: Where it lies.
        request: What the stages behind it need of it.
        annotator: Makes the function that puts what is known of the probe on its batches.
    """

    id: str
    source: Source
    request: Request
    annotator: Callable[[], Function]


@dataclass(frozen=True, slots=True)
class ProcessorStage:
    """A processor with its inputs (ids of sources and of processors before it).

    Args:
        id: Its id in the orchestrator.
        inputs: What it reads.
        ready: Makes its step where it runs; the same step for the same stage within a process.
    """

    id: str
    inputs: tuple[str, ...]
    ready: Callable[[], Step]

    def function(self) -> Function:
        """Make the plain function of the step."""
        return self.ready().run


@dataclass(frozen=True, slots=True)
class SinkStage:
    """A sink with its inputs."""

    id: str
    inputs: tuple[str, ...]
    sink: Sink


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole flow, picklable; processors stand in graph order, ids are unique."""

    sources: tuple[SourceStage, ...]
    processors: tuple[ProcessorStage, ...]
    sinks: tuple[SinkStage, ...]
    dead_letters: Sink
    window: Window = field(default_factory=Window)
