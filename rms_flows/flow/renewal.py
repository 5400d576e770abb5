"""A flow whose rules' files change while it runs: another plan is made of them, where they are good."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rms_flows.errors import RmsError
from rms_flows.flow.plan import Plan

Files = Mapping[str, tuple[int, int]]
"""Path → when it was written, nanoseconds, and its size."""


def files(paths: Sequence[Path]) -> Files:
    """Look at files and at all that lies in folders; what is gone is left out.

    Args:
        paths: Files and folders.
    """
    found = {}
    for path in paths:
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            try:
                told = one.stat()
            except OSError:
                continue
            found[str(one)] = (told.st_mtime_ns, told.st_size)
    return found


class Renewal:
    """Looks at what a plan was made of, and makes the next one when that has changed.

    What changed is read once it lies still for one look, so that nothing is read that is half written. What
    can't be used, refuses a rule that was good or has no rules left is told once and changes nothing.

    Args:
        plan: What runs.
        make: Makes a plan of what the files hold now.
        say: Is told why rules are not taken.
        every: Seconds between two looks.
        before: That of the plan before, which saw the files that this plan was made of; a change since then
            counts. None looks at them now.
    """

    def __init__(
        self,
        plan: Plan,
        make: Callable[[], Plan],
        say: Callable[[str], None],
        every: float,
        before: Renewal | None = None,
    ) -> None:
        self._plan, self._make, self._say, self._every = plan, make, say, every
        self._paths = [path for stage in plan.processors for path in stage.ready().made_of]
        self._judged: Files = files(self._paths) if before is None else before._judged  # noqa: SLF001  its like
        self._last = self._judged
        self.next: Plan | None = None

    def due(self) -> bool:
        """Tell whether there is another plan."""
        return self.next is not None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look from a thread of its own, until there is another plan."""
        over = threading.Event()

        def watch() -> None:
            while self.next is None and not over.wait(self._every):
                self.look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self) -> None:
        """Look once."""
        found = files(self._paths)
        before, self._last = self._last, found
        if found == self._judged or found != before:
            return
        self._judged = found
        try:
            plan = self._make()
        except RmsError as error:
            self._say(f"the rules have changed, and those of before stay: {error}")
            return
        bad = [*sorted(set(_refused(plan)) - set(_refused(self._plan))), *_emptied(self._plan, plan)]
        if bad:
            more = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
            self._say(f"the rules have changed, and those of before stay: {bad[0]}{more}")
        else:
            self.next = plan


def _emptied(before: Plan, plan: Plan) -> Iterator[str]:
    """Name processors that have lost all their rules: more often a folder that is not there than a wish."""
    for old, new in zip(before.processors, plan.processors, strict=True):
        there, left = ((one.ready().counts or {}).get("evaluated", 0) for one in (old, new))
        if there and not left:
            yield f"{new.id}: no rule is left"


def _refused(plan: Plan) -> Iterator[str]:
    for stage in plan.processors:
        yield from stage.ready().refused


def packs(plan: Plan) -> dict[str, str]:
    """Give what each processor's reports name as `rms.pack`, for those that find something."""
    return {
        stage.id: step.meaning
        for stage, step in ((stage, stage.ready()) for stage in plan.processors)
        if step.gives == "reports" and step.meaning
    }
