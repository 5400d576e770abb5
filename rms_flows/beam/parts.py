"""The number of the fragment that a batch came of: it travels in the schema's metadata, names a sink's parts.

Parts named by fragment are the same however the fragments are spread over workers, and a bundle that is tried
again replaces the parts of the first attempt.
"""

from __future__ import annotations

import pyarrow as pa

_KEY = b"rms.part"


def with_part(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """Mark a batch as made of fragment `number` of the run."""
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), _KEY: b"%d" % number})


def part_of(batch: pa.RecordBatch) -> int:
    """Give the number of the fragment that a batch came of.

    Example:
        >>> part_of(with_part(pa.RecordBatch.from_pydict({"a": [1]}), 12))
        12
    """
    return int(batch.schema.metadata[_KEY])


def without_part(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Take the mark off, so that it is not stored."""
    rest = {key: value for key, value in (batch.schema.metadata or {}).items() if key != _KEY}
    return batch.replace_schema_metadata(rest or None)
