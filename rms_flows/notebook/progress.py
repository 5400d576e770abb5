"""How far a look at an archive is: a bar in the notebook, a line on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rms_flows.beam.progress import Progress


def watched() -> bool:
    """Tell whether somebody watches: a notebook or a terminal."""
    python = sys.modules.get("IPython")  # where it is not loaded, this is no notebook
    shell = None if python is None else python.get_ipython()
    return getattr(shell, "kernel", None) is not None or sys.stderr.isatty()


@contextmanager
def progress(what: str, *, watch: bool | None = None) -> Iterator[Callable[[Progress], None] | None]:
    """Give a function that shows progress with `tqdm.auto`; None where nobody watches, or tqdm is absent.

    Args:
        what: Names the work.
        watch: Whether somebody watches; unless told, that is found out.
    """
    if not (watched() if watch is None else watch):
        yield None
        return
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415  of the extra `notebook`
    except ImportError:
        yield None
        return
    with tqdm(desc=what, unit="B", unit_scale=True, leave=False, delay=0.5) as bar:

        def show(now: Progress) -> None:
            bar.total = now.total
            bar.set_postfix_str(f"{now.rows:,} rows", refresh=False)
            bar.update(now.done - bar.n)

        yield show
