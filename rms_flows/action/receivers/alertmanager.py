"""Prometheus' Alertmanager: `POST /api/v2/alerts`, see its api/v2/openapi.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from rms_flows.action.policy import labels
from rms_flows.action.receivers.contract import Outcome, Outgoing
from rms_flows.action.receivers.post import moment, poster
from rms_flows.model import microseconds
from rms_flows.model.actions import Alertmanager as Document

_NAMES: Final = {"rule.name": "alertname", "rule.level": "severity"}
"""What Prometheus' users call these; other columns keep their names, with `_` for what names can't hold."""

_ODD: Final = re.compile(r"[^a-zA-Z0-9_]")
_PATH: Final = "/api/v2/alerts"


class Alertmanager:
    """Gives reports as alerts, of which those that differ in time only are one.

    Guarantee: what was answered with 2xx Alertmanager has; given again, an alert is the same one. Each is
    firing for `resolve_after` from when it was sent: one that ended before would be dropped there in silence.

    Args:
        document: Its part of the document of actions.
        folder: Where relative paths begin.
        where: Names it in errors.

    Raises:
        DocumentError: The address is none, or a secret can't be had.
    """

    def __init__(self, document: Document, folder: Path, where: str) -> None:
        self._poster = poster(document, folder, where, _PATH)
        self._firing = microseconds(document.resolve_after) / 1e6
        self._link = document.link

    @property
    def uri(self) -> str:
        """See `Receiver.uri`."""
        return self._poster.uri

    def send(self, one: Outgoing, now: float) -> Outcome:
        """See `Receiver.send`."""
        return self._poster.post(msgspec.json.encode(self.alerts(one, now)), {}, now)

    def alerts(self, one: Outgoing, now: float) -> list[dict[str, Any]]:
        """Write reports as `postableAlerts`, those that differ in time only as one."""
        found: dict[str, dict[str, Any]] = {}
        for report in one.rows:
            named = {_label(name): value for name, value in labels(report).items()}
            named.setdefault("alertname", report["rms.report_type"])
            name = repr(sorted(named.items()))
            begun = min((report["rms.first"] or report["@timestamp"]).timestamp(), now)
            known = found.setdefault(
                name,
                {
                    "labels": named,
                    "annotations": {},
                    "startsAt": moment(begun),
                    "endsAt": moment(now + self._firing),
                    **({"generatorURL": self._link} if self._link else {}),
                },
            )
            known["startsAt"] = min(known["startsAt"], moment(begun))
            known["annotations"] = _annotations(report, one.id)
        return list(found.values())


def _label(name: str) -> str:
    return _NAMES.get(name) or _ODD.sub("_", name.removeprefix("rms."))


def _annotations(report: dict[str, Any], name: str) -> dict[str, str]:
    """Say what may differ from one report to the next; empty texts are left out, as Alertmanager does."""
    said = {
        "summary": report["message"] or report["rule.name"],
        "report_id": report["event.id"],
        "notification_id": name,
        "count": report["rms.count"],
        "tags": ",".join(report["rule.tags"] or ()),
        "author": report["rule.author"],
    }
    return {key: str(value) for key, value in said.items() if value}
