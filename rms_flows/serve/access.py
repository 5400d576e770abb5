"""Who may do what: tokens in a file that only its owner reads, each with a role."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from rms_flows.errors import DocumentError
from rms_flows.secret import read_private

Role = Literal["probe", "reader", "admin"]
"""A probe sends envelopes and reads documents; a reader only reads; an admin changes documents too."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
_SHORTEST: Final = 16
"""Characters of a token: what is shorter may be guessed."""


@dataclass(frozen=True, slots=True)
class Access:
    """What those who ask may do.

    Args:
        tokens: SHA-256 of a token → role; None asks for no token.
        otherwise: Role of all where there are no tokens.
    """

    tokens: Mapping[bytes, Role] | None = field(default=None, repr=False)
    otherwise: Role = "admin"

    def role(self, token: str | None) -> Role | None:
        """Give the role of who shows a token, or none; None lets nobody in.

        Comparing hashes tells who measures time nothing of a token.
        """
        if self.tokens is None:
            return self.otherwise
        return None if token is None else self.tokens.get(_hashed(token))


def tokens(path: Path) -> Mapping[bytes, Role]:
    """Read a file of lines `ROLE TOKEN`; blank ones and those that begin with # say nothing.

    Raises:
        DocumentError: It can't be read, others may read it, or a line is not so; no token is shown.
    """
    data = read_private(path, "the tokens", "make some with `openssl rand -hex 32`")
    try:
        lines = [line.split() for line in data.decode().splitlines()]
    except UnicodeDecodeError:
        raise DocumentError(
            "tokens can't be read (no UTF-8)", where=str(path), remedy="save it as UTF-8"
        ) from None
    found: dict[bytes, Role] = {}
    for number, words in enumerate(lines, 1):
        if not words or words[0].startswith("#"):
            continue
        role = next((one for one in ROLES if words[0] == one), None)
        if role is None or len(words) != 2 or len(words[1]) < _SHORTEST:  # noqa: PLR2004  role and token
            raise DocumentError(
                "expected a role, a blank and a token",
                where=f"{path}:{number}",
                remedy=f"roles are {', '.join(ROLES)}; a token has at least {_SHORTEST} characters, "
                "as `openssl rand -hex 32` gives",
            )
        found[_hashed(words[1])] = role
    if not found:
        raise DocumentError("holds no token", where=str(path), remedy="write lines such as `admin TOKEN`")
    return found


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
