"""Rules in a notebook: from text, a file, a folder or an archive; what becomes of each is told."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rms_flows import sigma
from rms_flows.notebook import shown
from rms_flows.sigma.pipelines import resolve

if TYPE_CHECKING:
    from rms_flows.notebook.archive import Archive
    from rms_flows.sigma import Fate, RuleSet

Given = str | Path | Sequence[str | Path]
"""Text of rules, or paths to them."""


class Rules:
    """Rules, and how they are to be understood.

    Args:
        given: Text of rules (YAML, one document or more), or a file, a folder, an archive; or several.
        pipelines: pySigma pipelines that map fields, ours by name: ecs, iot, windows, zeek.
        routes: Tables that say where log sources are, besides ours.
        routing: Whether a rule looks only at the events of its log source.
    """

    def __init__(
        self,
        given: Given,
        *,
        pipelines: Sequence[str | Path] = (),
        routes: Sequence[str | Path] = (),
        routing: bool = True,
    ) -> None:
        some = [given] if isinstance(given, str | Path) else list(given)
        self.paths = tuple(_path(one, self) for one in some)
        self.pipelines = tuple(resolve(Path(one)) for one in pipelines)
        self.routes = tuple(map(Path, routes))
        self.routing = routing

    @cached_property
    def loaded(self) -> RuleSet:
        """The rules as the engine sees them; raises DocumentError where a path holds none."""
        return sigma.load(self.paths, self.pipelines, routing=self.routing, routes=self.routes)

    def __len__(self) -> int:
        return len(self.loaded.rules) + len(self.loaded.correlations)

    def fates(self, archive: Archive) -> list[Fate]:
        """Tell what becomes of each rule on an archive: evaluated, refused, or unreachable for its fields."""
        return sigma.fates(self.loaded, archive.schema().names)

    def __repr__(self) -> str:
        loaded = self.loaded
        lines = [f"{_counted(loaded)}; {len(loaded.refused):,} refused"]
        lines += [f"  {one.where}: {one.title}: refused: {one.reason}" for one in loaded.refused[:SHOWN]]
        if len(loaded.refused) > SHOWN:
            lines.append(f"  and {len(loaded.refused) - SHOWN:,} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        loaded = self.loaded
        kinds = [(one.level, one.title, "rule", one.logsource or "any") for one in loaded.rules]
        kinds += [(one.level, one.title, one.kind, "") for one in loaded.correlations]
        rows = [*kinds[:SHOWN], *((None, one.title, "refused", one.reason) for one in loaded.refused[:SHOWN])]
        caption = f"{_counted(loaded)}; {len(loaded.refused):,} refused"
        return shown.table(("level", "title", "kind", "log source, or why refused"), rows, caption=caption)


SHOWN = 20
"""Most rules of a representation."""


def _counted(loaded: RuleSet) -> str:
    rules = "1 rule" if len(loaded.rules) == 1 else f"{len(loaded.rules):,} rules"
    count = len(loaded.correlations)
    return rules if not count else f"{rules} and {count} correlation{'s' * (count > 1)}"


def _path(given: str | Path, owner: object) -> Path:
    """Give the path of rules; text is written to a file that lives as long as its owner."""
    if isinstance(given, Path) or "\n" not in given:
        return Path(given).absolute()
    folder = Path(tempfile.mkdtemp(prefix="rms-rules-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    path = folder / "text.yml"
    path.write_text(given, encoding="utf-8")
    return path
