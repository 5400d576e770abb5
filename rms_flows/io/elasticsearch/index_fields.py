"""How the fields that rules look at are indexed: what the server can tell of them, and what it can't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["text", "whole", "number", "flag", "address", "date", "present", "nowhere", "unknown"]
"""What can be asked: `whole` texts, numbers, flags, addresses; of a `date`, of analyzed `text` and of what is
indexed in several ways only whether it is `present`; what is `nowhere` is in no document; the rest is
`unknown`."""

_KINDS: Final[Mapping[str, Kind]] = {
    "keyword": "whole",
    "wildcard": "whole",
    "text": "text",
    "match_only_text": "text",
    "long": "number",
    "double": "number",
    "boolean": "flag",
    "ip": "address",
    "date": "date",
    "date_nanos": "date",
}
_CHANGED: Final = frozenset({"normalizer", "null_value", "copy_to", "script", "split_queries_on_whitespace"})
"""Settings by which a field is indexed as something else than what the document holds."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """One field.

    Args:
        kind: What can be asked of it.
        name: Where: itself, or the multi-field that holds it as a whole.
    """

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class IndexFields:
    """The mappings of all indices of a pattern.

    Args:
        mappings: Of each index.
        faithful: Documents hold observations as they are judged: we wrote them.
        given: Columns that don't come from the document, or not only.
    """

    mappings: tuple[Mapping[str, Any], ...]
    faithful: bool
    given: frozenset[str]
    _known: dict[str, Indexed] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> Indexed:
        """Tell how a field is indexed, in all indices together."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Indexed:
        if name in self.given or name.startswith("document.rms."):  # it is `rms.` there
            return Indexed("unknown", name)
        found = {_indexed(mapping, name) for mapping in self.mappings}
        known = {one for one in found if one.kind != "nowhere"}
        if any(one.kind == "unknown" or (one.kind == "number" and not self.faithful) for one in known):
            return Indexed("unknown", name)  # a server that coerces takes the empty text for no number
        if len(known) == 1 or not known:
            return next(iter(known), Indexed("nowhere", name))
        return Indexed("present", name)


def _indexed(mapping: Mapping[str, Any], name: str) -> Indexed:
    """Tell it of one index."""
    if any(name == one or name.startswith(f"{one}.") for one in mapping.get("runtime", {})):
        return Indexed("unknown", name)
    for path, settings in _ways(mapping, name):
        if path == name and "properties" not in settings and settings.get("type", "object") != "object":
            return _leaf(name, settings)
        return Indexed("unknown", name)  # an object, or within something that keeps its own
    return Indexed("nowhere" if _grows(mapping, name) else "unknown", name)


def _ways(mapping: Mapping[str, Any], name: str, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give what stands at a name, or at a part of its path that is no plain object."""
    for own, settings in mapping.get("properties", {}).items():
        path = prefix + own
        if path == name:
            yield path, settings
        elif name.startswith(f"{path}."):
            if settings.get("type", "object") == "object":
                yield from _ways(settings, name, f"{path}.")
            else:
                yield path, settings


def _grows(mapping: Mapping[str, Any], name: str, prefix: str = "") -> bool:
    """Tell whether a field of this name would be in the mapping if a document had it."""
    if mapping.get("enabled") is False or str(mapping.get("dynamic", "true")).lower() in {"false", "runtime"}:
        return False
    return all(
        _grows(settings, name, f"{prefix}{own}.")
        for own, settings in mapping.get("properties", {}).items()
        if name.startswith(f"{prefix}{own}.")
    )


def _leaf(name: str, settings: Mapping[str, Any]) -> Indexed:
    kind: Kind = _KINDS.get(str(settings["type"]), "unknown")
    if kind == "unknown" or settings.get("index") is False or _CHANGED & settings.keys():
        return Indexed("unknown", name)
    if kind == "text":
        for own, inner in settings.get("fields", {}).items():
            if _KINDS.get(str(inner["type"])) == "whole" and not _CHANGED & inner.keys():
                return Indexed("whole", f"{name}.{own}")
    return Indexed(kind, name)
