"""Documents by example: every field that is given has to match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rms_flows.errors import DocumentError
from rms_flows.model import Document
from rms_flows.registry.kinds import KINDS, REFERENCES


def fits(example: Any, value: Any) -> bool:
    """Tell whether a value is as an example is, as far as this goes.

    Example:
        >>> fits({"a": {"b": 1}, "c": [{"d": 2}]}, {"a": {"b": 1, "e": 0}, "c": [{"d": 3}, {"d": 2}]})
        True
        >>> fits({"a": 1}, {}), fits([1, 2], [2]), fits(1, True)
        (False, False, False)
    """
    if isinstance(example, Mapping):
        return isinstance(value, Mapping) and all(
            name in value and fits(one, value[name]) for name, one in example.items()
        )
    if isinstance(example, list | tuple):
        return isinstance(value, list) and all(any(fits(one, other) for other in value) for one in example)
    return bool(example == value) and isinstance(example, bool) == isinstance(value, bool)


def check_example(kind: type[Document], example: Mapping[str, Any]) -> None:
    """Refuse fields that documents of a kind don't have: nothing would ever match them.

    Raises:
        DocumentError: Names the field and those that there are.
    """
    embedded = {one.embedded: one.kinds for one in REFERENCES.get(kind.__name__, ())}
    own = {field.alias or name for name, field in kind.model_fields.items()}
    for name, value in example.items():
        if name not in own | embedded.keys():
            raise DocumentError(
                f"a {kind.__name__} has no field {name!r}",
                remedy=f"it may have {', '.join(sorted(own | embedded.keys()))}",
            )
        inner = [
            one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, Mapping)
        ]
        if name in embedded and len(embedded[name]) == 1:
            for one in inner:
                check_example(KINDS[embedded[name][0]], one)
