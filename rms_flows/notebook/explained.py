"""Why a rule is true of an event or isn't, as a notebook shows it."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rms_flows.sigma.explain import Explanation

WIDTH = 160
"""Columns of the drawing."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation.

    Args:
        explanation: As data.
    """

    explanation: Explanation

    @property
    def match(self) -> bool:
        """Whether a run would report the event."""
        return self.explanation.match

    def __repr__(self) -> str:
        return self._drawn(html=False)

    def _repr_html_(self) -> str:
        return self._drawn(html=True)

    def _drawn(self, *, html: bool) -> str:
        from rich.console import Console  # noqa: PLC0415  only who looks needs it
        from rich.text import Text  # noqa: PLC0415

        from rms_flows.sigma.told import told  # noqa: PLC0415

        console = Console(
            file=io.StringIO(),
            record=True,
            width=WIDTH,
            force_terminal=html,
            force_jupyter=False,  # it would show what it draws by itself, beside what we give
            color_system="truecolor",
        )
        console.print(told(self.explanation))
        console.print(Text(self.explanation.summary, style="bold"))
        if html:
            return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())
