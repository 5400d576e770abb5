"""A picture: what a notebook shows, a page embeds and a file keeps, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rms_flows.errors import SinkError
from rms_flows.pictures.theme import altair, style

MOST: Final = 5_000
"""Points that a picture embeds at most."""

_NOTEBOOK: Final = "application/vnd.vegalite.v5+json"
"""What JupyterLab draws by itself; nothing here needs a later version of the grammar."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A Vega-Lite picture.

    Args:
        chart: Altair's chart, to go on with.
        says: What it shows, in words: for who can't see it.
    """

    chart: Any
    says: str

    def __post_init__(self) -> None:
        if self.points > MOST:
            raise AssertionError(f"{self.points:,} points in one picture, at most {MOST:,} were meant")

    @property
    def spec(self) -> dict[str, Any]:
        """The picture as a document."""
        with altair().data_transformers.enable("default", max_rows=None):
            document: dict[str, Any] = self.chart.to_dict(validate=False)  # a quarter of a second each time
        return {**document, "config": style(), "description": self.says}

    @property
    def points(self) -> int:
        """How many rows of data it embeds."""
        return sum(map(len, _values(self.spec)))

    def save(self, path: str | Path) -> Path:
        """Write it as `.svg`, `.png`, `.html` or `.json`, by its ending.

        Raises:
            SinkError: The ending is another, or the file can't be written.
        """
        target = Path(path)
        if target.suffix not in _WRITERS:
            raise SinkError(
                f"no picture is written as {target.suffix!r}",
                where=str(path),
                remedy=f"use {', '.join(_WRITERS)}",
            )
        try:
            target.write_bytes(_WRITERS[target.suffix](self.spec))
        except OSError as error:
            raise SinkError(
                f"can't be written ({error.strerror})", where=str(path), remedy="choose another path"
            ) from None
        return target

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, Any]:
        """Be drawn by JupyterLab; whoever can't, shows the SVG.

        There is no HTML: JupyterLab would prefer it to what can be brushed.
        """
        spec = self.spec
        schema = "https://vega.github.io/schema/vega-lite/v5.json"
        return {
            _NOTEBOOK: {**spec, "$schema": schema},
            "image/svg+xml": _svg(spec).decode(),
            "text/plain": self.says,
        }

    def __repr__(self) -> str:
        return self.says


def _values(node: Any) -> Iterator[list[Any]]:
    """Give all inline data."""
    if isinstance(node, dict):
        if isinstance(values := node.get("values"), list) and all(isinstance(one, dict) for one in values):
            yield values
            return
        yield from (found for one in node.values() for found in _values(one))
    elif isinstance(node, list):
        yield from (found for one in node for found in _values(one))


def _svg(spec: dict[str, Any]) -> bytes:
    import vl_convert  # noqa: PLC0415  a large library

    return vl_convert.vegalite_to_svg(spec).encode()


def _png(spec: dict[str, Any]) -> bytes:
    import vl_convert  # noqa: PLC0415

    return vl_convert.vegalite_to_png({**spec, "background": "white"}, scale=2)


def _html(spec: dict[str, Any]) -> bytes:
    import vl_convert  # noqa: PLC0415

    return vl_convert.vegalite_to_html(spec, bundle=True).encode()


def _json(spec: dict[str, Any]) -> bytes:
    return json.dumps(spec, indent=1).encode()


_WRITERS: Final[Mapping[str, Callable[[dict[str, Any]], bytes]]] = {
    ".svg": _svg,
    ".png": _png,
    ".html": _html,
    ".json": _json,
}
