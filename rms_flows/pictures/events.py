"""Pictures of observations: what one address did, how a metric went, who talks to whom, how regularly."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.pictures import bins
from rms_flows.pictures.picture import Picture
from rms_flows.pictures.theme import ALARM, CALM, SOFT, UTC, altair, by_level

BINS: Final = 300
"""Most steps of a line over time."""

NORMAL: Final = 1.4826
"""Standard deviations in a median deviation, where values are spread normally."""

LINKS: Final = 40
"""Most links of a graph, those with most connections."""


def entity(name: str, observations: pa.Table, reports: pa.Table) -> Picture:
    """Draw all that happened to one address or device: reports over observations.

    Args:
        name: The address or device.
        observations: `@timestamp`, `event.dataset`, maybe `event.action`.
        reports: `schema.REPORT`.
    """
    alt = altair()

    times = pa.chunked_array(
        [*bins.micros(observations["@timestamp"]).chunks, *bins.micros(reports["@timestamp"]).chunks],
        pa.int64(),
    )
    step = bins.step_of(times, 120)
    seen = _in_steps(
        observations, "event.action" if _filled(observations, "event.action") else "event.dataset", step
    )
    told = _in_steps(reports, "rule.name", step, level=True)
    clear = alt.Scale(type="utc", padding=14)  # of the names beside the axis
    x = alt.X("time:T", scale=clear, title=UTC, axis=alt.Axis(format=bins.shown(times), labelOverlap=True))
    y = alt.Y("what:N", title=None, sort=[*_order(told), *_order(seen)], axis=alt.Axis(labelLimit=240))
    size = alt.Size("count:Q", legend=None, scale=alt.Scale(range=[30, 400]))
    tip = [alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "what:N", "count:Q"]
    below = alt.Chart(alt.Data(values=seen)).mark_circle(color=SOFT).encode(x=x, y=y, size=size, tooltip=tip)
    above = (
        alt.Chart(alt.Data(values=told))
        .mark_point(filled=True, shape="diamond", opacity=1)
        .encode(x=x, y=y, size=size, color=by_level(alt, alt.Legend(orient="top", title=None)), tooltip=tip)
    )
    says = f"{name}: {reports.num_rows:,} threat reports over {observations.num_rows:,} observations"
    return Picture((below + above).properties(title=name), says)


def _filled(table: pa.Table, name: str) -> bool:
    return name in table.column_names and table[name].null_count < table.num_rows


def _in_steps(table: pa.Table, name: str, step: int, *, level: bool = False) -> list[dict[str, Any]]:
    what, _ = bins.top(bins.text(table, name), 12)
    keys = {"time": bins.begins(bins.micros(table["@timestamp"]), step), "what": what}
    keys |= {"level": bins.text(table, "rule.level")} if level else {}
    found = bins.counted(pa.table(keys), [*keys])
    return [
        {**one, "time": one["time"] // 1000}
        for one in bins.rows(found, {k: k for k in keys} | {"count_all": "count"})
    ]


def _order(values: list[dict[str, Any]]) -> list[str]:
    return sorted({one["what"] for one in values})


def metric(
    observations: pa.Table, field: str, *, threshold: float | None = None, window: int = 24
) -> Picture:
    """Draw a metric over time with its threshold, and the band in which it was to be expected.

    The band is the median of the `window` steps before, plus and minus three standard deviations as their
    median deviation tells these: a peak widens no band behind it.

    Args:
        observations: `@timestamp` and the field, a number.
        field: Name of the column.
        threshold: Draws a line.
        window: Steps.
    """
    alt = altair()

    known = observations.filter(pc.is_valid(observations[field]))
    times = bins.micros(known["@timestamp"])
    step = bins.step_of(times, BINS)
    table = pa.table({"time": bins.begins(times, step), "value": known[field].cast(pa.float64())})
    means = table.group_by("time").aggregate([("value", "mean"), ("value", "max")]).sort_by("time")
    values = bins.rows(means, {"time": "time", "value_mean": "mean", "value_max": "highest"})
    for one, band in zip(values, _band(means["value_mean"].to_numpy(), window), strict=True):
        one.update(time=one["time"] // 1000, low=band[0], high=band[1])
    base = alt.Chart().encode(
        x=alt.X("time:T", scale=alt.Scale(type="utc"), title=UTC, axis=alt.Axis(format=bins.shown(times)))
    )
    tip = [alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "mean:Q", "highest:Q"]
    layers = [
        base.mark_area(color=SOFT, opacity=0.25).encode(y=alt.Y("low:Q", title=field), y2="high:Q"),
        base.mark_line(color=CALM, strokeWidth=1.5).encode(y="mean:Q", tooltip=tip),
        base.mark_point(color=ALARM, size=14, filled=True)
        .encode(y="highest:Q", tooltip=tip)
        .transform_filter(
            "datum.highest > datum.high" if threshold is None else f"datum.highest > {threshold}"
        ),
    ]
    if threshold is not None:
        line = alt.Chart(alt.Data(values=[{"threshold": threshold}]))
        layers.append(line.mark_rule(color=ALARM, strokeDash=[6, 3]).encode(y="threshold:Q"))
    above = (
        ""
        if threshold is None
        else f", {pc.sum(pc.greater(known[field], threshold)).as_py() or 0:,} above {threshold:g}"
    )
    return Picture(
        alt.layer(*layers, data=alt.Data(values=values)), f"{field}: {known.num_rows:,} values{above}"
    )


def _band(means: np.ndarray, window: int) -> list[tuple[float | None, float | None]]:
    found: list[tuple[float | None, float | None]] = []
    for at in range(len(means)):
        before = means[max(0, at - window) : at]
        if len(before) < window // 2 or not len(before):
            found.append((None, None))
        else:
            middle = float(np.median(before))
            spread = 3 * NORMAL * float(np.median(np.abs(before - middle)))
            found.append((middle - spread, middle + spread))
    return found


def graph(observations: pa.Table, source: str, target: str) -> Picture:
    """Draw who talks to whom: the links with most connections, thicker with more.

    Args:
        observations: Both columns.
        source: Column of who asks.
        target: Column of who is asked.
    """
    alt = altair()

    known = observations.filter(pc.and_(pc.is_valid(observations[source]), pc.is_valid(observations[target])))
    table = pa.table({"from": bins.text(known, source), "to": bins.text(known, target)})
    links = bins.counted(table, ["from", "to"]).sort_by([("count_all", "descending"), ("from", "ascending")])
    values = bins.rows(links.slice(0, LINKS), {"from": "from", "to": "to", "count_all": "count"})
    left, right = (_placed([one[end] for one in values]) for end in ("from", "to"))
    drawn = [{**one, "x": 0, "x2": 1, "y": left[one["from"]], "y2": right[one["to"]]} for one in values]
    nodes = [{"name": n, "x": x, "y": y} for x, side in ((0, left), (1, right)) for n, y in side.items()]
    axis, scale = None, alt.Scale(domain=[-0.6, 1.6])
    wide = alt.Scale(range=[0.8, 8], type="symlog")
    thick = alt.StrokeWidth("count:Q", scale=wide, legend=alt.Legend(title="connections"))
    lines = (
        alt.Chart(alt.Data(values=drawn))
        .mark_rule(color=CALM, opacity=0.6)
        .encode(
            x=alt.X("x:Q", axis=axis, scale=scale),
            x2="x2:Q",
            y=alt.Y("y:Q", axis=axis),
            y2="y2:Q",
            strokeWidth=thick,
            tooltip=["from:N", "to:N", "count:Q"],
        )
    )
    text = alt.Chart(alt.Data(values=nodes)).encode(x="x:Q", y="y:Q", text="name:N")
    names = [
        text.mark_text(align=align, dx=shift, limit=200).transform_filter(f"datum.x == {side}")
        for side, align, shift in ((0, "right", -6), (1, "left", 6))
    ]
    more = f", {links.num_rows - LINKS:,} weaker ones left out" if links.num_rows > LINKS else ""
    height = 16 * max(len(left), len(right), 4)
    return Picture(
        alt.layer(lines, *names).properties(height=height),
        f"{len(values)} links from {source} to {target}{more}",
    )


def _placed(names: list[str]) -> dict[str, float]:
    """Give each name a height, evenly, in the order of their first link."""
    ordered = list(dict.fromkeys(names))
    return {name: 1 - (at + 0.5) / len(ordered) for at, name in enumerate(ordered)}


def beacon(observations: pa.Table, source: str, target: str) -> Picture:
    """Draw how regularly one address calls another: a histogram of the time between two calls.

    Args:
        observations: `@timestamp`, of one pair; at least three.
        source: Who calls, for the title.
        target: Who is called, for the title.
    """
    alt = altair()

    times = np.sort(bins.micros(observations["@timestamp"]).to_numpy())
    waits = np.diff(times) / bins.SECOND
    counts, edges = np.histogram(waits, bins=60)
    values = [
        {"from": float(low), "to": float(high), "calls": int(count)}
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
        if count
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_bar(color=CALM, orient="vertical")
        .encode(
            x=alt.X("from:Q", title="seconds between two calls", scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("calls:Q", title="calls"),
            tooltip=["from:Q", "to:Q", "calls:Q"],
        )
    )
    middle, spread = float(np.median(waits)), float(np.std(waits))
    says = f"{source} → {target}: {len(times):,} calls, {middle:.1f} s apart, deviation {spread:.1f} s"
    return Picture(chart.properties(title=says), says)


def health(steps: pa.Table, gaps: pa.Table, trust: pa.Table, every: int) -> Picture:
    """Draw the health of sources: rate over time, gaps, and how far each was trusted.

    Args:
        steps: `source`, `time`, `rows`.
        gaps: `source`, `start`, `end`.
        trust: `source`, `trust`, `rows`.
        every: Length of a step in microseconds.
    """
    alt = altair()

    times = bins.micros(steps["time"])
    step = (
        -(-bins.step_of(times, 120) // every) * every
    )  # or some would hold more of what was counted than others
    table = pa.table({"source": steps["source"], "begin": bins.begins(times, step), "rows": steps["rows"]})
    summed = (
        table.group_by(["source", "begin"])
        .aggregate([("rows", "sum")])
        .sort_by([("source", "ascending"), ("begin", "ascending")])
    )
    rate = [
        {
            "source": one["source"],
            "time": one["begin"] // 1000,
            "end": (one["begin"] + step) // 1000,
            "rows": one["rows_sum"],
        }
        for one in summed.to_pylist()[:3_000]
    ]
    silent = [
        {
            "source": one["source"],
            "time": int(one["start"].timestamp() * 1000),
            "end": int(one["end"].timestamp() * 1000),
        }
        for one in gaps.to_pylist()[:1_000]
    ]
    x = alt.X("time:T", scale=alt.Scale(type="utc"), title=UTC, axis=alt.Axis(format=bins.shown(times)))
    y = alt.Y("source:N", title=None)
    strength = alt.Opacity(
        "rows:Q", scale=alt.Scale(range=[0.25, 1], type="symlog", domainMin=0), legend=None
    )
    flowing = (
        alt.Chart(alt.Data(values=rate))
        .mark_bar(color=CALM, height={"band": 0.7})
        .encode(x=x, x2="end:T", y=y, opacity=strength, tooltip=["source:N", "time:T", "rows:Q"])
    )
    missing = (
        alt.Chart(alt.Data(values=silent))
        .mark_bar(color=ALARM, height={"band": 0.25})
        .encode(x=x, x2="end:T", y=y, tooltip=["source:N", "time:T", "end:T"])
    )
    says = (
        f"{pc.sum(steps['rows']).as_py() or 0:,} events of {len(steps['source'].unique())} sources, "
        f"{gaps.num_rows:,} gaps"
    )
    return Picture(alt.hconcat(flowing + missing, _trusted(alt, trust)), says)


def _trusted(alt: Any, trust: pa.Table) -> Any:
    """Draw which part of each source's events was trusted."""
    scale = alt.Scale(domain=["trusted", "unknown", "untrusted"], range=[CALM, SOFT, ALARM])
    return (
        alt.Chart(alt.Data(values=trust.to_pylist()), width=120)
        .mark_bar()
        .encode(
            x=alt.X("rows:Q", stack="normalize", title="trust", axis=alt.Axis(format="%")),
            y=alt.Y("source:N", title=None, axis=None),
            color=alt.Color("trust:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=["source:N", "trust:N", "rows:Q"],
        )
    )
