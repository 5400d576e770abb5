"""The import of Beam, without its words to the root logger about libraries of Google's."""

from __future__ import annotations

import logging


def load() -> None:
    """Import `apache_beam`, which takes seconds; call it before the modules of this room that need it."""
    root = logging.getLogger()
    placeholder = logging.NullHandler()  # without any handler, the first warning would install one on stderr
    before = root.manager.disable
    root.addHandler(placeholder)
    logging.disable(logging.WARNING)
    try:
        import apache_beam  # noqa: F401, PLC0415  this is the import
    finally:
        logging.disable(before)
        root.removeHandler(placeholder)
