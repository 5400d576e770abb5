"""How a server is asked again and again for what is new: the `poll` of a source."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from rms_flows.model.documents import Document

DURATION: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
SECRET: Final = re.compile(
    r"^(proxy-)?authorization$|^auth$|^sig$|^x-.*(key|auth.*)$|"
    r"cookie|secret|passw|token|credential|signature|api[-_]?key",
    re.IGNORECASE,
)
"""Names of headers and parameters whose values are secret as a rule: no document and no URI holds them."""

_VARIABLE: Final = r"^RMS_POLL_[A-Z0-9_]{1,64}$"
_CODES: Final = ("iso", "seconds", "milliseconds", "microseconds", "number")


class Cursor(Document):
    """How a server is asked for what came after something: by the highest value that a field had so far."""

    parameter: str = Field(min_length=1, description="Of the question, such as lastdate.")
    field: str | None = Field(
        default=None,
        min_length=1,
        description="Path in a record, such as meta.updated; the time of the event unless told.",
    )
    written: str = Field(
        default="iso",
        description=f"How the parameter is written: {', '.join(_CODES)} (of a field that is no time), or a "
        "pattern of strftime such as %Y-%m-%d %H:%M:%S; UTC.",
    )
    start: datetime | int | None = Field(
        default=None, description="Ask from here on where nothing is known yet; unless told, for everything."
    )
    overlap: str | None = Field(
        default=None,
        pattern=DURATION,
        description="How far before the highest time to ask again, for what a server shows late; the "
        "source's lateness unless told.",
    )
    until: str | None = Field(
        default=None,
        min_length=1,
        description="Parameter of an end, which a replay gives; only where the field is the event's time.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.written not in _CODES and "%" not in self.written:
            raise ValueError(
                f"written: {self.written!r} is neither {', '.join(_CODES)} nor a pattern such as %Y-%m-%d"
            )
        number = self.written == "number"
        if number and self.field is None:
            raise ValueError("written: number needs the field that holds it")
        if number and (self.overlap or self.until):
            raise ValueError("overlap and until are for times, and written: number is none")
        if self.start is not None and isinstance(self.start, int) is not number:
            expected = "a whole number" if number else "a time such as 2026-01-31T00:00:00Z"
            raise ValueError(f"start has to be {expected}, as it is written: {self.written}")
        return self


class Next(Document):
    """Where the next page of an answer is: a link in it, a link in its header, or a parameter."""

    link: str | None = Field(
        default=None, min_length=1, description="Path in the answer of the next page's address."
    )
    header: bool = Field(default=False, description='It stands in the header, as Link: <…>; rel="next".')
    parameter: str | None = Field(
        default=None, min_length=1, description="Of the question: a page's number, an offset, or a token."
    )
    token: str | None = Field(
        default=None, min_length=1, description="Path in the answer of the parameter's next value."
    )
    first: int = Field(default=1, ge=0, description="The parameter's value for the first page.")
    step: int = Field(default=1, ge=1, description="How much it grows from page to page.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.link is not None) + self.header + (self.parameter is not None) != 1:
            raise ValueError("next is one of link, header: true, and parameter")
        given = self.model_fields_set
        if self.parameter is None and given & {"token", "first", "step"}:
            raise ValueError("token, first and step say what the parameter's values are; name the parameter")
        if self.token is not None and given & {"first", "step"}:
            raise ValueError("the values are tokens or numbers: leave out token, or first and step")
        return self


class Auth(Document):
    """Who we are to a server: one of these. A file lies in the document's folder and is read for each poll.

    A variable holds the secret, or the variable with `_FILE` behind its name the path of a file that does.
    """

    bearer_file: str | None = Field(default=None, min_length=1, description="File that holds a token.")
    basic_file: str | None = Field(default=None, min_length=1, description="File that holds user:password.")
    header_file: str | None = Field(
        default=None, min_length=1, description="File that holds a header, such as X-Api-Key: …"
    )
    bearer_env: str | None = Field(default=None, pattern=_VARIABLE, description="Variable: a token.")
    basic_env: str | None = Field(default=None, pattern=_VARIABLE, description="Variable: user:password.")
    header_env: str | None = Field(default=None, pattern=_VARIABLE, description="Variable: a header.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = sorted(name for name, value in self if value is not None)
        if len(given) != 1:
            raise ValueError(
                f"auth is one of {', '.join(type(self).model_fields)}, not {' and '.join(given) or 'none'}"
            )
        return self

    @property
    def given(self) -> tuple[str, str, str]:
        """The scheme, `file` or `env`, and the name of it."""
        [(name, value)] = [(name, value) for name, value in self if value is not None]
        scheme, _, place = name.partition("_")
        return scheme, place, value


class Poll(Document):
    """How to ask a server (`http://…`, `https://…`): how often, where records stand, what is new."""

    interval: str = Field(default="30s", pattern=DURATION, description="Between two polls of a stream.")
    records: str | None = Field(
        default=None,
        min_length=1,
        description="Path in the answer of the list of records, such as data.items; without it the answer "
        "is a list, a record, or lines.",
    )
    cursor: Cursor | None = None
    next: Next | None = None
    limit: int | None = Field(
        default=None, ge=1, description="Records of an answer at most: where so many come, there may be more."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Sent along; no secrets.")
    auth: Auth | None = None
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="Authorities to trust instead of the system's, in the document's folder; else the file "
        "that RMS_POLL_CA names.",
    )
    timeout: str = Field(default="30s", pattern=DURATION, description="For an answer to be there.")
    max_answer: int = Field(default=64 * 1024 * 1024, ge=1, description="Bytes of an answer, unpacked.")

    @field_validator("interval", "timeout")
    @classmethod
    def _some_time(cls, duration: str) -> str:
        if not duration.strip("0smhd"):
            raise ValueError("has to be longer than 0")
        return duration

    @field_validator("headers")
    @classmethod
    def _nothing_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if SECRET.search(name):
                raise ValueError(
                    f"{name!r} is a secret as a rule, which no document holds; name a file with auth:"
                )
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[ -~]*", value):
                raise ValueError(f"{name!r} is no header of printable ASCII")
        return headers
