"""Regular expressions are RE2: searched in time linear in the text, whatever a rule's author wrote."""

from __future__ import annotations

from typing import Any

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
