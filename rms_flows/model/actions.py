"""What reports lead to: who is told, of what, how reports are put together, and what is kept quiet.

The words are those of Prometheus' Alertmanager, the matchers Sigma selections over the columns of reports.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rms_flows.model.documents import Document

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$")]
Matchers = dict[str, Any] | list[dict[str, Any]]
"""All items of a map have to be true; of a list of maps one has to."""

ALONE = "..."
"""In `group_by`: each report is told of alone."""


class Secret(Document):
    """Where a secret is, which never stands in a document."""

    file: str | None = Field(default=None, min_length=1, description="A file, from the document's folder on.")
    env: str | None = Field(default=None, min_length=1, description="A variable of the environment.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret is in a file or in the environment: name one, file or env")
        return self


class Webhook(Document):
    """A web server that takes JSON by POST, signed as Standard Webhooks says."""

    url: str | Secret = Field(description="https:, or http:; as a secret where its path is one.")
    secret: Secret | None = Field(
        default=None, description="Signs what is sent; `whsec_` and base64, or text."
    )
    token: Secret | None = Field(default=None, description="Sent as Authorization: Bearer.")
    form: Literal["ecs", "iotac", "iotac-strict", "ocsf"] = Field(
        default="ecs", description="How the reports in it are written."
    )
    ca: str | None = Field(default=None, description="File of authorities to trust instead of the system's.")


class Login(Document):
    """Who we are to a server of mail."""

    user: str = Field(min_length=1)
    password: Secret


class Mail(Document):
    """A server that takes mail by SMTP."""

    server: str = Field(pattern=r"^[^\s:/@]+:[0-9]{1,5}$", description="HOST:PORT.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls: usual at port 587; tls: at 465; none: this machine only."
    )
    sender: str = Field(pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")
    to: tuple[Annotated[str, Field(pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")], ...] = Field(min_length=1)
    login: Login | None = None
    ca: str | None = Field(default=None, description="File of authorities to trust instead of the system's.")


class Alertmanager(Document):
    """Prometheus' Alertmanager, by its API v2."""

    url: str | Secret = Field(description="https: or http:, without /api/v2/alerts.")
    token: Secret | None = Field(default=None, description="Sent as Authorization: Bearer.")
    ca: str | None = Field(default=None, description="File of authorities to trust instead of the system's.")
    resolve_after: Duration = Field(
        default="15m", description="How long an alert is firing after it was sent: reports have no end."
    )
    link: str | None = Field(default=None, description="generatorURL of alerts, such as that of a page.")


class Receiver(Document):
    """Somebody who is told: by one of webhook, mail and alertmanager."""

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    webhook: Webhook | None = None
    mail: Mail | None = None
    alertmanager: Alertmanager | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.webhook, self.mail, self.alertmanager)) != 1:
            raise ValueError("a receiver is one of webhook, mail and alertmanager")
        return self


class ActionRoute(Document):
    """Which reports go to a receiver, and how they are put together."""

    receiver: str = Field(description="Id of a receiver.")
    matchers: Matchers | None = Field(default=None, description="Sigma selection; every report without it.")
    group_by: tuple[str, ...] = Field(
        default=("rule.id",),
        description="Columns; reports that agree in them are told of together. [] puts all together, "
        "['...'] none.",
    )
    group_wait: Duration = Field(
        default="30s", description="From a group's first report to its first telling."
    )
    group_interval: Duration = Field(default="5m", description="Between two tellings of a group at least.")
    repeat_interval: Duration = Field(
        default="4h", description="For so long a report that differs from one told in time only is held back."
    )
    continue_: bool = Field(
        default=False, alias="continue", description="Later routes get reports of this one too."
    )


class Inhibition(Document):
    """Reports that need no telling, as others tell it all."""

    source_matchers: Matchers = Field(min_length=1, description="Reports that tell it all.")
    target_matchers: Matchers = Field(min_length=1, description="Reports that are not told of then.")
    equal: tuple[str, ...] = Field(default=(), description="Columns in which they have to agree.")
    within: Duration = Field(default="1h", description="How long before the target the source may have been.")


class Silence(Document):
    """Reports of a time that nobody is told of."""

    matchers: Matchers | None = Field(default=None, description="Sigma selection; every report without it.")
    starts_at: datetime = Field(description="UTC unless it says.")
    ends_at: datetime = Field(description="No more at this moment.")
    created_by: str = Field(min_length=1)
    comment: str = Field(min_length=1, description="Why.")

    @field_validator("starts_at", "ends_at")
    @classmethod
    def _zoned(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError("it ends before it starts")
        return self


class Actions(Document):
    """What reports lead to. Of the routes the first that fits a report counts, unless it says continue."""

    actions: str = Field(min_length=1, description="Name.")
    description: str | None = None
    lateness: Duration = Field(
        default="1m", description="How long after its time a report may be found and still come in order."
    )
    forget: Duration = Field(
        default="1d", description="Reports found longer after their time than this are not told of."
    )
    receivers: tuple[Receiver, ...] = Field(min_length=1)
    routes: tuple[ActionRoute, ...] = Field(min_length=1)
    inhibit_rules: tuple[Inhibition, ...] = ()
    silences: tuple[Silence, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        counts = Counter(one.id for one in self.receivers)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"the receiver {twice[0]!r} is given twice; ids are unique")
        for route in self.routes:
            if route.receiver not in counts:
                raise ValueError(
                    f"a route leads to {route.receiver!r}, which is no receiver; "
                    f"there are {', '.join(counts)}"
                )
        return self
