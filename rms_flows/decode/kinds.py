"""How a JSON value was written; columns of JSON keep it beside the value's text until types are settled."""

from typing import Final

NULL: Final = 0
PLAIN: Final = 1
ESCAPED: Final = 2
INTEGER: Final = 3
FLOAT: Final = 4
BOOLEAN: Final = 5
LIST: Final = 6
"""PLAIN and ESCAPED are strings without and with a backslash. Arrays hold 1 + kind, 0 where absent."""
