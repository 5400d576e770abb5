"""What is known to have happened in a stretch of history: what a backtest measures rules on."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field, field_validator, model_validator

from rms_flows.model.documents import Document


class Incident(Document):
    """Something that happened, and that rules should find."""

    kind: str = Field(min_length=1, description="What it was, such as guessing.")
    entity: str | None = Field(
        default=None, description="Address, device or person, as reports name it; any unless told."
    )
    start: datetime = Field(description="Its first moment; UTC unless it says.")
    end: datetime = Field(description="Its last moment.")
    rules: tuple[str, ...] = Field(
        default=(), description="Names or ids of the rules that should find it; any unless told."
    )

    @field_validator("start", "end")
    @classmethod
    def _zoned(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value

    @model_validator(mode="after")
    def _forward(self) -> Incident:
        if self.end < self.start:
            raise ValueError("it ends before it starts")
        return self


class Truth(Document):
    """All that is known to have happened in a stretch of history; whatever else is reported is false."""

    truth: str = Field(min_length=1, description="Name of the history.")
    incidents: tuple[Incident, ...] = Field(min_length=1)
