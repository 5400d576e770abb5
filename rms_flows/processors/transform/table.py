"""Tables that events are enriched from: CSV, read once, looked up by equality or by network."""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.conform import conform
from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError
from rms_flows.processors.transform.columns import plain

MOST: Final = 1_000_000
"""Rows of a table; each worker keeps it in memory."""
_WIDTH: Final = 17
"""Bytes of an address as it is sorted: its version and 128 bits."""

Find = Callable[[pa.Array], pa.Array]
"""Distinct texts → the row of each in the table, int64, null where there is none."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is looked up.

    Args:
        find: Gives rows.
        columns: Field → its values by row, of its `plain` type.
    """

    find: Find
    columns: Mapping[str, pa.Array]


def load(path: Path, key: str, fields: Mapping[str, str], match: str, where: str) -> Table:
    """Read a table.

    Args:
        path: CSV with a header, UTF-8.
        key: The column that is looked up.
        fields: Column → the field that it becomes.
        match: `exact`, or `cidr`: the key is a network, the longest that has an address counts.
        where: Names the step in errors.

    Raises:
        DocumentError: It can't be read, lacks a column, has a key twice or a value that doesn't fit.
    """
    rows = _rows(path, {key, *fields}, where)
    keys = [row[key] for row in rows]
    lines: dict[Any, int] = {}
    made: list[Any] = []
    for line, text in enumerate(keys, 2):
        one = text if match == "exact" else _network(text, f"{path.name}: row {line}")
        if one in lines:
            raise DocumentError(
                f"{text!r} stands in the rows {lines[one]} and {line}",
                where=path.name,
                remedy="keep one of them",
            )
        lines[one] = line
        made.append(one)
    columns = {}
    for name, field in fields.items():
        texts = pa.array([row[name] or None for row in rows], pa.string())
        found = conform({field: texts}, {}, Options())
        if found.misfits is not None:
            at = int(np.flatnonzero(found.misfits.is_valid().to_numpy(zero_copy_only=False))[0])
            raise DocumentError(
                f"{rows[at][name]!r} does not fit {field}, which holds {plain(field)}",
                where=f"{path.name}: row {at + 2}",
                remedy="mend it, or name another field",
            )
        columns[field] = found.columns[field].cast(plain(field))
    find = partial(_equal, pa.array(made, pa.string())) if match == "exact" else _Networks(made)
    return Table(find, columns)


def _rows(path: Path, wanted: set[str], where: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            if lacks := sorted(wanted - set(names)):
                raise DocumentError(
                    f"the table {path.name!r} has no column {lacks[0]!r}",
                    where=where,
                    remedy=f"it has {', '.join(names) or 'none'}",
                )
            rows: list[dict[str, str]] = []
            for row in reader:
                if None in row or None in row.values():
                    raise DocumentError(
                        f"the row has another number of values than the header ({len(names)})",
                        where=f"{path.name}: row {len(rows) + 2}",
                        remedy="put quotes around values with commas",
                    )
                rows.append(row)
                if len(rows) > MOST:
                    raise DocumentError(
                        f"the table {path.name!r} has more than {MOST:,} rows",
                        where=where,
                        remedy="make it smaller",
                    )
    except OSError as error:
        raise DocumentError(
            f"the table {path.name!r} can't be read ({error.strerror})", where=where, remedy="check the path"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DocumentError(
            f"the table {path.name!r} is no CSV in UTF-8 ({error})", where=where, remedy="write it anew"
        ) from None
    return rows


def looked_up(values: pa.Array, find: Find) -> pa.Array:
    """Give the row of each value, of a list that of the first of its values that has one.

    Args:
        values: string or list of string.
        find: Of the table.
    """
    if not pa.types.is_list(values.type):
        words = values.dictionary_encode()
        return find(words.dictionary).take(words.indices)
    inner = looked_up(values.flatten(), find)
    there = pc.is_valid(inner)
    parents = pc.list_parent_indices(values).filter(there).to_numpy()
    rows, first = np.unique(parents, return_index=True)
    found = np.full(len(values), -1)
    found[rows] = inner.filter(there).to_numpy()[first]
    return pa.array(found, mask=found < 0)


def _equal(keys: pa.Array, texts: pa.Array) -> pa.Array:
    return pc.index_in(texts, value_set=keys).cast(pa.int64())


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise DocumentError(
            f"no network ({error})", where=where, remedy="write one such as 10.0.0.0/8 or fd00::/8"
        ) from None


class _Networks:
    """Finds the longest network of addresses, in the sorted ranges that networks within networks leave."""

    def __init__(self, networks: list[Network]) -> None:
        order = sorted(range(len(networks)), key=lambda row: (_first(networks[row]), networks[row].prefixlen))
        starts, owners, open_ = [0], [-1], list[int]()

        def begin(at: int, row: int) -> None:
            starts.append(at)
            owners.append(row)

        def close(before: int) -> None:
            while (
                open_ and (end := _first(networks[open_[-1]]) + networks[open_[-1]].num_addresses) <= before
            ):
                open_.pop()
                begin(end, open_[-1] if open_ else -1)

        for row in order:
            close(_first(networks[row]))
            begin(_first(networks[row]), row)
            open_.append(row)
        close(1 << 8 * _WIDTH)
        self._starts = np.array([_sortable(start) for start in starts], f"S{_WIDTH}")
        self._owners = np.array(owners)

    def __call__(self, texts: pa.Array) -> pa.Array:
        addresses = [_address(text) for text in texts.to_pylist()]
        at = np.searchsorted(self._starts, np.array(addresses, f"S{_WIDTH}"), "right") - 1
        found = self._owners[at]
        return pa.array(found, mask=found < 0)


def _first(network: Network) -> int:
    return network.version << 128 | int(network.network_address)


def _sortable(number: int) -> bytes:
    return number.to_bytes(_WIDTH, "big")


def _address(text: str) -> bytes:
    """Give an address as it is sorted, what is none before all networks."""
    try:
        one = ipaddress.ip_address(text)
    except ValueError:
        return b""
    if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None:
        one = one.ipv4_mapped
    return _sortable(one.version << 128 | int(one))
