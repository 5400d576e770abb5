"""Envelopes of our probe: what it observed, and whether it was the probe that said so.

A forged envelope is `untrusted`, one of a probe of which no public key is known `unknown`; of the others
counts what the gateway confirmed of the key that signed them. The id of an event is made from its signed
envelope: who puts one in again adds nothing, and a forger doesn't get the id of another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.confirm import Confirmed
from rms_flows.decode.contract import Context, Failure, Format, Parsed
from rms_flows.decode.json_lines import Columns, JsonDecoder, Shape, sniff_keys
from rms_flows.envelope import Envelope, Verifier, canonical, read, verifiers
from rms_flows.model import Key
from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.trust import FORGED

_PAYLOAD: Final = "payload."
REMEMBERED: Final = 65_536
"""Numbers of envelopes, the latest, of which a second one is noticed; `rms probe verify` knows all."""

_OURS: Final = ENVELOPE.keys() | OPTIONAL_ENVELOPE.keys() | {"agent.id", "probe.sequence"}


class ProbeDecoder:
    """Verifies envelopes one by one, and decodes them together."""

    def __init__(self, context: Context) -> None:
        self._json = JsonDecoder(context, Shape(("@timestamp",), _needs, _finish))
        self._probes = context.options.probes
        self._own = [*verifiers(context.options.trust, context.name)]
        self._numbers: OrderedDict[tuple[str, int], str] = OrderedDict()  # signed envelope → its id

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn envelopes into columns, a row each."""
        found: list[tuple[int, Envelope]] = []
        failures, blank = [], []
        for number, record in enumerate(records):
            try:
                if record.strip():
                    found.append((number, read(record)))
                else:
                    blank.append(number)
            except ValueError as error:
                failures.append(Failure(number, "envelope", str(error)))
        places = np.array([number for number, _ in found], np.int64)
        parsed = self._json.parse([records[number] for number, _ in found]) if found else Parsed({})
        parsed.failures = [
            *failures,
            *(one._replace(record=int(places[one.record])) for one in parsed.failures),
        ]
        parsed.blank = blank
        if found:
            rows = np.arange(len(found)) if parsed.record is None else parsed.record
            parsed.record = places[rows]
            there = [found[row] for row in rows.tolist()]
            self._tell(parsed, [records[number] for number, _ in there], [one for _, one in there])
        return parsed

    def _tell(self, parsed: Parsed, lines: Sequence[bytes], envelopes: Sequence[Envelope]) -> None:
        """Add who said it, and who signed it."""
        keys = _Keys(self._own, self._probes)
        which = [keys.of(one.probe, line) for one, line in zip(envelopes, lines, strict=True)]
        ids = [None if key == FORGED else _id(one) for one, key in zip(envelopes, which, strict=True)]
        parsed.columns |= {
            "event.dataset": pa.array([one.kind for one in envelopes], pa.string()),
            "agent.id": pa.array([one.probe for one in envelopes], pa.string()),
            "probe.sequence": pa.array([str(one.sequence) for one in envelopes], pa.string()),
            "event.id": pa.array(ids, pa.string()),
        }
        parsed.signed = keys.known, np.array(which, np.int64)
        parsed.unsure = sum(one.probe in keys.unsure for one in envelopes)
        parsed.conflicts = sum(
            self._conflict((one.probe, one.sequence), name)
            for one, key, name in zip(envelopes, which, ids, strict=True)
            if key > 0 and name is not None
        )
        if self._probes is not None:
            parsed.known["rms.source"] = parsed.columns["agent.id"]

    def _conflict(self, number: tuple[str, int], name: str) -> bool:
        """Tell whether a key signed another envelope of this number: two have it, or a probe lost count."""
        before = self._numbers.setdefault(number, name)
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        return before != name


class _Keys:
    """The keys of a block of envelopes: who confirms is asked once for each probe.

    Args:
        own: Keys of the one probe that all are of.
        probes: Tells those of each probe instead.
    """

    def __init__(self, own: Sequence[tuple[Key, Verifier]], probes: Confirmed | None) -> None:
        self.known: list[Key | None] = [None]
        self.unsure: set[str] = set()
        self._own, self._probes = own, probes
        self._numbers: dict[str, list[tuple[int, Verifier]]] = {}

    def of(self, probe: str, line: bytes) -> int:
        """Give the number of the key that signed a line; 0 where none is known, else `FORGED`."""
        name = probe if self._probes is not None else ""
        numbers = self._numbers.get(name)
        if numbers is None:
            numbers = self._numbers[name] = self._numbered(name)
        if not numbers:
            return 0
        return next((number for number, verifier in numbers if verifier.signed(line)), FORGED)

    def _numbered(self, probe: str) -> list[tuple[int, Verifier]]:
        found = []
        for key, verifier in self._own if self._probes is None else self._asked(self._probes, probe):
            found.append((len(self.known), verifier))
            self.known.append(key)
        return found

    def _asked(self, probes: Confirmed, probe: str) -> Iterator[tuple[Key, Verifier]]:
        standing = probes.of(probe)
        if not standing.sure:
            self.unsure.add(probe)
        return verifiers(standing.trust, probes.where, strict=False)  # a slip there must not end a stream


def _id(envelope: Envelope) -> str:
    """Make the id of an event from all that was signed."""
    return xxhash.xxh3_128_hexdigest(canonical(envelope._asdict()))


def _needs(needed: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{_PAYLOAD}{name}" for name in needed)


def _finish(columns: Columns, _context: Context) -> Columns:
    """Take fields out of the payload; none of them passes for one of ours."""
    made = {name: column for name, column in columns.items() if name == "@timestamp"}
    for name, column in columns.items():
        if name.startswith(_PAYLOAD):
            own = name.removeprefix(_PAYLOAD)
            made[f"document.{own}" if own in _OURS or own.startswith("rms.") else own] = column
    return made


def _sniff(head: bytes) -> int:
    return 95 if sniff_keys(head, b'"sequence"', b'"signature"', b'"payload"') == 3 else 0  # noqa: PLR2004  all


FORMAT: Final = Format(
    "probe", "Signed envelopes of our probe", "lines", _sniff, ProbeDecoder, ("@timestamp",)
)
