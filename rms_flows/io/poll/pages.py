"""The pages of the answer to one question, each asked for where the one before says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import xxhash

from rms_flows.io.poll.address import beside, with_parameters
from rms_flows.io.poll.body import at
from rms_flows.io.poll.client import Answer
from rms_flows.io.poll.trouble import PollError
from rms_flows.model import Poll
from rms_flows.model.poll import Next

MOST: Final = 100_000
"""Pages of one question at most: nothing that is asked for as a whole has so many."""

_LINK: Final = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*!#$&+.^`|~-]+\s*=\s*(?:"[^"]*"|[^\s";,]+))*)')
_RELATION: Final = re.compile(r';\s*rel\s*=\s*"?([^";,]*)"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Args:
        records: In it.
        answer: As it came; None where nothing has changed.
    """

    records: list[bytes]
    answer: Answer | None


Ask = Callable[[str, Mapping[str, str] | None], Page]
"""Asks a question, with what is known of the answer before to the same; raises PollError."""


def pages(ask: Ask, url: str, poll: Poll, validators: Mapping[str, str] | None = None) -> Iterator[Page]:
    """Ask for all pages.

    Args:
        ask: Asks for one.
        url: The question.
        poll: How.
        validators: Of the answer before to this question.

    Raises:
        PollError: A page can't be had, is none, or the pages go in a circle.
    """
    asked: set[str] = set()
    bodies: set[bytes] = set()
    number = poll.next.first if poll.next and poll.next.parameter and not poll.next.token else None
    following: str | None = url if number is None else _numbered(url, poll.next, number)
    while following is not None:
        if following in asked or len(asked) == MOST:
            raise _circle(following)
        asked.add(following)
        page = ask(following, validators)
        answer, found = page.answer, page.records
        digest = b"" if answer is None else xxhash.xxh3_128_digest(answer.body)
        if found and digest in bodies:
            raise _circle(following)
        bodies.add(digest)
        yield page
        if answer is None:
            return
        if number is None:
            following = None if poll.next is None else _next(answer, url, poll.next)
        else:
            number += poll.next.step if poll.next else 1
            whole = not found or (poll.limit is not None and len(found) < poll.limit)
            following = None if whole else _numbered(url, poll.next, number)


def _numbered(url: str, known: Next | None, number: int) -> str:
    assert known is not None  # noqa: S101  pages have numbers
    assert known.parameter is not None  # noqa: S101  likewise
    return with_parameters(url, {known.parameter: str(number)})


def _next(answer: Answer, url: str, known: Next) -> str | None:
    """Give the question for the next page, where the answer says that there is one."""
    if known.header:
        link = linked(answer.headers.get("Link", ""))
    else:
        link = _said(answer.body, known.link or known.token or "")
    if not link:
        return None
    if known.parameter is not None:
        return with_parameters(url, {known.parameter: link})
    found = beside(answer.url, link)
    if found is None:
        raise PollError(
            f"the next page is said to be on another server ({link[:200]})",
            "we go on at the same host only; see what is wrong with its links",
            passes=False,
        )
    return found


def _said(body: bytes, path: str) -> str | None:
    try:
        found = at(body.strip(), path)
        if found is None or found in {b"null", b"false"}:
            return None
        return msgspec.json.decode(found, type=str) if found.startswith(b'"') else str(int(found))
    except ValueError:
        raise PollError(
            f"the answer has no address and no token at {path}", "see next of poll:", passes=False
        ) from None


def linked(header: str) -> str | None:
    """Give the address of what comes next (RFC 8288).

    Example:
        >>> linked('<https://hub/a?page=1>; rel="prev", </a?page=3>; rel="next"')
        '/a?page=3'
    """
    for found in _LINK.finditer(header):
        relation = _RELATION.search(found[2])
        if relation and "next" in relation[1].lower().split():
            return found[1]
    return None


def _circle(url: str) -> PollError:
    return PollError(
        f"its pages go in a circle: {url} gives what was there before",
        "see next of poll:, and whether the server knows the parameter",
    )
