"""Runtime monitoring of IoT security: one set of rules over streams, replays and notebooks.

In a notebook::

    import rms_flows as rms

    history = rms.open("parquet:archive", start="2026-03-01")
    history.profile()
    found = history.detect(rms.rules("rules"))
    found.where({"rule.level": "high"}).evidence()

Importing the package costs nothing: each name is loaded when it is used first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rms_flows.version import __version__ as __version__

if TYPE_CHECKING:
    from rms_flows.notebook import (
        Archive,
        Backtest,
        Comparison,
        Events,
        Explained,
        Found,
        Picture,
        Profile,
        Reports,
        Rule,
        Rules,
        Tail,
        Truth,
        open,  # noqa: A004
        rule,
        rules,
        run,
        tail,
    )

__all__ = [
    "Archive",
    "Backtest",
    "Comparison",
    "Events",
    "Explained",
    "Found",
    "Picture",
    "Profile",
    "Reports",
    "Rule",
    "Rules",
    "Tail",
    "Truth",
    "open",
    "rule",
    "rules",
    "run",
    "tail",
]


def __getattr__(name: str) -> Any:
    """Load a name of the public face."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from rms_flows import notebook  # noqa: PLC0415  Beam, Arrow and Sigma are loaded by who uses them

    return getattr(notebook, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
