"""How a JSON value was written; columns of JSON keep it beside the value's text until types are settled."""

from typing import Final

NULL: Final = 0
TEXT: Final = 1
INTEGER: Final = 2
FLOAT: Final = 3
BOOLEAN: Final = 4
LIST: Final = 5
"""Arrays of kinds hold 1 + kind, 0 where the value is absent."""
