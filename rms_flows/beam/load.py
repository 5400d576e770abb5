"""The import of Beam, without its words to the root logger about libraries of Google's."""

from __future__ import annotations

import logging
import sys

from rms_flows.heap import give_back, seldom


def load() -> None:
    """Import `apache_beam`, which takes seconds; call it before the modules of this room that need it.

    Who needs it runs flows, too: memory of large arrays goes back to the system from here on, see `heap`.
    """
    give_back()
    seldom()
    root = logging.getLogger()
    placeholder = logging.NullHandler()  # without any handler, the first warning would install one on stderr
    before = root.manager.disable
    root.addHandler(placeholder)
    logging.disable(logging.WARNING)
    try:
        import apache_beam  # noqa: PLC0415  this is the import

        apache_beam.pipeline.is_in_ipython = _in_kernel
    finally:
        logging.disable(before)
        root.removeHandler(placeholder)


def _in_kernel() -> bool:
    """Tell whether IPython runs us; where nobody loaded it, Beam need not take half a second to ask it."""
    python = sys.modules.get("IPython")
    return python is not None and python.get_ipython() is not None
