"""Whether what lies in files is what probes sent: signatures, gaps, repeats, clocks."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from rms_flows.confirm import Confirmed
from rms_flows.envelope import Envelope, Verifier, read, stamp, verifiers
from rms_flows.errors import DocumentError, SourceError
from rms_flows.model import Key

LONGEST: Final = 16 * 1024 * 1024
"""Bytes of the longest line."""


class Problem(NamedTuple):
    """Something that is wrong.

    Args:
        kind: Short and countable: `broken`, `forged`, `unknown`, `unconfirmed`, `repeated`, `conflict`,
            `gap`, `clock`.
        where: `FILE:LINE`, or the probe.
        what: For people.
    """

    kind: str
    where: str
    what: str


@dataclass(slots=True)
class Account:
    """What was seen of one probe.

    Args:
        seen: Number → hash of the envelope.
        last: The envelope before.
    """

    seen: dict[int, bytes] = field(default_factory=dict)
    last: Envelope | None = None


class Verification:
    """Reads envelopes of any number of probes, and finds what is wrong with them.

    Args:
        known: Who confirms the probes.
        now: The time, microseconds since 1970.
        skew: Microseconds that a clock may go back, or ahead of now.

    Raises:
        DocumentError: A public key is none, or there is none at all.
    """

    def __init__(self, known: Confirmed, now: int, skew: int) -> None:
        self._known = known
        self._keys: dict[str, list[tuple[Key, Verifier]]] = {}
        listed = known.all()
        if listed and not [name for name in listed if self._of(name)]:  # gateways need not list any
            raise DocumentError(
                "no manifest has the public key of a probe",
                remedy="name manifests with --manifest or a --registry, whose trust.publicKey is what "
                "`rms probe key` printed",
            )
        self._latest, self._skew = now + skew, skew
        self.probes: dict[str, Account] = {}
        self.counts: Counter[str] = Counter()

    def _of(self, probe: str) -> list[tuple[Key, Verifier]]:
        """Give the keys of a probe, which are asked for once."""
        found = self._keys.get(probe)
        if found is None:
            trust = self._known.of(probe).trust
            found = self._keys[probe] = [*verifiers(trust, f"{probe}: trust.publicKey")]
        return found

    def lines(self, lines: Iterable[bytes], name: str) -> Iterator[Problem]:
        """Look at the lines of a file, in their order; give what is wrong with each."""
        for number, line in enumerate(lines, 1):
            if line.strip():
                for kind, what in self._line(line.rstrip(b"\r\n")):
                    self.counts[kind] += 1
                    yield Problem(kind, f"{name}:{number}", what)

    def _line(self, line: bytes) -> Iterator[tuple[str, str]]:
        try:
            envelope = read(line)
        except ValueError as error:
            yield "broken", str(error)
            return
        name = f"{envelope.probe} {envelope.sequence}"
        keys = self._of(envelope.probe)
        if not keys:
            yield "unknown", f"{name}: nobody has confirmed a key of this probe"
            return
        key = next((key for key, verifier in keys if verifier.signed(line)), None)
        if key is None:
            yield "forged", f"{name}: not signed with the key of the probe"
            return
        yield from ((kind, f"{name}: {what}") for kind, what in self._signed(envelope, line, key))

    def _signed(self, envelope: Envelope, line: bytes, key: Key) -> Iterator[tuple[str, str]]:
        account = self.probes.setdefault(envelope.probe, Account())
        content = blake2b(line, digest_size=8).digest()
        before = account.seen.get(envelope.sequence)
        if before is not None:
            same = "repeated", "was there before"
            other = (
                "conflict",
                "was there before with another content: two probes use one key, or state was lost",
            )
            yield same if before == content else other
            return
        account.seen[envelope.sequence] = content
        if not key.covers(envelope.time):
            yield "unconfirmed", f"the probe was not confirmed at {stamp(envelope.time)}"
        if envelope.time > self._latest:
            yield "clock", f"says {stamp(envelope.time)}, which is yet to come"
        last = account.last
        if last is not None and last.sequence < envelope.sequence and envelope.time < last.time - self._skew:
            yield "clock", f"goes back from {stamp(last.time)} to {stamp(envelope.time)}"
        account.last = envelope

    def gaps(self) -> Iterator[Problem]:
        """Give the numbers that are missing between the first and the last of each probe."""
        for name, account in sorted(self.probes.items()):
            numbers = sorted(account.seen)
            for before, after in pairwise(numbers):
                if after > before + 1:
                    self.counts["gap"] += 1
                    missing = after - before - 1
                    said = f"{before + 1}" if missing == 1 else f"{before + 1} to {after - 1}"
                    yield Problem("gap", name, f"{missing} missing: {said}")

    def said(self) -> Mapping[str, str]:
        """Tell of each probe how many envelopes are signed, and from which to which."""
        return {
            name: f"{len(account.seen)} signed, {min(account.seen)} to {max(account.seen)}"
            for name, account in sorted(self.probes.items())
        }


def lines(path: Path) -> Iterator[bytes]:
    """Read a file, `.gz` too, line by line.

    Raises:
        SourceError: It can't be read.
    """
    try:
        with _opened(path) as file:
            while line := file.readline(LONGEST):
                yield line
    except (OSError, EOFError) as error:
        raise SourceError(
            f"can't be read ({getattr(error, 'strerror', None) or error})",
            where=str(path),
            remedy="check path and rights",
        ) from None


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
