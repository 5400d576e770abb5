"""Receivers: one way of telling somebody a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rms_flows.action.receivers.alertmanager import Alertmanager
from rms_flows.action.receivers.contract import Outcome, Outgoing, Receiver
from rms_flows.action.receivers.mail import Mail
from rms_flows.action.receivers.webhook import Webhook
from rms_flows.model import Actions

__all__ = ["Outcome", "Outgoing", "Receiver", "open_receivers"]


def open_receivers(document: Actions, folder: Path, where: str) -> Mapping[str, Receiver]:
    """Make the receivers of a document; nobody is reached yet.

    Args:
        document: It.
        folder: Where relative paths begin.
        where: Names the document in errors.

    Raises:
        DocumentError: One can't be made, see each; its secrets are read here.
    """
    found: dict[str, Receiver] = {}
    for number, one in enumerate(document.receivers):
        place = f"{where}: receivers[{number}]"
        if one.webhook is not None:
            found[one.id] = Webhook(one.webhook, folder, f"{place}.webhook")
        elif one.mail is not None:
            found[one.id] = Mail(one.mail, folder, f"{place}.mail")
        elif one.alertmanager is not None:
            found[one.id] = Alertmanager(one.alertmanager, folder, f"{place}.alertmanager")
    return found
