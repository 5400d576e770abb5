"""Pictures of threat reports: when, how grave, by which rule, from whom, by which tactic."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.pictures import bins
from rms_flows.pictures.picture import Picture
from rms_flows.pictures.theme import LEVELS, UTC, altair, by_level, counted

TOP: Final = 15
"""Most bars or rows of a picture; what is left stands in one called `others`."""

BINS: Final = 60
"""Most bars over time."""

_SPARSE: Final = {"labelOverlap": True, "labelSeparation": 8}
"""Times on an axis don't touch."""

_GRAVE: Final = f"indexof({list(LEVELS)}, datum.level)"
_ORDER: Final = "grave:Q"
"""Bars are stacked from grave to light."""

_ROW: Final = 20
"""Height of a bar or row with what is around it; said, as a page can't fit pictures whose height isn't."""

TACTICS: Final = (
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "stealth",
    "defense-evasion",
    "defense-impairment",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
)
"""ATT&CK's, in its order."""


def timeline(reports: pa.Table) -> Picture:
    """Draw reports over time by level; what is brushed in the lower part is seen closer in the upper.

    Args:
        reports: `schema.REPORT`, at least one.
    """
    alt = altair()

    times = bins.micros(reports["@timestamp"])
    close, wide = (_over_time(reports, times, bins.step_of(times, most)) for most in (10 * BINS, BINS))
    brush = alt.selection_interval(encodings=["x"], name="period")
    axis = alt.Axis(format=bins.shown(times), **_SPARSE)
    utc = alt.Scale(type="utc")
    level = by_level(alt, alt.Legend(orient="top", title=None))
    tooltip = [alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "level:N", "reports:Q"]
    bars = (
        alt.Chart()
        .mark_bar(orient="vertical")
        .encode(
            y=alt.Y("reports:Q", stack=True, title="reports"),
            x2="end:T",
            color=level,
            order=_ORDER,
            tooltip=tooltip,
        )
        .transform_calculate(grave=_GRAVE)
    )
    near = bars.properties(data=alt.Data(values=close), height=150).encode(
        x=alt.X(
            "time:T",
            scale=alt.Scale(type="utc", domain=brush),
            title=None,
            axis=alt.Axis(format=_closer(times, bins.step_of(times, 10 * BINS)), **_SPARSE),
        )
    )
    far = bars.properties(data=alt.Data(values=wide), height=50).encode(
        x=alt.X("time:T", scale=utc, title=f"{UTC}; brush to look closer", axis=axis)
    )
    says = f"{reports.num_rows:,} threat reports over time, by level"
    return Picture(alt.vconcat(near.transform_filter(brush), far.add_params(brush)), says)


def _closer(times: pa.ChunkedArray, step: int) -> str:
    """Give the format of an axis that is looked at closer, down to a step."""
    if not bins.shown(times).startswith("%H"):
        return "%m-%d %H:%M"
    return "%H:%M" if step >= 60 * bins.SECOND else "%H:%M:%S"


