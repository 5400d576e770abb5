"""Pictures of threat reports: how many, how grave, by which rule, from where, and when."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

LEVELS: Final = ("critical", "high", "medium", "low", "informational")
"""From grave to light."""

COLORS: Final = ("#b5179e", "#d1495b", "#edae49", "#66a182", "#8d96a3")
"""One a level; told apart also without color by their order in the legend."""

TOP: Final = 15
"""Most bars of a picture; what is left stands in one called `others`."""

BINS: Final = 60
"""Most bars over time."""


def charts(reports: pa.Table) -> dict[str, dict[str, Any]]:
    """Draw reports (`schema.REPORT`, at least one) as Vega-Lite specifications by name."""
    import altair as alt  # noqa: PLC0415  takes a second that who draws nothing does not pay

    with alt.data_transformers.enable("default", max_rows=None):
        return {
            "time": _over_time(alt, reports).to_dict(),
            "level": _bars(alt, reports, "rule.level", "level", list(LEVELS)).to_dict(),
            "rule": _bars(alt, reports, "rule.name", "rule", None).to_dict(),
            "source": _bars(alt, reports, "rms.source", "source", None).to_dict(),
        }


def _text(reports: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.fill_null(reports[name].cast(pa.string()), "(none)")


def _bars(alt: Any, reports: pa.Table, column: str, label: str, order: list[str] | None) -> Any:
    counts = pa.table({"name": _text(reports, column), "level": _text(reports, "rule.level")})
    totals = counts.group_by("name").aggregate([([], "count_all")])
    totals = totals.sort_by([("count_all", "descending"), ("name", "ascending")])
    top = totals["name"].slice(0, TOP)
    named = pc.if_else(pc.is_in(counts["name"], top.combine_chunks()), counts["name"], "others")
    grouped = pa.table({"name": named, "level": counts["level"]}).group_by(["name", "level"])
    rows = grouped.aggregate([([], "count_all")]).sort_by([("name", "ascending"), ("level", "ascending")])
    values = [
        {label: name, "level": level, "reports": count}
        for name, level, count in zip(
            *(rows[name].to_pylist() for name in ("name", "level", "count_all")), strict=True
        )
    ]
    sort = order or [*top.to_pylist(), "others"]
    return _styled(
        alt.Chart(alt.Data(values=values))
        .mark_bar()
        .encode(
            x=alt.X("reports:Q", stack=True, title="reports"),
            y=alt.Y(f"{label}:N", sort=sort, title=None, axis=alt.Axis(labelLimit=240)),
            color=_color(alt, None),
            order=alt.Order("level:N"),
            tooltip=[f"{label}:N", "level:N", "reports:Q"],
        )
    )


def _over_time(alt: Any, reports: pa.Table) -> Any:
    """Count reports in equal steps of time, stacked by level."""
    micros = reports["@timestamp"].cast(pa.int64())
    first, last = pc.min(micros).as_py(), pc.max(micros).as_py()
    step = next((size for size in _STEPS if (last - first) // size < BINS), (last - first) // BINS + 1)
    begins = pc.multiply(pc.divide(micros, step), step)
    rows = (
        pa.table({"begin": begins, "level": _text(reports, "rule.level")})
        .group_by(["begin", "level"])
        .aggregate([([], "count_all")])
        .sort_by([("begin", "ascending"), ("level", "ascending")])
    )
    values = [
        {"time": begin // 1000, "end": (begin + step) // 1000, "level": level, "reports": count}
        for begin, level, count in zip(
            *(rows[name].to_pylist() for name in ("begin", "level", "count_all")), strict=True
        )
    ]
    utc = alt.Scale(type="utc")
    shown = "%H:%M" if last - first < _DAY else "%Y-%m-%d %H:%M" if last - first < 7 * _DAY else "%Y-%m-%d"
    return _styled(
        alt.Chart(alt.Data(values=values), height=180)
        .mark_bar(orient="vertical")
        .encode(
            x=alt.X("time:T", scale=utc, title="time (UTC)", axis=alt.Axis(format=shown)),
            x2="end:T",
            y=alt.Y("reports:Q", stack=True, title="reports"),
            color=_color(alt, alt.Legend(orient="top", title=None)),
            order=alt.Order("level:N"),
            tooltip=[alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "level:N", "reports:Q"],
        )
    )


_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_STEPS: Final = tuple(
    _SECOND * size
    for size in (1, 10, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400)
)


def _color(alt: Any, legend: Any) -> Any:
    scale = alt.Scale(domain=list(LEVELS), range=list(COLORS))
    return alt.Color("level:N", scale=scale, legend=legend)


def _styled(chart: Any) -> Any:
    """Leave background and width to the page; text that reads on light and on dark."""
    return (
        chart.configure(background="transparent", autosize={"type": "fit-x", "contains": "padding"})
        .configure_axis(
            labelColor="#808690", titleColor="#808690", gridColor="#80869033", domainColor="#808690"
        )
        .configure_legend(labelColor="#808690", titleColor="#808690")
        .configure_view(stroke=None)
    )
