"""Regular expressions are RE2: searched in time linear in the text, whatever a rule's author wrote."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final

import re2
from sigma.policy.regex_engine import RegexEngine

from rms_flows.errors import RuleError


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern; raises RuleError for one that is none of RE2's."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        raise RuleError(
            f"the regular expression {pattern!r} is none of RE2's ({why})",
            remedy="write it without lookaround and back references, which have no bound on their time",
        ) from None


class Engine(RegexEngine):
    """Lets pySigma check patterns as we do: its own engine writes each bad one to standard error."""

    def compile(self, pattern: str, flags: int = 0) -> Any:
        """Compile a pattern; the flags change nothing about its validity."""
        del flags
        return compile_pattern(pattern)

    @property
    def error(self) -> type[Exception]:
        """What pySigma is to catch: nothing that `compile` raises, so that our message reaches the reader."""
        return re2.error  # type: ignore[no-any-return]  # RE2 has no types


_LONG: Final = re.compile(r"\.\{([0-9]+),\}")


class Patterns:
    """Patterns that are searched for together.

    RE2 looks for the literals that its patterns need, all at once, and for a pattern only where a text has
    what it needs. That a line is long (`.{1000,}`) is counted: RE2 needs a state for each character.
    """

    def __init__(self) -> None:
        self._patterns: list[str] = []
        self._identities: list[int] = []
        self._long: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._patterns or self._long)

    def add(self, identity: int, pattern: str) -> None:
        """Take a pattern up, before the first search."""
        if found := _LONG.fullmatch(pattern):
            self._long.append((identity, int(found[1])))
        else:
            self._patterns.append(pattern)
            self._identities.append(identity)

    @cached_property
    def _filter(self) -> Any:
        made = re2.Filter()
        for pattern in self._patterns:
            made.Add(pattern)
        made.Compile()
        return made

    def hits(self, text: str) -> list[int]:
        """Give the identities of the patterns that are found in a text."""
        found = (
            [self._identities[index] for index in self._filter.Match(text) or ()] if self._patterns else []
        )
        for identity, size in self._long:
            if len(text) >= size and max(map(len, text.split("\n"))) >= size:
                found.append(identity)
        return found
