"""Metricbeat documents, 5.x to 8.x: ECS names, and a CPU usage that means the same in all of them."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Context, Decoder, Format
from rms_flows.decode.json_lines import TIMES, Columns, JsonDecoder, Shape, sniff_keys
from rms_flows.decode.json_slow import Column
from rms_flows.decode.kinds import FLOAT, PLAIN

USAGE: Final = "host.cpu.usage"
_SHARES: Final = ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal")
_CPU: Final = frozenset(
    {"system.cpu.total.norm.pct", "system.cpu.total.pct", "system.cpu.cores", "host.cpu.pct", USAGE}
    | {f"system.cpu.{share}.pct" for share in _SHARES}
)
_DATASET: Final = frozenset({"event.dataset", "metricset.module", "metricset.name"})
_NAMES: Final = {"beat.hostname": "host.hostname", "beat.name": "host.name"}


def usage(columns: Columns, rows: int) -> pa.Array:
    """Give the share of all cores in use, 0 to 1, whichever generation wrote it down.

    `total.norm.pct`, else `total.pct / cores` (`total.pct` runs from 0 to the number of cores), else
    `host.cpu.usage`, else `host.cpu.pct`, else 1 - (idle + iowait) / (sum of the eight shares).

    Args:
        columns: As they were written.
        rows: Length of the columns.

    Returns:
        float64, null where a document says nothing of the CPU.
    """

    def number(name: str) -> pa.Array:
        if name not in columns:
            return pa.nulls(rows, pa.float64())
        text = columns[name].text
        good = pc.match_substring_regex(text, r"^\d+(\.\d+)?([eE][+-]?\d+)?$")
        return pc.if_else(good, text, None).cast(pa.float64())

    shares = {share: number(f"system.cpu.{share}.pct") for share in _SHARES}
    total = number("system.cpu.user.pct")
    for share in _SHARES[1:]:
        total = pc.add(total, shares[share])
    idle = pc.divide(pc.add(shares["idle"], shares["iowait"]), _positive(total))
    return pc.coalesce(
        number("system.cpu.total.norm.pct"),
        pc.divide(number("system.cpu.total.pct"), _positive(number("system.cpu.cores"))),
        number(USAGE),
        number("host.cpu.pct"),
        pc.subtract(1.0, idle),
    )


def _positive(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater(values, 0), values, None)


def _needs(needed: frozenset[str]) -> frozenset[str]:
    old = frozenset(name for name, new in _NAMES.items() if new in needed)
    return _DATASET | old | (_CPU if USAGE in needed else frozenset())


def _finish(columns: Columns, context: Context) -> Columns:
    made = dict(columns)
    for old, new in _NAMES.items():
        if old in made and new not in made:
            made[new] = made.pop(old)
    made["event.dataset"] = _dataset(columns)
    if context.columns is None or USAGE in context.columns:
        rows = len(made["event.dataset"].text)
        values = usage(columns, rows)
        if values.null_count < rows:
            kinds = np.where(values.is_valid().to_numpy(zero_copy_only=False), 1 + FLOAT, 0).astype(np.uint8)
            made[USAGE] = Column(values.cast(pa.string()), kinds)
    return made


def _dataset(columns: Columns) -> Column:
    """Give `event.dataset`; before 7.0 it is made of module and name of the metricset."""
    rows = max((len(column.text) for column in columns.values()), default=0)

    def text(name: str) -> pa.Array:
        return columns[name].text if name in columns else pa.nulls(rows, pa.string())

    old = pc.binary_join_element_wise(text("metricset.module"), text("metricset.name"), ".")
    found = pc.coalesce(text("event.dataset"), old)
    return Column(
        found, np.where(found.is_valid().to_numpy(zero_copy_only=False), 1 + PLAIN, 0).astype(np.uint8)
    )


def _sniff(head: bytes) -> int:
    return 80 if sniff_keys(head, b'"metricset"') > 0 else 0


def _open(context: Context) -> Decoder:
    return JsonDecoder(context, Shape(needs=_needs, finish=_finish))


FORMAT = Format("metricbeat", "Metricbeat documents, 5.x to 8.x", "documents", _sniff, _open, TIMES)
