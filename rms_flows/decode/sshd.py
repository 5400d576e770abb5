"""Messages of the SSH server → ECS fields of an authentication.

A user's name is what an attacker chooses, also `x from 10.0.0.1 port 22 ssh2`: the last address of a line
counts.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.lines import ADDRESS, Columns, Form, said
from rms_flows.schema import TEXTS

_FROM: Final = rf"from (?P<ip>{ADDRESS}|\S+?)(?: port (?P<port>\d+))?"
_BY: Final = rf"(?:(?:authenticating|invalid) user (?P<user>.*) )?(?P<ip>{ADDRESS})(?: port (?P<port>\d+))?"


_FORMS: Final = (
    Form(
        rf"^Failed (?P<method>\S+) for (?:invalid user )?(?P<user>.*) {_FROM}(?: ssh\d?)?(?:: .*)?$",
        "ssh_login",
        "failure",
    ),
    Form(
        rf"^Accepted (?P<method>\S+) for (?P<user>.*) {_FROM}(?: ssh\d?)?(?:: .*)?$", "ssh_login", "success"
    ),
    Form(rf"^(?:Invalid|Illegal) user (?P<user>.*) {_FROM}$", "ssh_invalid_user", "failure"),
    Form(
        r"^(?:error: )?maximum authentication attempts exceeded for (?:invalid user )?(?P<user>.*) "
        rf"{_FROM}(?: ssh\d?)?(?: \[preauth\])?$",
        "ssh_too_many_attempts",
        "failure",
    ),
    Form(
        r"^pam_unix\(sshd:auth\): authentication failure;.* rhost=(?P<ip>\S*)(?: +user=(?P<user>.*))?$",
        "pam_authentication",
        "failure",
    ),
    Form(
        rf"^(?:Connection (?:closed|reset) by|Disconnected from) (?:user (?:.*) )?{_BY}(?: \[preauth\])?$",
        "ssh_disconnect",
        None,
    ),
    Form(rf"^Received disconnect {_FROM}:.*$", "ssh_disconnect", None),
    Form(rf"^Did not receive identification string {_FROM}$", "ssh_no_identification", None),
)


def fields(message: pa.Array) -> Columns:
    """Read messages of `sshd`.

    Args:
        message: Text, shape (rows,).

    Returns:
        `event.category`, `event.action`, `event.outcome`, `user.name`, `source.ip`, `source.port`,
        `source.address` where there is a name instead of an address, and `sshd.method`.

    Example:
        >>> got = fields(pa.array(["Failed none for invalid user x from 1.1.1.1 from 6.6.6.6"]))
        >>> got["source.ip"][0].as_py(), got["user.name"][0].as_py(), got["event.outcome"][0].as_py()
        ('6.6.6.6', 'x from 1.1.1.1', 'failure')
    """
    found = said(_FORMS, message)
    is_address = pc.match_substring_regex(found["ip"], rf"^(?:{ADDRESS})$")
    authentication = pa.array([["authentication"]], TEXTS).take(
        pc.if_else(found["outcome"].is_valid(), pa.scalar(0, pa.int64()), None)
    )
    return {
        "event.category": authentication,
        "event.action": found["action"],
        "event.outcome": found["outcome"],
        "user.name": found["user"],
        "source.ip": pc.if_else(is_address, found["ip"], None),
        "source.address": pc.if_else(is_address, None, found["ip"]),
        "source.port": found["port"],
        "sshd.method": found["method"],
    }
