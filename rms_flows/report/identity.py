"""The identity of a threat report: a hash of what it says, never of when or where it was made."""

from __future__ import annotations

from collections.abc import Iterable

import xxhash


def report_ids(rule: str, meaning: str, group: str, anchors: Iterable[str]) -> list[str]:
    """Give the id of each report: 32 hex digits of XXH3-128 over rule, meaning, group key and anchor event.

    Args:
        rule: The rule's id, the processor's where there is no rule.
        meaning: Hash of what the rule means, so that a changed rule makes new reports.
        group: The group key as JSON text, empty for single events.
        anchors: Ids of the events at which the condition is true.

    Example:
        >>> report_ids("r", "m", "", ["e1"]) == report_ids("r", "m", "", ["e1"])
        True
        >>> len({*report_ids("r", "m", "", ["e1", "e2"]), *report_ids("r", "n", "", ["e1"])})
        3
    """
    # The lengths keep ("ab", "c") and ("a", "bc") apart.
    head = xxhash.xxh3_128(f"{len(rule)},{len(meaning)},{len(group)}:{rule}{meaning}{group}".encode())
    ids = []
    for anchor in anchors:
        digest = head.copy()
        digest.update(anchor.encode())
        ids.append(digest.hexdigest())
    return ids
