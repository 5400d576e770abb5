"""What the mappings of an index pattern say of its documents: which fields, and where their time stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rms_flows.errors import SourceError

META: Final = "rms_flows"
"""Key of a mapping's `_meta` that says what we keep in the index."""

OBSERVATIONS: Final = "observations"

_DATES: Final = frozenset({"date", "date_nanos"})
_OPAQUE: Final = frozenset({"flattened", "nested"})
_LIMIT: Final = 1_000
"""Fields of a mapping, subfields included, behind which a server may leave further ones out."""

_NOT_STORED: Final = frozenset({"alias"})


@dataclass(frozen=True, slots=True)
class Fields:
    """The mappings of all indices that a pattern names.

    Args:
        indices: Their names, sorted.
        kinds: Dotted name of a field → its type → the indices in which it has this type; multi-fields and
            aliases left out, as no document holds them.
        whole: Whether documents hold no other fields than these.
        archived: Whether we wrote the indices.
        where: The source, for messages.
    """

    indices: Sequence[str]
    kinds: Mapping[str, Mapping[str, Sequence[str]]]
    whole: bool
    archived: bool
    where: str

    def time(self, names: Sequence[str]) -> str | None:
        """Give the field that the server can search for the time of events; None where there is none.

        Args:
            names: Where the time of an event stands: the first of these that it has.

        Raises:
            SourceError: The field is a date in some of the indices and something else in others.
        """
        name = next((name for name in names if name in self.kinds), None)
        if name is None or (name != names[0] and not self.whole):  # a document may have another one, unseen
            return None
        found = self.kinds[name]
        if found.keys().isdisjoint(_DATES):
            return None
        for other in sorted(found.keys() - _DATES):
            date = min(_DATES & found.keys())
            raise SourceError(
                f"{name!r} is mapped as {date} in {found[date][0]} and as {other} in {found[other][0]}",
                where=self.where,
                remedy=f"read them as two sources, or leave some out with PATTERN,-{found[other][0]}",
            )
        return name

    def nanoseconds(self, name: str) -> bool:
        """Tell whether a date is kept in nanoseconds somewhere."""
        return "date_nanos" in self.kinds[name]


def read(answer: Mapping[str, Any], where: str) -> Fields:
    """Read what `GET PATTERN/_mapping` answers.

    Raises:
        SourceError: There is no index, one keeps no documents, or we wrote only some of them.

    Example:
        >>> kinds = {"properties": {"a": {"properties": {"b": {"type": "ip"}}}, "c": {"type": "keyword"}}}
        >>> {name: list(types) for name, types in read({"logs": {"mappings": kinds}}, "logs").kinds.items()}
        {'a.b': ['ip'], 'c': ['keyword']}
    """
    if not answer:
        raise SourceError(
            "no index has such a name", where=where, remedy="GET _cat/indices lists those that are there"
        )
    fields: dict[str, dict[str, list[str]]] = {}
    whole = True
    for index, entry in sorted(answer.items()):
        mapping = entry["mappings"]
        if not mapping.get("_source", {}).get("enabled", True):
            raise SourceError(
                f"the index {index} keeps no documents (its mapping says _source.enabled: false)",
                where=where,
                remedy="index the events again with _source, or leave it out",
            )
        whole = whole and _is_whole(mapping) and _size(mapping) < _LIMIT
        for name, kind in _leaves(mapping, ""):
            fields.setdefault(name, {}).setdefault(kind, []).append(index)
    ours = [index for index, entry in sorted(answer.items()) if _is_ours(entry["mappings"])]
    if ours and len(ours) < len(answer):
        other = next(index for index in sorted(answer) if index not in ours)
        raise SourceError(
            f"{ours[0]} is an index of ours and {other} is not: their documents are read in different ways",
            where=where,
            remedy="read them apart, as two sources",
        )
    return Fields(sorted(answer), fields, whole, bool(ours), where)


def _is_ours(mapping: Mapping[str, Any]) -> bool:
    return bool(mapping.get("_meta", {}).get(META) == OBSERVATIONS)


def _is_whole(mapping: Mapping[str, Any]) -> bool:
    """Tell whether each field of a document comes to be in the mapping."""
    if mapping.get("type") in _OPAQUE or mapping.get("enabled") is False:
        return False
    if str(mapping.get("dynamic", "true")).lower() in {"false", "runtime"}:
        return False
    return all(map(_is_whole, mapping.get("properties", {}).values()))


def _size(mapping: Mapping[str, Any]) -> int:
    inner = [*mapping.get("properties", {}).values(), *mapping.get("fields", {}).values()]
    return len(inner) + sum(map(_size, inner))


def _leaves(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for own, field in mapping.get("properties", {}).items():
        name = f"{prefix}{own}"
        kind = field.get("type", "object")
        if "properties" in field:
            yield from _leaves(field, f"{name}.")
        if kind not in _NOT_STORED and (kind != "object" or "properties" not in field):
            yield name, kind
