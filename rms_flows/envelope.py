"""What a probe sends, an envelope: an observation under the probe's id and a number, signed with its key.

An envelope is a line of JSON. What is signed is a prefix, so that nothing else which the key ever signs can
pass for an envelope, and the *canonical* text of all members but the signature: keys sorted by code point, no
blanks, UTF-8 without needless escapes, numbers as Python's `repr` writes them (whole ones as digits, others
as the shortest digits that give the same double). Lines are written in that form themselves, the signature
last; who parses and writes them anew in another order or with blanks doesn't break the signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from rms_flows.errors import DocumentError
from rms_flows.model import Key, Trust

PREFIX: Final = b"rms-probe-envelope-1\n"
"""Stands before what is signed."""

ALGORITHM: Final = "ed25519"
"""Of RFC 8032; begins the text of a public key."""

MEMBERS: Final = frozenset({"@timestamp", "kind", "payload", "probe", "sequence", "signature"})
"""What an envelope has, no more and no less."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNATURE: Final = b',"signature":"'
_KEY: Final = 32
"""Bytes of a public key."""
_SIGNED: Final = 64
"""Bytes of a signature."""
_CLOSE: Final = b'"}'
_END: Final = len(_SIGNATURE) + 4 * -(-_SIGNED // 3) + len(_CLOSE)
"""Bytes from the comma before the signature on."""


class Observed(NamedTuple):
    """What a probe has observed.

    Args:
        kind: What it is, becomes `event.dataset`.
        payload: Fields by their ECS names.
        time: Microseconds since 1970.
    """

    kind: str
    payload: dict[str, Any]
    time: int


class Envelope(NamedTuple):
    """What a line says; whether it is true, `Verifier.signed` tells."""

    probe: str
    sequence: int
    time: int  # microseconds since 1970
    kind: str
    payload: dict[str, Any]


def canonical(value: Any) -> bytes:
    """Write JSON in the one form that is signed; raises ValueError for what is no JSON, such as NaN.

    Example:
        >>> canonical({"b": 1.50, "a": ["é", 1e-7]}).decode()
        '{"a":["é",1e-07],"b":1.5}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


class Signer:
    """Signs what one probe observes.

    Args:
        key: 32 bytes, the private key.
        probe: Id of the probe.
    """

    def __init__(self, key: bytes, probe: str) -> None:
        self._sign = _ed25519().Ed25519PrivateKey.from_private_bytes(key).sign
        self._probe = probe

    def line(self, sequence: int, observed: Observed) -> bytes:
        """Write an envelope, without a line feed; raises ValueError where the payload is no JSON."""
        text = canonical(
            {
                "@timestamp": stamp(observed.time),
                "kind": observed.kind,
                "payload": observed.payload,
                "probe": self._probe,
                "sequence": sequence,
            }
        )
        made = base64.b64encode(self._sign(PREFIX + text))
        return text[:-1] + _SIGNATURE + made + _CLOSE


class Verifier:
    """Tells whether lines were signed with a key.

    Args:
        key: Its public half, as `rms probe key` prints it.
        where: Names it in errors.

    Raises:
        DocumentError: It is no public key, or nothing here can verify signatures.
    """

    def __init__(self, key: str, where: str | None = None) -> None:
        library = _ed25519()
        try:
            self._key = library.Ed25519PublicKey.from_public_bytes(_public(key))
        except (ValueError, binascii.Error):
            raise DocumentError(
                f"{key[:60]!r} is no public key of a probe",
                where=where,
                remedy=f"write {ALGORITHM}:BASE64, as `rms probe key` prints it",
            ) from None

    def signed(self, line: bytes) -> bool:
        """Tell whether a line is an envelope that was signed with the key, however it is written now."""
        text, end = line[:-_END] + b"}", line[-_END:]
        if end.startswith(_SIGNATURE) and self._fits(text, end[len(_SIGNATURE) : -len(_CLOSE)]):
            return True  # as it was written
        try:
            members = json.loads(line)
            signature = members.pop("signature")
            return self._fits(canonical(members), signature.encode())
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return False

    def _fits(self, text: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  see _ed25519

        try:
            self._key.verify(base64.b64decode(signature, validate=True), PREFIX + text)
        except (InvalidSignature, binascii.Error):
            return False
        return True


_verifier = lru_cache(maxsize=4_096)(Verifier)


def verifiers(trust: Trust | None, where: str, *, strict: bool = True) -> Iterator[tuple[Key, Verifier]]:
    """Give the keys of a probe that can verify signatures, each with what does so.

    Args:
        trust: What was confirmed of the probe.
        where: Names it in errors.
        strict: Raise for what is no key; else it is left out, since it verifies nothing.

    Raises:
        DocumentError: As `Verifier`.
    """
    for key in () if trust is None else trust.known_keys:
        if key.publicKey:
            try:
                yield key, _verifier(key.publicKey, where)
            except DocumentError:
                if strict:
                    raise


def read(line: bytes) -> Envelope:
    """Take a line apart.

    Raises:
        ValueError: It is no envelope; says why.
    """
    try:
        members = json.loads(line)
    except RecursionError:
        raise ValueError("no envelope: nested too deep") from None
    except ValueError as error:
        raise ValueError(f"no envelope: no JSON ({error})") from None
    if not isinstance(members, dict) or members.keys() != MEMBERS:
        raise ValueError(f"no envelope: expected an object with {', '.join(sorted(MEMBERS))}")
    texts, sequence = [members[name] for name in ("probe", "kind", "@timestamp")], members["sequence"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(members["payload"], dict):
        raise ValueError("no envelope: probe, kind and @timestamp have to be texts, and payload an object")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 1:
        raise ValueError(f"no envelope: the sequence {sequence!r} is no number from 1 on")
    return Envelope(members["probe"], sequence, _micros(texts[2]), members["kind"], members["payload"])


def stamp(micros: int) -> str:
    """Write a time as envelopes have it.

    Example:
        >>> stamp(1_500_000)
        '1970-01-01T00:00:01.500000Z'
    """
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _micros(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError):
        raise ValueError(f"no envelope: {text!r} is no time with a zone") from None


def public_text(key: bytes) -> str:
    """Give the public half of a private key as documents have it."""
    return f"{ALGORITHM}:{base64.b64encode(_public_half(key)).decode()}"


def fingerprint(public: str) -> str:
    """Give what tells a public key from others at a glance, for `trust.fingerprint`.

    Example:
        >>> fingerprint("ed25519:" + 43 * "A" + "=")
        'sha256:66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925'
    """
    return f"sha256:{hashlib.sha256(_public(public)).hexdigest()}"


def generate() -> bytes:
    """Make a private key, 32 bytes."""
    made: bytes = _ed25519().Ed25519PrivateKey.generate().private_bytes_raw()
    return made


def _public(text: str) -> bytes:
    name, _, key = text.partition(":")
    if name != ALGORITHM:
        raise ValueError
    made = base64.b64decode(key, validate=True)
    if len(made) != _KEY:
        raise ValueError
    return made


def _public_half(key: bytes) -> bytes:
    made: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
    return made


@cache
def _ed25519() -> Any:
    """Load the library, which not everybody has."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  see above
    except ImportError:
        raise DocumentError(
            "signatures need the library cryptography, which is not installed",
            remedy="pip install 'rms-flows[probe]'",
        ) from None
    return ed25519
