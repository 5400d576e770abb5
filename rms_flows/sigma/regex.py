"""Regular expressions are RE2: searched in time linear in the text, whatever a rule's author wrote."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final, NamedTuple

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

_LEAST: Final = 3
"""Characters of a literal that is worth looking for."""

_PARTS: Final = re.compile(
    r"""(?P<literal>\\(?![0-9A-Za-z])[\x00-\x7f]|(?!\{[0-9]+(?:,[0-9]*)?\})[^\\\[()|.^$*+?\x80-\U0010ffff])
    |(?P<repeated>\{[0-9]+(?:,[0-9]*)?\}|[*+?])
    |(?P<any>[.^$]|\\[dDsSwWbBAztnrfv]|[\x80-\U0010ffff])
    |(?P<set>\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\])
    |(?P<open>\((?:\?:|\?P<\w+>|(?!\?)))
    |(?P<close>\))
    |(?P<either>\|)""",
    re.VERBOSE | re.DOTALL,
)
"""What patterns are made of; of one with something else nothing is told."""


class Needed(NamedTuple):
    """What each text has in which a pattern is found.

    Args:
        literals: ASCII, in small letters unless their case counts; maybe none.
        cased: Whether it does.
    """

    literals: tuple[str, ...]
    cased: bool


def needed(pattern: str) -> Needed:
    r"""Tell what each text has in which a pattern is found: what stands in it as it is, in no brackets.

    Example:
        >>> needed(r"(?i)^C:\\Users\\[^\\]+\\NTUSER\.DATA?$"), needed("abc|abd")
        (Needed(literals=('c:\\users\\', '\\ntuser.dat'), cased=False), Needed(literals=(), cased=True))
    """
    flags = re.match(r"\(\?[ims]+\)|", pattern)
    cased = flags is None or "i" not in flags[0]
    at, depth, run = 0 if flags is None else flags.end(), 0, ""
    found: list[str] = []
    while at < len(pattern):
        part = _PARTS.match(pattern, at)
        if part is None or (part.lastgroup == "either" and not depth):
            return Needed((), cased)
        at = part.end()
        depth += (part.lastgroup == "open") - (part.lastgroup == "close")
        if part.lastgroup == "literal" and not depth:
            run += part[0][-1]
            continue
        if part.lastgroup == "repeated" and part[0] != "+":  # the last character maybe none
            run = run[:-1]
        found.append(run)
        run = ""
    long = [one if cased else one.lower() for one in (*found, run) if len(one) >= _LEAST]
    return Needed(tuple(long), cased)


class Patterns:
    """Patterns that are searched for together.

    RE2 looks for the literals that its patterns need, all at once, and for a pattern only where a text has
    what it needs. That a line is long (`.{1000,}`) is counted: RE2 needs a state for each character.
    """

    def __init__(self) -> None:
        self._patterns: list[str] = []
        self._identities: list[int] = []
        self._long: list[tuple[int, int]] = []
        self.needed: list[Needed] = []
        """Of all patterns that need a literal."""
        self.anywhere = False
        """Whether there are others."""

    def add(self, identity: int, pattern: str) -> None:
        """Take a pattern up, before the first search."""
        if found := _LONG.fullmatch(pattern):
            self._long.append((identity, int(found[1])))
        else:
            self._patterns.append(pattern)
            self._identities.append(identity)
        if (asked := needed(pattern)).literals:
            self.needed.append(asked)
        else:
            self.anywhere = True

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
