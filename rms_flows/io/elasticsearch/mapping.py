"""What type a column has in our indices: made from `schema`, so that one name has one type there too.

Elasticsearch's types say less than ours: `date` counts milliseconds, and `ip` knows addresses only. What a
document holds is what the batch held, to the microsecond; the types are for those who search.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import pyarrow as pa

from rms_flows import schema
from rms_flows.io.elasticsearch.fields import META, OBSERVATIONS

LONGEST: Final = 8191
"""Characters of a text that is indexed as a whole: as many as fit a term whatever they are."""

_ADDRESSES: Final = ("*.ip", "rms.monitored_asset_ip")
_LONG_TEXTS: Final = (
    "process.command_line",
    "process.parent.command_line",
    "url.full",
    "url.original",
    "CommandLine",
    "ParentCommandLine",
    "ScriptBlockText",
)
"""Rules look inside these: `wildcard` finds parts of a text faster than `keyword` does."""


def observations(index: str, *, wildcard: bool) -> dict[str, Any]:
    """Give the template of the daily indices of observations.

    Names are kept as they are (`subobjects: false`): a source may have both `host` and `host.name`.

    Args:
        index: What their names begin with.
        wildcard: The server has the type `wildcard`.
    """
    known = {
        **_leaves(schema.REPORT),
        **schema.FIELDS,
        **schema.OPTIONAL_ENVELOPE,
        **schema.ENVELOPE,
        **dict.fromkeys(sorted(schema.LOW_VARIETY), schema.DICTIONARY),
        **(dict.fromkeys(_LONG_TEXTS, pa.string()) if wildcard else {}),
    }
    patterns = [*schema.PATTERNS, *((name, pa.string()) for name in _ADDRESSES), ("*", pa.string())]
    mappings = {
        "_meta": {META: OBSERVATIONS},
        "subobjects": False,
        "date_detection": False,
        "properties": {name: field(name, kind, wildcard=wildcard) for name, kind in known.items()},
        "dynamic_templates": [
            {pattern: {"path_match": pattern, "mapping": field(pattern, kind, wildcard=wildcard)}}
            for pattern, kind in patterns
        ],
    }
    return _template(
        index, f"{index}-*", mappings, {"mapping.total_fields.ignore_dynamic_beyond_limit": True}
    )


def reports(index: str, *, wildcard: bool) -> dict[str, Any]:
    """Give the template of the index of threat reports, which takes nothing that a report doesn't have."""
    names: dict[str, Any] = {"event.kind": field("event.kind", schema.DICTIONARY, wildcard=wildcard)}
    names |= {one.name: field(one.name, one.type, wildcard=wildcard) for one in schema.REPORT}
    return _template(index, index, {"dynamic": "strict", "properties": names}, {})


def _leaves(columns: pa.Schema) -> dict[str, pa.DataType]:
    """Name the columns, and in place of a list of objects what is in these, as it is without objects."""
    found: dict[str, pa.DataType] = {}
    for one in columns:
        if pa.types.is_list(one.type) and pa.types.is_struct(one.type.value_type):
            found |= {f"{one.name}.{inner.name}": inner.type for inner in one.type.value_type}
        else:
            found[one.name] = one.type
    return found


def _template(
    index: str, pattern: str, mappings: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "index_patterns": [pattern],
        # Of two that match, that of the longer name is meant; all go before those that servers come with.
        "priority": 300 + len(index),
        "template": {
            "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1", **settings},
            "mappings": mappings,
        },
    }


def field(name: str, kind: pa.DataType, *, wildcard: bool) -> dict[str, Any]:
    """Give the mapping of a column.

    Args:
        name: Of the column, or a pattern of names.
        kind: Its type in batches.
        wildcard: The server has the type `wildcard`.

    Example:
        >>> field("source.port", schema.field_type("source.port"), wildcard=False)
        {'type': 'long'}
    """
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        inner = {one.name: field(one.name, one.type, wildcard=wildcard) for one in kind.value_type}
        return {"type": "nested", "properties": inner}
    if pa.types.is_list(kind):
        return field(name, kind.value_type, wildcard=wildcard)
    plain = next((word for test, word in _PLAIN if test(kind)), None)
    if plain:
        return {"type": plain}
    if any(fnmatchcase(name, pattern) for pattern in _ADDRESSES):
        return {"type": "ip", "ignore_malformed": True}
    whole = {"type": "keyword", "ignore_above": LONGEST}
    if name == "message":
        return {"type": "text", "fields": {"keyword": whole}}
    return {**whole, "type": "wildcard"} if wildcard and name in _LONG_TEXTS else whole


_PLAIN: Final = (
    (pa.types.is_timestamp, "date"),
    (pa.types.is_integer, "long"),
    (pa.types.is_floating, "double"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_binary, "binary"),
)
