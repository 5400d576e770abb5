"""How a batch of rows crosses between workers: as Arrow IPC.

Beam's default would pickle it, and a pickled slice takes the buffers of its whole parent along.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa


class RecordBatchCoder(beam.coders.Coder):  # type: ignore[misc]  # Beam has no types
    """Writes a batch with schema, metadata and dictionaries; a slice costs what the slice holds.

    Not deterministic: equal rows may have their dictionaries in another order, so a batch can't be a key.

    Example:
        >>> batch = pa.RecordBatch.from_pydict({"n": list(range(100_000))})
        >>> coder = RecordBatchCoder()
        >>> len(coder.encode(batch.slice(7, 10))) < 1_000
        True
        >>> coder.decode(coder.encode(batch.slice(7, 2))).to_pydict()
        {'n': [7, 8]}
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """Give the bytes of an IPC stream of one batch."""
        compact = _without_unused_words(value)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, compact.schema) as writer:
            writer.write_batch(compact)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """Give the batch back; its columns share the memory of `encoded`."""
        with pa.ipc.open_stream(pa.py_buffer(encoded)) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Give about the size of what `encode` gives; Beam asks for samples, and would encode them."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """Tell Beam that a batch can't be a key."""
        return False

    def to_type_hint(self) -> Any:
        """Tell Beam what this coder is for."""
        return pa.RecordBatch

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def _without_unused_words(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Shrink dictionaries that hold more words than the batch has rows: IPC writes a dictionary whole."""
    columns = [
        column.dictionary_decode().dictionary_encode().cast(column.type)
        if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
