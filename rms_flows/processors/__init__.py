"""Definition → function: the processors of the project, and those of others by their entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rms_flows.errors import DocumentError
from rms_flows.processors import filter as filter_
from rms_flows.processors import persist, sigma, transform
from rms_flows.processors.contract import Processor, Step
from rms_flows.processors.parameters import check

__all__ = ["Processor", "Step", "make", "processors"]

GROUP = "rms_flows.processors"
"""Entry-point group; each entry is a `Processor`."""


@cache
def processors() -> Mapping[str, Processor]:
    """Give all processors by name; raises DocumentError for an entry point that is none.

    Example:
        >>> sorted(processors())[:3]
        ['filter', 'persist', 'sigma']
    """
    found = {one.PROCESSOR.definition.name: one.PROCESSOR for one in (filter_, sigma, persist, transform)}
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except Exception as error:
            raise DocumentError(
                f"the processor can't be loaded ({error})",
                where=f"{entry.value}",
                remedy="mend or uninstall it",
            ) from error
        if not isinstance(loaded, Processor):
            raise DocumentError(
                f"expected a Processor, not {type(loaded).__name__}",
                where=entry.value,
                remedy="mend or uninstall it",
            )
        if entry.name != loaded.definition.name or entry.name in found:
            raise DocumentError(
                f"the processor {loaded.definition.name!r} is called {entry.name!r}"
                + (", as another one is" if entry.name in found else " by its entry point"),
                where=entry.value,
                remedy="mend or uninstall it",
            )
        found[entry.name] = loaded
    return found


def make(name: str, manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Make the step of a manifest, its parameters checked against the definition.

    Args:
        name: Of the processor.
        manifest_id: Names the manifest in reports and errors.
        parameters: As the document has them.
        folder: Where relative paths in parameters begin.

    Raises:
        DocumentError: No processor is called so, or a parameter is wrong.
    """
    known = processors()
    if name not in known:
        raise DocumentError(
            f"no processor is called {name!r}",
            where=manifest_id,
            remedy=f"there are {', '.join(sorted(known))}",
        )
    processor = known[name]
    return processor.make(manifest_id, check(processor.definition, parameters, manifest_id), folder)
