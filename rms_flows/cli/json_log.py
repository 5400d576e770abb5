"""What a command says as lines of JSON on standard error, for collectors of logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rms_flows.errors import FlowError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@contextmanager
def json_log(flow: str) -> Iterator[FilteringBoundLogger]:
    """Give a log of `event`, `level`, `timestamp`, `flow` and what belongs to the event, one line each.

    What is logged the plain way meanwhile, such as that brokers are away, goes there too, and nowhere else.

    Raises:
        FlowError: The library is not installed.
    """
    try:
        import structlog
    except ImportError:
        raise FlowError(
            "--log json needs structlog, which is not installed", remedy="pip install 'rms-flows[monitor]'"
        ) from None
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(flow=flow)
    root = logging.getLogger()
    before, root.handlers = root.handlers, [_Passing(log)]
    try:
        yield log
    finally:
        root.handlers = before


class _Passing(logging.Handler):
    """Gives what is logged the plain way to a structured log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self._log.log(record.levelno, "logged", text=record.getMessage(), logger=record.name)
