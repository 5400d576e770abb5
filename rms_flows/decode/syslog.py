"""Syslog: RFC 3164, RFC 5424 and rsyslog's ISO stamps; with what sshd and firewalls say in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode import clock, netfilter, sshd
from rms_flows.decode.contract import Context, Format, Parsed
from rms_flows.decode.lines import Columns, dictionary, extract, first, mask, settle, spread, texts

_ISO: Final = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?"
_OLD: Final = (
    r"(?s)^(?:<(?P<pri>\d{1,3})>)?(?:(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}(?:\.\d+)?)|"
    rf"(?P<iso>{_ISO})) (?P<host>\S+) (?P<rest>.*)$"
)
_NEW: Final = (
    rf"(?s)^<(?P<pri>\d{{1,3}})>[1-9]\d? (?P<iso>{_ISO}|-) (?P<host>\S+) (?P<app>\S+) (?P<process>\S+) "
    r"(?P<msgid>\S+) "
    r'(?P<data>-|(?:\[(?:[^\]"\\]|"(?:[^"\\]|\\.)*"|\\.)*\])+)(?: (?P<message>.*))?$'
)
_TAG: Final = r"(?s)^(?P<app>[^\s:\[\]]+)(?:\[(?P<process>[^\]]*)\])?: ?(?P<message>.*)$"
_AUTH: Final = (
    "sshd", "sshd-session", "sudo", "su", "login", "systemd-logind", "polkitd", "useradd", "userdel",
    "usermod", "groupadd", "chpasswd", "passwd",
)  # fmt: skip


class SyslogDecoder:
    """Decodes one input in its order, which gives stamps without a year theirs."""

    def __init__(self, context: Context) -> None:
        self._options = context.options
        self._clock = clock.Rollover(context.name, context.options)

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn lines into columns."""
        lines = texts(records)
        old, new = extract(lines, _OLD), extract(lines, _NEW)
        tagged = extract(old["rest"], _TAG)
        tagged["message"] = pc.coalesce(
            tagged["message"], pc.if_else(tagged["app"].is_valid(), "", old["rest"])
        )
        of_new = pc.and_kleene(new["host"].is_valid(), True)
        head = first([{name: _dashless(values) for name, values in new.items()}, old, tagged])
        message = pc.replace_substring_regex(pc.coalesce(head["message"], ""), "^\ufeff", "")
        late = self._clock.parse(old["stamp"]).values
        times = pc.coalesce(clock.parse(head["iso"], self._options).values, late)
        process = pc.replace_substring_regex(head["app"], r"^.*/", "")
        columns: Columns = {
            "host.hostname": dictionary(head["host"]),
            "process.name": dictionary(process),
            "process.pid": pc.if_else(
                pc.match_substring_regex(head["process"], r"^\d+$"), head["process"], None
            ),
            "message": message,
            "event.dataset": _dataset(process),
            **_priority(head["pri"]),
        }
        if mask(of_new).any():
            columns |= {"log.syslog.msgid": head["msgid"], "log.syslog.structured_data": head["data"]}
        columns = self._said(columns, process, message)
        form = pc.or_(old["host"].is_valid(), new["host"].is_valid())
        return settle(lines, columns, times, form, "syslog", (_FORM, self._no_time()))

    def _said(self, columns: Columns, process: pa.Array, message: pa.Array) -> Columns:
        """Add what some programs' messages say."""
        for which, read, dataset in (
            (pc.is_in(process, pa.array(["sshd", "sshd-session"])), sshd.fields, None),
            (netfilter.is_netfilter(message), netfilter.netfilter, "iptables.log"),
            (netfilter.is_mikrotik(message), netfilter.mikrotik, "mikrotik.log"),
        ):
            rows = np.flatnonzero(mask(which))
            if len(rows):
                found = read(message.take(pa.array(rows)))
                if dataset:
                    found["event.dataset"] = pa.repeat(dataset, len(rows))
                columns = first([spread(found, rows, len(message)), columns])
        return columns

    def _no_time(self) -> str:
        if not self._clock.known:
            return self._clock.reason
        return "the stamp is no date; expected Mar 27 13:06:56 or ISO 8601"


_FORM: Final = (
    "no syslog line; expected 'Mar 27 13:06:56 host program[1]: text', or RFC 5424 ('<34>1 2026-…')"
)


def _dashless(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(values, "-"), None, values)


def _dataset(process: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(process, pa.array(_AUTH)), "system.auth", "system.syslog")


def _priority(text: pa.Array) -> Columns:
    """Split a priority into facility and severity (RFC 5424, section 6.2.1)."""
    if text.null_count == len(text):
        return {}
    value = text.cast(pa.int64())
    value = pc.if_else(pc.less_equal(value, 191), value, None)
    facility = pc.divide(value, 8)
    return {
        "log.syslog.priority": value,
        "log.syslog.facility.code": facility,
        "log.syslog.severity.code": pc.subtract(value, pc.multiply(facility, 8)),
    }


_LINE = re.compile(
    rb"^(?:<\d{1,3}>)?(?:[1-9]\d? )?"
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) \S+ \S"
)


def _sniff(head: bytes) -> int:
    lines = [line for line in head.split(b"\n")[:50] if line.strip()]
    hits = sum(_LINE.match(line) is not None for line in lines)
    return 60 if lines and 2 * hits >= len(lines) else 0


FORMAT: Final = Format(
    "syslog", "Syslog (RFC 3164 and 5424), with sshd, iptables and MikroTik", "lines", _sniff, SyslogDecoder
)
