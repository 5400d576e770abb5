"""Parameters of a manifest are checked against the definition before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rms_flows.errors import DocumentError
from rms_flows.model import ProcessorDefinition

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "list": (list, tuple),
    "object": (dict,),
    "any": (object,),
}


def check(definition: ProcessorDefinition, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check parameters and fill in defaults.

    Args:
        definition: What the processor declares.
        given: What the manifest sets.
        where: Names the manifest in errors.

    Raises:
        DocumentError: A parameter is unknown, missing or of another type.

    Example:
        >>> from rms_flows.model import Parameter
        >>> definition = ProcessorDefinition(name="f", parameters=[Parameter(name="top", dataType="integer")])
        >>> check(definition, {"top": "three"}, "flow.yaml: f")
        Traceback (most recent call last):
        ...
        rms_flows.errors.DocumentError: flow.yaml: f.top: expected a value of type integer, not 'three'; see \
`rms processors f`
    """
    known = {parameter.name: parameter for parameter in definition.parameters}
    remedy = f"see `rms processors {definition.name}`"
    for name, value in given.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise DocumentError(
                f"no such parameter of {definition.name!r}; it takes {names}",
                where=f"{where}.{name}",
                remedy=remedy,
            )
        kind = known[name].dataType
        fits = isinstance(value, _TYPES[kind]) and (kind in {"boolean", "any"} or not isinstance(value, bool))
        if not fits:
            raise DocumentError(
                f"expected a value of type {kind}, not {value!r}", where=f"{where}.{name}", remedy=remedy
            )
    for name, parameter in known.items():
        if parameter.required and name not in given:
            raise DocumentError(f"the parameter {name!r} is missing", where=where, remedy=remedy)
    defaults = {n: p.defaultValue for n, p in known.items() if p.defaultValue is not None}
    return {**defaults, **given}


def inside(folder: Path, path: str, where: str) -> Path:
    """Resolve a path of a document, which can't leave the document's folder unless it is absolute here.

    Args:
        folder: Of the document.
        path: As the document has it.
        where: Names the parameter in errors.

    Raises:
        DocumentError: It leads out.
    """
    whole = folder / path
    if not whole.resolve().is_relative_to(folder.resolve()):
        raise DocumentError(
            f"the path {path!r} leaves the folder of the document", where=where, remedy="move it inside"
        )
    return whole
