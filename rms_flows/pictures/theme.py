"""One look for all pictures: read on light and on dark paper, and by those who see colors otherwise."""

from __future__ import annotations

import sys
from typing import Any, Final

LEVELS: Final = ("critical", "high", "medium", "low", "informational")
"""From grave to light."""

COLORS: Final = ("#b602f4", "#c74d47", "#c28516", "#257ab5", "#797f88")
"""One a level: 3 : 1 and more against white and against the dark page; far apart with any color blindness."""

SOFT: Final = "#808690"
"""Text, lines and all that isn't data: reads on light and on dark."""

CALM: Final = "#257ab5"
"""What is as usual."""

ALARM: Final = "#c74d47"
"""What is not."""

UTC: Final = "time (UTC)"


_SLOW: Final = "rfc3987_syntax"
"""Checks IRIs for jsonschema, which Altair imports; builds 40 grammars for that, two seconds of three."""


def altair() -> Any:
    """Give Altair, which takes a second that who draws nothing does not pay.

    Where nobody has imported jsonschema before, it is left without its check of IRIs, as in most
    installations: no picture has one, and JupyterLab, which wants it, runs in another process.
    """
    apart = not {"jsonschema", _SLOW} & sys.modules.keys()
    if apart:
        sys.modules[_SLOW] = None  # type: ignore[assignment]
    try:
        import altair as alt  # noqa: PLC0415
    finally:
        if apart:
            del sys.modules[_SLOW]
    return alt


def style() -> dict[str, Any]:
    """Give Vega-Lite's configuration; background and width are the page's."""
    return {
        "background": "transparent",
        "view": {"stroke": None, "continuousWidth": 560},
        "axis": {
            "labelColor": SOFT,
            "titleColor": SOFT,
            "gridColor": f"{SOFT}33",
            "domainColor": SOFT,
            "tickColor": SOFT,
        },
        "legend": {"labelColor": SOFT, "titleColor": SOFT},
        "title": {"color": SOFT, "anchor": "start", "fontWeight": "normal"},
        "header": {"labelColor": SOFT, "titleColor": SOFT},
        "rule": {"color": SOFT},
        "text": {"color": SOFT},
    }


def by_level(alt: Any, legend: Any = None) -> Any:
    """Color by level; told apart also by their order."""
    scale = alt.Scale(domain=list(LEVELS), range=list(COLORS))
    return alt.Color("level:N", scale=scale, legend=legend)


def counted(alt: Any, field: str) -> Any:
    """Color by a count: more is stronger, on light and on dark paper."""
    scale = alt.Scale(range=[f"{CALM}22", CALM, "#b602f4"], type="symlog")
    return alt.Color(f"{field}:Q", scale=scale, legend=alt.Legend(title=field))
