"""Rows with anything in them, for tests of what is written."""

from datetime import UTC, datetime

import hypothesis.strategies as st
import pyarrow as pa

from rms_flows import schema

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\t\x00\x1f\x7f/é\u2028'), max_size=8
)
STAMP = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda one: one.replace(tzinfo=UTC))  # noqa: DTZ001
COLUMNS = {
    "@timestamp": STAMP,
    "event.id": TEXT,
    "event.dataset": TEXT,
    "event.original": st.binary(max_size=5),
    "host.ip": st.lists(TEXT, max_size=3),
    "source.port": st.integers(-(2**63), 2**63 - 1),
    "host.cpu.usage": st.floats(allow_nan=False, allow_infinity=False),
    "rms.late": st.booleans(),
    "rms.measurement": st.lists(st.fixed_dictionaries({"name": TEXT, "value": st.floats(0, 1)}), max_size=2),
    'od"d\\': TEXT,
}


@st.composite
def batches(draw):
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, min_size=1))
    columns = {
        name: pa.array(draw(st.lists(st.none() | COLUMNS[name], min_size=rows, max_size=rows))).cast(
            schema.field_type(name)
        )
        for name in names
    }
    batch = pa.record_batch(columns)
    start = draw(st.integers(0, rows))
    return batch.slice(start) if draw(st.booleans()) else batch
