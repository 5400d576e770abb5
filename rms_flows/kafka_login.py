"""Who we are to brokers, and whom we trust: from the environment or files, never from a URI."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rms_flows.errors import DocumentError
from rms_flows.secret import from_environment, read_text

PREFIX: Final = "RMS_KAFKA_"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "[::1]")
_MECHANISMS: Final = {"": MECHANISMS[0], **{name: name for name in MECHANISMS}}
_YES: Final = {"": False, "false": False, "true": True}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Login:
    """What a client needs to be let in; what is secret is not shown.

    Args:
        tls: Whether the connection is encrypted.
        user: Name, by SASL; None goes without.
        password: Of the user.
        mechanism: Of SASL.
        authority: File of certificates to trust instead of the system's.
        certificate: File of our own certificate, where brokers ask for one.
        key: File of its key.
        key_password: Of that file.
    """

    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    mechanism: str = MECHANISMS[0]
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)

    @property
    def protocol(self) -> str:
        """What Kafka calls the kind of connection."""
        return f"{'SASL_' if self.user else ''}{'SSL' if self.tls else 'PLAINTEXT'}"


def login(hosts: tuple[str, ...]) -> Login:
    """Read the environment.

    `RMS_KAFKA_TLS=true` encrypts, with `RMS_KAFKA_CA` as the authority and, where brokers want to know us by
    certificate, `RMS_KAFKA_CERTIFICATE`, `RMS_KAFKA_KEY` and `RMS_KAFKA_KEY_PASSWORD`. `RMS_KAFKA_USER` and
    `RMS_KAFKA_PASSWORD` log in by `RMS_KAFKA_MECHANISM`. Passwords also come from the file that
    `…_PASSWORD_FILE` names.

    Args:
        hosts: `host:port` of the brokers.

    Raises:
        DocumentError: Something is missing or unknown, a file can't be read, or a password would cross a
            network in plain text.
    """
    user, password = os.environ.get(f"{PREFIX}USER"), from_environment(f"{PREFIX}PASSWORD")
    if bool(user) != bool(password):
        raise DocumentError(
            "a user needs a password, and a password a user",
            where=f"{PREFIX}{'USER' if user else 'PASSWORD'}",
            remedy=f"set both {PREFIX}USER and {PREFIX}PASSWORD, or {PREFIX}PASSWORD_FILE",
        )
    known = Login(
        tls=_chosen("TLS", _YES, "true or false"),
        user=user or None,
        password=password or None,
        mechanism=_chosen("MECHANISM", _MECHANISMS, " or ".join(MECHANISMS)),
        authority=_file("CA"),
        certificate=_file("CERTIFICATE"),
        key=_file("KEY"),
        key_password=from_environment(f"{PREFIX}KEY_PASSWORD"),
    )
    if not known.tls and any(host.rpartition(":")[0] not in _THIS_MACHINE for host in hosts) and known.user:
        raise DocumentError(
            "a password would cross the network in plain text",
            where=f"kafka://{','.join(hosts)}",
            remedy=f"set {PREFIX}TLS=true, or unset the login",
        )
    return known


def _chosen(name: str, known: dict[str, _T], expected: str) -> _T:
    value = os.environ.get(PREFIX + name, "")
    if value not in known:
        raise DocumentError(f"{value!r} is not {expected}", where=PREFIX + name, remedy="mend or unset it")
    return known[value]


def _file(name: str) -> str | None:
    path = os.environ.get(PREFIX + name)
    if path:
        read_text(path, PREFIX + name)
    return path or None