def _over_time(reports: pa.Table, times: pa.ChunkedArray, step: int) -> list[dict[str, Any]]:
    table = pa.table({"begin": bins.begins(times, step), "level": bins.text(reports, "rule.level")})
    found = bins.rows(
        bins.counted(table, ["begin", "level"]), {"begin": "time", "level": "level", "count_all": "reports"}
    )
    return [{**one, "time": one["time"] // 1000, "end": (one["time"] + step) // 1000} for one in found]


def groups(reports: pa.Table, column: str, label: str, *, legend: bool = True) -> Picture:
    """Draw how many reports there are by a column, stacked by level, most first.

    Args:
        reports: `schema.REPORT`, at least one.
        column: Of the reports; of a list its first value.
        label: What it is called.
        legend: Says which color is which level; a page says it once.
    """
    alt = altair()

    named, order = bins.top(bins.text(reports, column), TOP)
    table = pa.table({"name": named, "level": bins.text(reports, "rule.level")})
    values = bins.rows(
        bins.counted(table, ["name", "level"]), {"name": label, "level": "level", "count_all": "reports"}
    )
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_bar()
        .encode(
            x=alt.X("reports:Q", stack=True, title="reports"),
            y=alt.Y(
                f"{label}:N",
                sort=list(LEVELS) if label == "level" else order,
                title=None,
                axis=alt.Axis(labelLimit=240),
            ),
            color=by_level(alt, alt.Legend(orient="top", title=None) if legend else None),
            order=_ORDER,
            tooltip=[f"{label}:N", "level:N", "reports:Q"],
        )
        .transform_calculate(grave=_GRAVE)
        .properties(height=_ROW * len({one[label] for one in values}))
    )
    return Picture(chart, f"{reports.num_rows:,} threat reports by {label}: most of {order[0]}")


def heat(reports: pa.Table) -> Picture:
    """Draw the hour of the day (UTC) against the rule; at least one report."""
    alt = altair()

    named, order = bins.top(bins.text(reports, "rule.name"), TOP)
    table = pa.table({"rule": named, "hour": pc.hour(reports["@timestamp"])})
    values = bins.rows(
        bins.counted(table, ["rule", "hour"]), {"rule": "rule", "hour": "hour", "count_all": "reports"}
    )
    hours = alt.X(
        "hour:O",
        scale=alt.Scale(domain=list(range(24))),
        title="hour of the day (UTC)",
        axis=alt.Axis(labelAngle=0, labelOverlap=True),
    )
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_rect()
        .encode(
            x=hours,
            y=alt.Y("rule:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)),
            color=counted(alt, "reports"),
            tooltip=["rule:N", "hour:O", "reports:Q"],
        )
        .properties(height=_ROW * len(order))
    )
    return Picture(chart, f"{reports.num_rows:,} threat reports by hour of the day and rule")


def tactics(reports: pa.Table) -> Picture:
    """Draw reports by ATT&CK tactic and technique, as the tags of their rules say.

    A rule that names several tactics and techniques counts under each pair: its tags don't say which belong
    together. Reports without a tactic are left out.
    """
    alt = altair()

    cells: dict[tuple[str, str], int] = {}
    lists = pa.table({"tags": [",".join(tags or ()) for tags in reports["rule.tags"].to_pylist()]})
    for tags, count in zip(
        *(bins.counted(lists, ["tags"])[name].to_pylist() for name in ("tags", "count_all")), strict=True
    ):
        said = [tag.removeprefix("attack.") for tag in tags.split(",") if tag.startswith("attack.")]
        known = [name for tag in said if (name := tag.replace("_", "-")) in TACTICS]
        techniques = [tag.upper() for tag in said if tag[:1] == "t" and tag[1:2].isdigit()] or [
            "(no technique)"
        ]
        for cell in ((tactic, technique) for tactic in known for technique in techniques):
            cells[cell] = cells.get(cell, 0) + count
    most = sorted(cells.items(), key=lambda one: (-one[1], one[0]))[:500]
    values = [{"tactic": tactic, "technique": name, "reports": count} for (tactic, name), count in most]
    chart = (
        alt.Chart(alt.Data(values=values), width=alt.Step(44))  # slanted names don't touch
        .mark_rect()
        .encode(
            x=alt.X(
                "tactic:N",
                sort=list(TACTICS),
                title=None,
                axis=alt.Axis(labelAngle=-30, orient="top", labelLimit=200),
            ),
            y=alt.Y("technique:N", title=None),
            color=counted(alt, "reports"),
            tooltip=["tactic:N", "technique:N", "reports:Q"],
        )
        .properties(height=_ROW * len({one["technique"] for one in values}))
    )
    return Picture(
        chart,
        f"ATT&CK: {len({one['tactic'] for one in values})} tactics in {reports.num_rows:,} threat reports",
    )


def page(reports: pa.Table) -> dict[str, tuple[str, Picture]]:
    """Give the pictures of a page of reports, at least one: name → heading and picture.

    Tactics are left out where no rule names one.
    """
    spoken = tactics(reports)
    drawn = {
        "time": ("Over time", timeline(reports)),
        "level": ("By level", groups(reports, "rule.level", "level", legend=False)),
        "rule": ("By rule", groups(reports, "rule.name", "rule", legend=False)),
        "source": ("By source", groups(reports, "rms.source", "source", legend=False)),
        "heat": ("By hour of the day", heat(reports)),
    }
    return drawn | ({"tactics": ("By ATT&CK tactic", spoken)} if spoken.points else {})
