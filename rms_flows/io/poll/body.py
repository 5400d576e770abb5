"""An answer falls into records: the bytes of each as they came, or the reason why all of it is none."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

import msgspec

from rms_flows.io.poll.trouble import Letter, PollError

_HTML: Final = ("text/html", "application/xhtml+xml")
_SHOWN: Final = 60
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_value = msgspec.json.Decoder(msgspec.Raw).decode


def records(body: bytes, kind: str, path: str | None, *, lines: bool) -> list[bytes]:
    r"""Cut an answer into records.

    Args:
        body: Of the answer.
        kind: Its media type.
        path: Where the list of records stands; None where the answer is a list, one record, or lines of them.
        lines: Records are lines of text, not JSON.

    Raises:
        PollError: It is something else: its letter holds it.

    Example:
        >>> records(b'{"data": {"items": [{"a": 1}, {"a": 2}]}}', "text/json", "data.items", lines=False)
        [b'{"a": 1}', b'{"a": 2}']
        >>> records(b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson", None, lines=False)
        [b'{"a": 1}', b'{"a": 2}']
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    text = body.strip()
    # Some servers call everything HTML.
    if text[:1] not in b"[{" and (
        kind in _HTML or text[:14].lower().startswith((b"<!doctype html", b"<html"))
    ):
        raise _unusable("html", "the answer is a page of HTML", body)
    if not text:
        return []
    if lines and path is None and not _is_list(text):
        return [line.rstrip(b"\r") for line in text.split(b"\n")]
    try:
        if path is not None:
            return _listed(at(text, path), path, body)
        if text.startswith(b"["):
            return [bytes(one) for one in _list(text)]
        return _lines(text)
    except msgspec.DecodeError as error:
        raise _unusable("json", f"the answer is no JSON, or not all of it ({error})", body) from None


def _is_list(text: bytes) -> bool:
    """Tell a list of JSON from lines that begin with a bracket."""
    try:
        return text.startswith(b"[") and bool(_list(text))
    except msgspec.DecodeError:
        return False


def _listed(found: bytes | None, path: str, body: bytes) -> list[bytes]:
    """Read the list at a path; null is an empty one."""
    if found == b"null":
        return []
    if found is None or not found.startswith(b"["):
        what = "nothing" if found is None else f"no list but {found[:_SHOWN].decode(errors='replace')}"
        raise _unusable("shape", f"the answer has {what} at {path}", body)
    return [bytes(one) for one in _list(found)]


def _lines(text: bytes) -> list[bytes]:
    """Read one value, or as many as there are lines: one that breaks off is a bad record among good ones."""
    try:
        return [bytes(_value(text))]
    except msgspec.DecodeError:
        found = [line.strip() for line in text.split(b"\n") if line.strip()]
        if len(found) == 1:
            raise
        _value(found[0])
        return found


def at(value: bytes, path: str) -> bytes | None:
    r"""Give what stands at a path in a JSON value, as it is written; None where nothing does.

    Args:
        value: JSON; a string that holds JSON counts as that.
        path: Names of fields with points between; a field that is called so as a whole goes first.

    Raises:
        msgspec.DecodeError: It is no JSON.

    Example:
        >>> at(b'{"a": {"b": 1.50}}', "a.b"), at(b'{"a.b": "x"}', "a.b"), at(b'[1]', "a")
        (b'1.50', b'"x"', None)
    """
    if value.startswith(b'"'):
        value = msgspec.json.decode(value, type=str).encode().strip()
    if not value.startswith(b"{"):
        _value(value)
        return None
    fields = _object(value)
    if path in fields:
        return bytes(fields[path])
    names: Sequence[str] = path.split(".")
    for length in range(len(names) - 1, 0, -1):
        head = ".".join(names[:length])
        if head in fields and (found := at(bytes(fields[head]), ".".join(names[length:]))) is not None:
            return found
    return None


def text_at(value: bytes, path: str) -> str | None:
    """Give a string, or a number as it is written, that stands at a path; None for all else."""
    try:
        found = at(value, path)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if found is None or found[:1] in b"[{ntf":
        return None
    return msgspec.json.decode(found, type=str) if found.startswith(b'"') else found.decode()


def _unusable(kind: str, reason: str, body: bytes) -> PollError:
    shown = body[:_SHOWN].decode(errors="replace")
    return PollError(
        f"{reason}: {shown!r}",
        "expected JSON with records in it, or lines of a format: see records and auth of poll:",
        letter=Letter(kind, f"{reason}; it is asked for again", body),
    )
