"""Who looks at what: links from rules and correlations to correlations, and matches that go along them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.correlate.match import build, hashes, identify, shard_of
from rms_flows.correlate.spec import NUMERIC, Correlation, Input, Key
from rms_flows.correlate.state import Rows, none
from rms_flows.processors.group import folded_hashes, mixed, objects, parsed

_group: Final = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class Link:
    """A correlation that looks at the matches of a rule or of another correlation."""

    number: int
    bit: int
    group: tuple[str, ...]  # fields
    names: tuple[str, ...]  # what the group calls them
    value: tuple[str, ...]


def link_of(number: int, bit: int, one: Correlation, source: Input) -> Link:
    """Give the link from an input to its correlation."""
    if one.kind == "new_terms":  # what is new for a key is a group with it
        return Link(number, bit, (*source.group, *one.fields), (*one.group_by, *one.fields), ())
    return Link(number, bit, source.group, one.group_by, one.fields)


def chained(found: pa.RecordBatch, named: pa.Array, link: Link, one: Correlation) -> pa.RecordBatch:
    """Make matches of what an inner correlation found.

    Args:
        found: `correlate.found.FOUND`.
        named: The ids of its reports.
        link: To the correlation that looks at it.
        one: That correlation.
    """
    groups = [_group(text) for text in found.column("group").to_pylist()]
    numeric = link.value[0] if link.value and one.kind in NUMERIC else None
    rows = [
        row
        for row, group in enumerate(groups)
        if {*link.group, *link.value} <= group.keys()
        and (numeric is None or math.isfinite(parsed(group[numeric])))
    ]

    def texts(name: str) -> pa.Array:
        return pa.array([groups[row][name] for row in rows], pa.string())

    value = np.zeros(len(rows), np.uint64)
    if numeric is not None:
        value = np.array([parsed(text) for text in texts(numeric).to_pylist()], np.float64).view(np.uint64)
    else:
        for name in link.value:
            value = mixed(value, folded_hashes(texts(name)))
    names = objects(link.names, [texts(name) for name in link.group])
    if not link.names:
        names = names.take(pa.array(np.zeros(len(rows), np.int64)))
    kept = pa.array(rows, pa.int64())
    time, of = found.column("time").take(kept), identify(named.take(kept))
    return build(link.number, link.bit, time, of, hashes(names), names, value.view(np.int64))


@dataclass(frozen=True, slots=True)
class Expected:
    """The keys of a `flatline`: as rows where their silence begins before any event."""

    group: np.ndarray
    rows: Rows
    groups: np.ndarray
    texts: pa.Array

    def of(self, shard: int, shards: int) -> Expected:
        """Give those of one shard."""
        here = shard_of(self.groups, shards) == shard
        mine = shard_of(self.rows.group, shards) == shard
        return Expected(
            self.group, self.rows.take(mine), self.groups[here], self.texts.filter(pa.array(here))
        )


def expected(one: Correlation, keys: Sequence[Key]) -> Expected:
    """List the keys that a `flatline` waits for."""
    names = [msgspec.json.encode(dict(zip(one.group_by, key.values, strict=True))).decode() for key in keys]
    hashed = hashes(pa.array(names, pa.string()))
    order = np.argsort(hashed)
    begun = [(hashed[place], key.valid_from) for place, key in enumerate(keys) if key.valid_from is not None]
    begun.sort()
    rows = none(one)
    if begun:
        zero = np.zeros(len(begun), np.uint64)
        group = np.array([group for group, _ in begun], np.uint64)
        rows = Rows(group, np.array([time for _, time in begun], np.int64), zero, zero.copy())
    known = np.isin(hashed[order], rows.group)
    texts = pa.array(names, pa.string()).take(pa.array(order))
    return Expected(hashed, rows, hashed[order][known], texts.filter(pa.array(known)))
