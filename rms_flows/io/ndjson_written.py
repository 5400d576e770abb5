"""A file of JSON lines that runs wrote, read again for what they are sorted and folded by."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import SinkError

KEYED: Final = pa.schema(
    [("id", pa.string()), ("rank", pa.int64()), ("line", pa.binary()), ("time", pa.int64())]
)
"""Sorted by these columns, the first row of an id is the one to keep."""

EARLIEST: Final = -(2**63)
"""Time of a line that has none, microseconds."""

_ROWS: Final = 4_096
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def written(path: Path) -> Iterator[pa.RecordBatch]:
    """Give the lines of a file with their keys (`KEYED`); none where there is no file.

    Raises:
        SinkError: A line is no JSON object, or its time is none.
        OSError: It can't be read.
    """
    if not path.exists():
        return
    packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with path.open("rb") as file, pa.input_stream(file, packed) as stream:
        lines = enumerate(io.BufferedReader(stream), 1)
        while some := list(islice(lines, _ROWS)):
            yield _keyed([(number, line.rstrip(b"\n")) for number, line in some], str(path))


def _keyed(lines: list[tuple[int, bytes]], where: str) -> pa.RecordBatch:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    number = lines[0][0]
    try:
        found: list[dict[str, Any]] = []
        for number, line in lines:  # noqa: B007  the error names the last
            found.append(decode(line))
        times = pa.array([_either(one, "@timestamp", "_timestamp") for one in found], pa.string())
        return pa.record_batch(
            [
                pa.array([_either(one, "event.id", "id") or "" for one in found], pa.string()),
                pa.array([-(_either(one, "rms.revision", "revision") or 0) for one in found], pa.int64()),
                pa.array([line for _, line in lines], pa.binary()),
                pc.fill_null(times.cast(_TIMESTAMP).cast(pa.int64()), EARLIEST),
            ],
            schema=KEYED,
        )
    except (msgspec.DecodeError, UnicodeDecodeError, pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise SinkError(
            f"holds what no run wrote ({error})",
            where=f"{where}:{number}",
            remedy="move the file away, or name another",
        ) from None


def _either(document: dict[str, Any], name: str, other: str) -> Any:
    """Take a value by its name here or, in a document of IoTAC, there."""
    return document.get(name, document.get(other))
