"""Threat reports as one page that needs nothing but a browser: no server, no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.pictures.reports import page as pictures
from rms_flows.pictures.theme import COLORS, LEVELS
from rms_flows.report.row import group_text
from rms_flows.report.script import DRAW, FILTER

ROWS: Final = 1_000
"""Most reports in the page's table, the newest."""

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1d2330; --soft: #5b6472; --line: #d9dde3; --page: #ffffff;
  --band: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ee; --soft: #9aa3b0; --line: #333b47; --page: #14181f; --band: #1c222b; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 2rem auto;
  max-width: 1180px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.soft { color: var(--soft); } .numbers { display: flex; gap: 2rem; margin: 1rem 0; flex-wrap: wrap; }
.numbers b { display: block; font-size: 1.6rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem; }
.pictures > div { min-width: 0; } .pictures [role=img] { width: 100%; } .wide { grid-column: 1 / -1; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--band); } td { overflow-wrap: anywhere; }
.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.level { padding: 0 .45rem; border-radius: .6rem; color: #fff; white-space: nowrap; }
code { font-size: .85em; } details summary { cursor: pointer; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; align-items: end; margin: .5rem 0 1rem; }
.filters label { display: grid; font-size: .8rem; color: var(--soft); }
.filters :is(select, input) { font: inherit; font-size: .9rem; color: var(--text); background: var(--band);
  border: 1px solid var(--soft); border-radius: .3rem; padding: .2rem .4rem; max-width: 16rem; }
@media print { body { margin: 0; max-width: none; } .filters { display: none; } th { position: static; }
  tr, .pictures > div { break-inside: avoid; } }
"""
_LEVEL_STYLE: Final = "".join(
    f".{level} {{ background: color-mix(in srgb, {color} 78%, black); }}\n"
    for level, color in zip(LEVELS, COLORS, strict=True)
)


def write_html(reports: pa.Table, path: Path, *, title: str) -> None:
    """Write reports (`schema.REPORT`) as a page.

    Args:
        reports: What to show; may have no rows.
        path: The file, replaced at once.
        title: Heading of the page.

    Raises:
        OSError: The file can't be written.
    """
    write_page(_body(reports), path, title=title)


def write_page(body: Iterable[str], path: Path, *, title: str) -> None:
    """Write a page in the look of all of ours.

    Args:
        body: HTML.
        path: The file, replaced at once.
        title: Heading of the page.

    Raises:
        OSError: The file can't be written.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text("\n".join(_page(body, title)) + "\n", encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _page(body: Iterable[str], title: str) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}{_LEVEL_STYLE}</style></head><body>"
    yield f"<h1>{escape(title)}</h1>"
    yield from body
    yield "</body></html>"


def _body(reports: pa.Table) -> Iterator[str]:
    if reports.num_rows:
        yield from _numbers(reports)
        yield from _pictures(reports)
        yield from _table(reports)
    else:
        yield "<p>No threat reports: nothing was found in what was looked at.</p>"


def _numbers(reports: pa.Table) -> Iterator[str]:
    first, last = pc.min(reports["@timestamp"]).as_py(), pc.max(reports["@timestamp"]).as_py()
    yield f'<p class="soft">Events from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC</p>'
    levels = reports["rule.level"].cast(pa.string()).to_pylist()
    counts = {"reports": reports.num_rows, **{level: levels.count(level) for level in LEVELS}}
    counts["rules"] = len(reports["rule.id"].cast(pa.string()).unique())
    yield '<div class="numbers">'
    yield from (f"<div><b>{count:,}</b>{name}</div>" for name, count in counts.items() if count)
    yield "</div>"


def _pictures(reports: pa.Table) -> Iterator[str]:
    import vl_convert  # noqa: PLC0415  a large library that only this page needs

    drawn = pictures(reports)
    yield '<div class="pictures">'
    for name, (heading, picture) in drawn.items():
        wide = ' class="wide"' if name == "time" else ""
        yield f"<div{wide}><h2>{heading}</h2>"
        yield f'<div id="chart-{name}" role="img" aria-label="{escape(picture.says)}"></div></div>'
    yield "</div>"
    yield '<script type="module">'
    yield vl_convert.javascript_bundle().replace("</script", "<\\/script")  # type: ignore[call-arg]  # has a default
    yield f"const specs = {_script({name: picture.spec for name, (_, picture) in drawn.items()})};"
    yield DRAW
    yield "</script>"


def _script(value: Any) -> str:
    """Write JSON that stays JSON within a script element, whatever an attacker wrote into a name."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _table(reports: pa.Table) -> Iterator[str]:
    shown = reports.slice(max(0, reports.num_rows - ROWS))
    yield "<h2>Reports</h2>"
    if shown.num_rows < reports.num_rows:
        yield f'<p class="soft">The newest {shown.num_rows:,} of {reports.num_rows:,}.</p>'
    rows = list(reversed(shown.to_pylist()))
    yield from _filters(rows)
    heads = ("time (UTC)", "level", "rule", "source", "what", "from", "evidence")
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"<table><thead><tr>{head}</tr></thead><tbody>"
    yield from map(_row, rows)
    yield f'</tbody></table><script type="module">{FILTER}</script>'


_FILTERS: Final = {"level": "rule.level", "rule": "rule.name", "source": "rms.source"}
"""What the table is filtered by, as pictures call it, and its column."""


def _filters(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write the controls that choose rows; a click on a picture sets them too."""
    yield '<form class="filters" id="filters" role="search" aria-label="Filter the reports">'
    for name, column in _FILTERS.items():
        found = {row[column] for row in rows if row[column]}
        known = [one for one in LEVELS if one in found] if name == "level" else sorted(found)
        options = "".join(f'<option value="{escape(one)}">{escape(one)}</option>' for one in known)
        yield f'<label>{name}<select name="{name}"><option value="">all</option>{options}</select></label>'
    yield '<label>text<input type="search" name="text"></label>'
    yield f'<output name="shown" aria-live="polite">{len(rows):,} of {len(rows):,} shown</output></form>'


def _row(report: dict[str, Any]) -> str:
    level = report["rule.level"] if report["rule.level"] in LEVELS else "informational"
    author = f'<br><span class="soft">{escape(report["rule.author"])}</span>' if report["rule.author"] else ""
    measured = ", ".join(
        f"{one['name']} = {one['value']:.4g}"
        for one in report["rms.measurement"] or []
        if one["value"] is not None
    )
    evidence = report["rms.evidence"] or []
    ids = "<br>".join(f"<code>{escape(one)}</code>" for one in evidence if one)
    events = f"{report['rms.count'] or len(evidence):,} event{'s' if (report['rms.count'] or 1) > 1 else ''}"
    said = "; ".join(filter(None, (group_text(report["rms.group"]), measured)))
    figures = f'<br><span class="soft">{escape(said)}</span>' if said else ""
    cells = (
        f'<td class="time">{report["@timestamp"]:%Y-%m-%d %H:%M:%S}</td>',
        f'<td><span class="level {level}">{level}</span></td>',
        f"<td>{_shown(report['rule.name'])}{author}</td>",
        f"<td>{_shown(report['rms.source'])}</td>",
        f"<td>{_shown(report['message'])}{figures}</td>",
        f"<td>{_shown(report['rms.request_source'])}</td>",
        f"<td><details><summary>{events}</summary>{ids}</details></td>",
    )
    marks = "".join(f' data-{name}="{_shown(report[column])}"' for name, column in _FILTERS.items())
    return f"<tr{marks}>{''.join(cells)}</tr>"


def _shown(text: str | None) -> str:
    return escape(text or "")
