"""What a run counts, under names that the DoFns and the summary share. Knows no Beam.

A count is named by a *stage* (`source:ID`, `processor:ID`, `sink:ID`, `dead`) and a word in it.
"""

from __future__ import annotations

from collections import Counter

Account = Counter[tuple[str, str]]
"""(stage, word) → count; accounts of shares are added."""


def source(name: str) -> str:
    """Stage that reads a source; its words are those of `decode.contract.Counts`, `batches` and `fragments`.

    Example:
        >>> source("auth")
        'source:auth'
    """
    return f"source:{name}"


def annotate(name: str) -> str:
    """Stage that annotates a source; like those after it, it counts `rows` in and `found` out."""
    return f"annotate:{name}"


def window(name: str) -> str:
    """Stage that keeps the events of the replay's period."""
    return f"window:{name}"


def processor(name: str) -> str:
    """Stage of a processor, over all its inputs."""
    return f"processor:{name}"


def together(name: str) -> str:
    """Stages with a processor's state: `rows` are matches, `found` reports, `matches` for those above."""
    return f"together:{name}"


def clip(name: str) -> str:
    """Stage that keeps from a sink the observations that were read only to judge others."""
    return f"clip:{name}"


def sink(name: str) -> str:
    """Stage of a sink, over all its inputs."""
    return f"sink:{name}"


def formats(name: str) -> str:
    """Stage whose words are the formats that were guessed for a source's inputs."""
    return f"formats:{name}"


READER = "reader"
"""Stage that counts for the engines of a stream: `turns` of its reader, its `ends`, the acknowledgements that
its batches are `owed`, and those that were `given`."""

DEAD = "dead"
"""Stage whose words are the reasons of dead letters."""

REFUSED = "refused"
"""Word of a sink's stage: rows that came and became dead letters."""

DEAD_LETTERS = "dead-letters"
"""Stage of the sink that takes them."""


def words(account: Account, stage: str) -> Counter[str]:
    """Give the counts of one stage.

    Example:
        >>> words(Account({("dead", "json"): 2, ("source:a", "rows"): 5}), "dead")
        Counter({'json': 2})
    """
    return Counter({word: count for (of, word), count in sorted(account.items()) if of == stage})
