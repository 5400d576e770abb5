"""A file of confirmed devices: YAML, JSON or CSV, read again when it changes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rms_flows.confirm.contract import Told
from rms_flows.errors import DocumentError, SourceError
from rms_flows.model import ConfirmedProbe, ConfirmedProbes, Key, Trust, parse

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a file at most: a hundred thousand devices."""

COLUMNS: Final = ("id", "macAddress", *Key.model_fields)
"""Of a CSV file; any of them but `id` may be missing."""

_State = tuple[int, int, int]


class Devices:
    """A file of devices, `.yaml`, `.yml` or `.json` (`{probes: [{id: …}]}`) or `.csv`.

    A CSV file has a line for each key, the newest first where a device has had several.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._state: _State | None = None
        self._known: Mapping[str, Trust] = {}

    def ask(self, probe: str, before: Told | None) -> Told:
        """See `ProbeTrust.ask`."""
        del before
        try:
            return Told(self._read().get(probe))
        except DocumentError as error:  # what is wrong with the file is so for all
            raise SourceError(error.problem, where=error.where, remedy=error.remedy) from None

    def all(self) -> Mapping[str, Trust | None]:
        """See `ProbeTrust.all`."""
        return self._read()

    def __reduce__(self) -> tuple[object, ...]:
        """Cross to another process without what was read."""
        return (Devices, (self._path,))

    def _read(self) -> Mapping[str, Trust]:
        try:
            there = self._path.stat()
            state = (there.st_mtime_ns, there.st_size, there.st_ino)
            if state == self._state:
                return self._known
            with self._path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise DocumentError(
                f"can't be read ({error.strerror})", where=self.where, remedy="check path and rights"
            ) from None
        if len(data) > LARGEST:
            raise DocumentError(f"longer than {LARGEST:,} bytes", where=self.where, remedy="split the file")
        if self._path.suffix == ".csv":
            known = _of_csv(data, self.where)
        else:
            known = _by_id(parse(data, ConfirmedProbes, self.where).probes, self.where)
        self._state, self._known = state, known
        return known


def _by_id(probes: Sequence[ConfirmedProbe], where: str) -> dict[str, Trust]:
    found: dict[str, Trust] = {}
    for number, one in enumerate(probes):
        if one.id in found:
            raise DocumentError(
                f"the device {one.id!r} comes twice",
                where=f"{where}: probes[{number}]",
                remedy="keep one, with the keys that it had before in formerKeys",
            )
        found[one.id] = one.trust
    return found


def _of_csv(data: bytes, where: str) -> dict[str, Trust]:
    rows: dict[str, list[dict[str, Any]]] = {}
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = table.fieldnames or ()
        if "id" not in names or not set(names) <= set(COLUMNS):
            raise DocumentError(
                f"the columns are {', '.join(names) or 'none'}",
                where=f"{where}:1",
                remedy=f"there may be {', '.join(COLUMNS)}; id has to be there",
            )
        for row in table:
            if None in row or None in row.values() or not row["id"]:
                raise DocumentError(
                    f"expected {len(names)} cells, the id not empty",
                    where=f"{where}:{table.line_num}",
                    remedy="mend the line",
                )
            key = {name: text for name, text in row.items() if text}
            _checked(key, f"{where}:{table.line_num}")
            del key["id"]
            key.pop("macAddress", None)
            rows.setdefault(row["id"], []).append(key)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DocumentError(f"no CSV ({error})", where=where, remedy="save it as CSV in UTF-8") from None
    return {
        name: Trust.model_validate({**first, "formerKeys": former}) for name, (first, *former) in rows.items()
    }


def _checked(row: Mapping[str, Any], where: str) -> None:
    try:
        ConfirmedProbe.model_validate(row)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DocumentError(
            f"{fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}",
            where=f"{where}: {'.'.join(map(str, fault['loc']))}",
            remedy="write times as 2026-01-31T12:00:00Z",
        ) from None
