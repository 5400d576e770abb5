"""Labels are read, from YAML or CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rms_flows.errors import DocumentError
from rms_flows.model import Incident, Truth, load

COLUMNS = ("kind", "entity", "start", "end", "rules")
"""Of a CSV file; `entity` and `rules` (separated by `;`) may be empty or absent."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: dict[str, str]


def read_truth(path: Path) -> Truth:
    """Read labels, YAML or JSON (`rms schema Truth`) or, by its ending, CSV.

    Raises:
        DocumentError: The file can't be read, or is not what it has to be.
    """
    if path.suffix != ".csv":
        return load(path, Truth)
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            unknown = sorted({*(reader.fieldnames or ())} - {*COLUMNS})
            rows = [_Row(reader.line_num, dict(row)) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"can't be read ({error})", where=str(path), remedy="check path and rights"
        ) from None
    if unknown:
        raise DocumentError(
            f"no column of labels is called {unknown[0]!r}",
            where=str(path),
            remedy=f"use {', '.join(COLUMNS)}",
        )
    if not rows:
        raise DocumentError(
            "holds no incident", where=str(path), remedy=f"write lines of {', '.join(COLUMNS)}"
        )
    return Truth(truth=path.stem, incidents=tuple(_incident(row, path) for row in rows))


def _incident(row: _Row, path: Path) -> Incident:
    cells: dict[str, object] = {name: value for name, value in row.cells.items() if value}
    if isinstance(rules := cells.get("rules"), str):
        cells["rules"] = tuple(rules.split(";"))
    try:
        return Incident.model_validate(cells)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise DocumentError(
            f"{name or 'the interval'}: {fault['msg'].removeprefix('Value error, ')}",
            where=f"{path}:{row.line}",
            remedy=f"write {', '.join(COLUMNS)}, times as 2026-01-31T12:00:00Z",
        ) from None
