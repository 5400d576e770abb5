"""Who we are to a cluster, and whom we trust: from the environment or files, never from a URI."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import urlsplit

from rms_flows.errors import DocumentError
from rms_flows.secret import from_environment, read_text
from rms_flows.web import HERE

PREFIX: Final = "RMS_ELASTICSEARCH_"


def login(url: str) -> dict[str, Any]:
    """Give what the client needs to be let in at `url`; keep it out of logs.

    `RMS_ELASTICSEARCH_API_KEY`, or `RMS_ELASTICSEARCH_USER` and `RMS_ELASTICSEARCH_PASSWORD`; keys and
    passwords also from the file that `…_API_KEY_FILE` or `…_PASSWORD_FILE` names. `RMS_ELASTICSEARCH_CA`
    names a file of certificates to trust instead of the system's.

    Raises:
        DocumentError: They contradict each other, a file can't be read, or they would cross a network in
            plain text.
    """
    key, user, password = (
        from_environment(f"{PREFIX}API_KEY"),
        os.environ.get(f"{PREFIX}USER"),
        from_environment(f"{PREFIX}PASSWORD"),
    )
    known: dict[str, Any] = {}
    if key and (user or password):
        raise DocumentError(
            "there are an API key and a user", where=f"{PREFIX}API_KEY", remedy=f"unset it, or {PREFIX}USER"
        )
    if bool(user) != bool(password):
        raise DocumentError(
            "a user needs a password, and a password a user",
            where=f"{PREFIX}{'USER' if user else 'PASSWORD'}",
            remedy=f"set both {PREFIX}USER and {PREFIX}PASSWORD, or {PREFIX}PASSWORD_FILE",
        )
    if key:
        known["api_key"] = key
    elif user:
        known["basic_auth"] = (user, password)
    parts = urlsplit(url)
    if known and parts.scheme != "https" and parts.hostname not in HERE:
        raise DocumentError(
            "a login would cross the network in plain text",
            where=url,
            remedy="write elasticsearch+https://, or unset the login",
        )
    if parts.scheme == "https" and (authority := os.environ.get(f"{PREFIX}CA")):
        read_text(authority, f"{PREFIX}CA")
        known["ca_certs"] = authority
    return known
