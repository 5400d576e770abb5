"""Scheduled replays: span after span of the same length, each once, whenever somebody starts them.

A watermark document says up to where all is done. A start works off every whole span from there to now, less
a lag for what comes late: after an outage the gap, else the latest one, or nothing. A span is replayed with
what lies around it and can matter to it, so the spans of a day give what one replay of the day gives.
"""

from __future__ import annotations

from rms_flows.schedule.outlook import Outlook, outlook
from rms_flows.schedule.run import Done, Replayed, scheduled
from rms_flows.schedule.spans import Span, Timetable

__all__ = ["Done", "Outlook", "Replayed", "Span", "Timetable", "outlook", "scheduled"]
