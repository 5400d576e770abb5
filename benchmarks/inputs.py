"""What several benchmarks read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rms_flows.io.contract import Late, Request
from rms_flows.processors import Step


def datasets() -> Path:
    """Give the folder of real data, or end with a word on how to name it."""
    named = os.environ.get("RMS_DATASETS")
    if not named or not (Path(named) / "windows_events").is_dir():
        sys.exit("RMS_DATASETS names no folder of real data (see datasets/public.yaml)")
    return Path(named)


def windows_zips() -> list[Path]:
    """Give the archives of Windows events."""
    return sorted((datasets() / "windows_events").glob("*.zip"))


def request_of(step: Step) -> Request:
    """Ask a source for what a step needs, as a flow with this step alone does."""
    search = step.search
    return Request(step.columns, late=None if search is None else Late(frozenset(), (lambda: search,)))
