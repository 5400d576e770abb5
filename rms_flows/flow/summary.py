"""What a run that succeeded tells of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """The account of a run that succeeded.

    Args:
        seconds: Wall time, start-up included.
        batches: Batches of observations read.
        sources: Source id → counts as in `decode.contract.Counts` (`framed`, `rows`, `dead`, `bytes` …).
        processors: Processor id → `rows` that came in, `found` that came out, and the fates that its step
            counts (for `sigma`: rules `evaluated`, `refused`, `unreachable`).
        sinks: Sink id → rows it keeps after the run, folded by id.
        outputs: Sink id → URI, without credentials.
        dead_letters: Reason (`error.type`) → records.
        dead_letters_uri: Where they lie; None where there were none.
        formats: Source id → formats that were guessed from content, with the number of fragments.
        notes: What a person should know, such as each refused rule with file, line and reason.
        reports: Rows that processors gave as threat reports.
    """

    seconds: float
    batches: int
    reports: int
    sources: Mapping[str, Mapping[str, int]]
    processors: Mapping[str, Mapping[str, int]]
    sinks: Mapping[str, int]
    outputs: Mapping[str, str]
    dead_letters: Mapping[str, int]
    dead_letters_uri: str | None
    formats: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    def _sum(self, name: str) -> int:
        return sum(counts.get(name, 0) for counts in self.sources.values())

    @property
    def rows(self) -> int:
        """Observations decoded."""
        return self._sum("rows")

    @property
    def bytes(self) -> int:
        """Bytes read, after decompression."""
        return self._sum("bytes")

    @property
    def dead(self) -> int:
        """Records that became dead letters."""
        return sum(self.dead_letters.values())

    @property
    def refused(self) -> int:
        """Rules that could not be evaluated."""
        return sum(counts.get("refused", 0) for counts in self.processors.values())

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> str:
        """Give the account as one JSON object, for scripts."""
        totals = {
            name: self._sum(name) for name in ("rows", "bytes", "duplicates", "conflicts", "blank", "misfits")
        }
        whole = {
            **totals,
            "rate": round(self.rate, 1),
            "dead": self.dead,
            "refused": self.refused,
            **asdict(self),
        }
        return json.dumps(whole, ensure_ascii=False)
