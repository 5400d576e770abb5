"""Mail, by SMTP: as text and as HTML, of which nothing that a report says can become a header or markup."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from pathlib import Path
from typing import Any, Final

from rms_flows.action.receivers import secrets
from rms_flows.action.receivers.contract import SENT, Outcome, Outgoing
from rms_flows.action.receivers.post import trusting
from rms_flows.errors import DocumentError
from rms_flows.model.actions import Mail as Document
from rms_flows.web import HERE

SECONDS: Final = 20
"""For each step of the server."""

SHOWN: Final = 50
"""Reports that a mail shows; it says how many more there are."""

_SUBJECT: Final = 120  # characters of it
_CELL: Final = 300  # characters of a value
_LEVELS: Final = ("critical", "high", "medium", "low", "informational")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""What breaks lines or turns the direction of what is shown."""

_PERMANENT: Final = range(500, 600)


class Mail:
    """Sends a notification as a mail.

    Guarantee: what the server took for at least one address was sent; those that it refused are told. What
    is tried again has the same `Message-ID`, by which mailboxes may know it.

    Args:
        document: Its part of the document of actions.
        folder: Where relative paths begin.
        where: Names it in errors.

    Raises:
        DocumentError: A secret can't be had, or a login would cross a network in plain text.
    """

    def __init__(self, document: Document, folder: Path, where: str) -> None:
        self._document = document
        host, _, port = document.server.rpartition(":")
        self._host, self._port = host, int(port)
        if document.security == "none" and host not in HERE:
            raise DocumentError(
                "mail would cross the network in plain text",
                where=f"{where}.security",
                remedy="write starttls or tls",
            )
        ca = None if document.ca is None else str(folder / document.ca)
        self._context = trusting(ca, f"{where}.ca")
        login = document.login
        self._login = (
            None
            if login is None
            else (login.user, secrets.read(login.password, folder, f"{where}.login.password"))
        )

    @property
    def uri(self) -> str:
        """See `Receiver.uri`."""
        return f"smtp://{self._document.server}"

    def send(self, one: Outgoing, now: float) -> Outcome:
        """See `Receiver.send`."""
        message = self.message(one, now)
        try:
            with self._connected() as server:
                return self._sent(server, message)
        except smtplib.SMTPResponseException as error:  # of who we are, not of this mail
            return Outcome("later", f"{self.uri}: not now ({_said(error.smtp_code, error.smtp_error)})")
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            return Outcome("later", f"{self.uri}: not reached ({type(error).__name__}: {error})")

    def _connected(self) -> smtplib.SMTP:
        kind = self._document.security
        if kind == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=SECONDS, context=self._context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=SECONDS)
        try:
            if kind == "starttls":
                server.starttls(context=self._context)
            if self._login:
                server.login(*self._login)
        except BaseException:
            server.close()
            raise
        return server

    def _sent(self, server: smtplib.SMTP, message: EmailMessage) -> Outcome:
        try:
            refused = server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            said = _refused(error.recipients)
            good = all(code in _PERMANENT for code, _ in error.recipients.values())
            return Outcome("refused" if good else "later", f"{self.uri}: all addresses refused ({said})")
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            said = f"{self.uri}: refused ({_said(error.smtp_code, error.smtp_error)})"
            return Outcome("refused" if error.smtp_code in _PERMANENT else "later", said)
        except smtplib.SMTPNotSupportedError as error:
            return Outcome("refused", f"{self.uri}: refused ({error})")
        return SENT if not refused else Outcome("sent", f"{self.uri}: refused for {_refused(refused)}")

    def message(self, one: Outgoing, now: float) -> EmailMessage:
        """Write a mail; `now`, seconds since 1970, is its date."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self._document.sender
        message["To"] = ", ".join(self._document.to)
        message["Subject"] = subject(one)
        message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
        message["Message-ID"] = f"<{one.id}.{one.receiver}@{self._document.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n".join(_text(one)))
        message.add_alternative("\n".join(_html(one)), subtype="html")
        return message


def subject(one: Outgoing) -> str:
    """Say in a line what it is about.

    The highest level, the rules, how many reports, and where they agree in more than the rule.
    """
    levels = [report["rule.level"] for report in one.rows]
    level = min((name for name in levels if name in _LEVELS), key=_LEVELS.index, default=None)
    rules = dict.fromkeys(clean(report["rule.name"] or report["rule.id"]) for report in one.rows)
    names = next(iter(rules), "") + (f" and {len(rules) - 1} more" if len(rules) > 1 else "")
    where = ", ".join(clean(value) for name, value in one.group.items() if not name.startswith("rule."))
    count = f"{len(one.rows)} reports" if len(one.rows) > 1 else "1 report"
    return clean(
        f"{f'[{level}] ' if level else ''}{names}: {count}{f' ({where})' if where else ''}", _SUBJECT
    )


def clean(value: Any, most: int = _CELL) -> str:
    r"""Give a value as a line of text: nothing that breaks lines or turns them around, cut where it is long.

    Example:
        >>> clean("a\r\nBcc: all@example.com")
        'a Bcc: all@example.com'
    """
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= most else f"{text[: most - 1]}…"


_COLUMNS: Final = {
    "time": "@timestamp",
    "level": "rule.level",
    "rule": "rule.name",
    "source": "rms.source",
    "from": "rms.request_source",
    "to": "rms.monitored_asset_ip",
    "events": "rms.count",
    "message": "message",
    "report": "event.id",
}


def _cells(report: dict[str, Any]) -> dict[str, str]:
    moment = report["@timestamp"].strftime("%Y-%m-%d %H:%M:%S UTC")
    return {head: moment if head == "time" else clean(report[name]) for head, name in _COLUMNS.items()}


def _more(one: Outgoing) -> str:
    left = len(one.rows) - SHOWN
    return f"… and {left:,} more reports" if left > 0 else ""


def _text(one: Outgoing) -> Iterator[str]:
    for report in one.rows[:SHOWN]:
        yield from (f"{head}: {value}" for head, value in _cells(report).items() if value)
        yield ""
    yield _more(one)
    yield f"notification {one.id}"


def _html(one: Outgoing) -> Iterator[str]:
    yield "<table border='1' cellpadding='4' style='border-collapse: collapse'>"
    yield f"<tr>{''.join(f'<th>{head}</th>' for head in _COLUMNS)}</tr>"
    for report in one.rows[:SHOWN]:
        yield f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in _cells(report).values())}</tr>"
    yield "</table>"
    yield f"<p>{_more(one)}</p><p>notification {escape(one.id)}</p>"


def _said(code: int, text: bytes | str) -> str:
    return f"{code} {clean(text.decode(errors='replace') if isinstance(text, bytes) else text)}"


def _refused(recipients: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{name}: {_said(*answer)}" for name, answer in recipients.items())
