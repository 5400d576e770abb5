"""Envelopes of our probe: what it observed, and whether it was the probe that said so.

A forged envelope is `untrusted`, one of a probe of which no public key is known `unknown`; of the others what
the gateway confirmed counts, as for any source. The id of an event is made from its signed envelope: who puts
one in again adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.decode.contract import Context, Failure, Format, Parsed
from rms_flows.decode.json_lines import Columns, JsonDecoder, Shape, sniff_keys
from rms_flows.envelope import Envelope, Verifier, canonical, read
from rms_flows.model import Trust
from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.trust import UNKNOWN, UNTRUSTED

_PAYLOAD: Final = "payload."
_OURS: Final = ENVELOPE.keys() | OPTIONAL_ENVELOPE.keys() | {"agent.id", "probe.sequence"}


class ProbeDecoder:
    """Verifies envelopes one by one, and decodes them together."""

    def __init__(self, context: Context) -> None:
        self._json = JsonDecoder(context, Shape(("@timestamp",), _needs, _finish))
        self._probes = context.options.probes
        self._own = _keys(context.options.trust, context.name)
        self._keys = {
            name: _keys(trust, f"{name}: trust.publicKey") for name, trust in (self._probes or {}).items()
        }

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
        """Add who said it, and whether that is so."""
        verdicts = [self._verdict(one, line) for one, line in zip(envelopes, lines, strict=True)]
        parsed.columns |= {
            "event.dataset": pa.array([one.kind for one in envelopes], pa.string()),
            "agent.id": pa.array([one.probe for one in envelopes], pa.string()),
            "probe.sequence": pa.array([str(one.sequence) for one in envelopes], pa.string()),
            "event.id": pa.array(map(_id, envelopes, verdicts), pa.string()),
        }
        parsed.known["rms.trust"] = pa.array(verdicts, pa.string())
        if self._probes is not None:
            parsed.known["rms.source"] = parsed.columns["agent.id"]

    def _verdict(self, envelope: Envelope, line: bytes) -> str | None:
        """Judge the signature; None where it is right."""
        known = self._own if self._probes is None else self._keys.get(envelope.probe)
        if known is None:
            return UNKNOWN
        return None if known.signed(line) else UNTRUSTED


def _keys(trust: Trust | None, where: str) -> Verifier | None:
    return Verifier(trust.publicKey, where) if trust is not None and trust.publicKey else None


def _id(envelope: Envelope, verdict: str | None) -> str | None:
    """Make the id of an event from all that was signed; a forger doesn't get that of another."""
    return None if verdict == UNTRUSTED else xxhash.xxh3_128_hexdigest(canonical(envelope._asdict()))


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
