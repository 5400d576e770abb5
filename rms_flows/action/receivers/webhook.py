"""A web server that takes notifications, signed by the scheme of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the base64 of
HMAC-SHA256 over `webhook-id.webhook-timestamp.body`, by a secret of 24 to 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from rms_flows.action.receivers import secrets
from rms_flows.action.receivers.contract import Outcome, Outgoing
from rms_flows.action.receivers.post import poster
from rms_flows.errors import DocumentError
from rms_flows.model.actions import Webhook as Document
from rms_flows.report import WRITERS

PREFIX: Final = "whsec_"
LEAST: Final = 24
"""Bytes of a secret at least, as the standard says."""

TYPE: Final = "rms.reports"


class Webhook:
    """Posts a notification: `{type, timestamp, data: {id, receiver, group, count, reports}}`.

    Guarantee: what was answered with 2xx the server has. All else is tried again, under the same
    `webhook-id` and `Idempotency-Key`, with the same body but another `webhook-timestamp`.

    Args:
        document: Its part of the document of actions.
        folder: Where relative paths begin.
        where: Names it in errors.

    Raises:
        DocumentError: The address is none, or a secret can't be had.
    """

    def __init__(self, document: Document, folder: Path, where: str) -> None:
        self._form = document.form
        self._poster = poster(document, folder, where)
        secret = secrets.text(document.secret, folder, f"{where}.secret")
        self._key = None if secret is None else key(secret, f"{where}.secret")

    @property
    def uri(self) -> str:
        """See `Receiver.uri`."""
        return self._poster.uri

    def send(self, one: Outgoing, now: float) -> Outcome:
        """See `Receiver.send`."""
        body = self.body(one)
        stamp = int(now)
        headers = {"Idempotency-Key": one.id, "webhook-id": one.id, "webhook-timestamp": str(stamp)}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, one.id, stamp, body)
        return self._poster.post(body, headers, now)

    def body(self, one: Outgoing) -> bytes:
        """Write what is posted: the same bytes at each try."""
        reports = [msgspec.Raw(line) for line in self._written(one.table)]
        data = {
            "id": one.id,
            "receiver": one.receiver,
            "group": one.group,
            "form": self._form,
            "count": len(reports),
            "reports": reports,
        }
        return msgspec.json.encode({"type": TYPE, "timestamp": one.due, "data": data})

    def _written(self, table: pa.Table) -> list[bytes]:
        return [line for batch in table.to_batches() for line in WRITERS[self._form](batch)]


def key(secret: str, where: str) -> bytes:
    """Give the bytes of a secret: those of the base64 behind `whsec_`, else of the text.

    Raises:
        DocumentError: It is no base64, or too short to keep anybody from guessing it.
    """
    try:
        coded = secret.removeprefix(PREFIX).rstrip("=")
        coded += "=" * (-len(coded) % 4)  # some give it without
        found = base64.b64decode(coded, validate=True) if secret.startswith(PREFIX) else secret.encode()
    except binascii.Error:
        raise DocumentError(
            f"what follows {PREFIX} is no base64", where=where, remedy="write it as the receiver gave it"
        ) from None
    if len(found) < LEAST:
        raise DocumentError(
            f"the secret has {len(found)} bytes", where=where, remedy=f"take {LEAST} random bytes or more"
        )
    return found


def signature(known: bytes, name: str, stamp: int, body: bytes) -> str:
    """Sign an attempt.

    Example:
        >>> signature(b"k" * 24, "msg_1", 1614265330, b"{}")
        'v1,...='
    """
    signed = hmac.digest(known, f"{name}.{stamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"
