"""The table that says how events of a Sigma log source look in the data."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from rms_flows.model.documents import Document


class Route(Document):
    """One log source, whole or in part, and a Sigma detection that is true of its events.

    Args:
        product: As in a rule's `logsource`; None leaves it open, as do the other two.
        category: As in a rule's `logsource`.
        service: As in a rule's `logsource`.
        when: A detection: all keys of a map hold, one map of a list holds.
    """

    product: str | None = None
    category: str | None = None
    service: str | None = None
    when: dict[str, Any] | list[dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_something(self) -> Route:
        if self.logsource == (None, None, None):
            raise ValueError("names no product, category or service")
        return self

    @property
    def logsource(self) -> tuple[str | None, str | None, str | None]:
        """Product, category and service."""
        return self.product, self.category, self.service


class RouteTable(Document):
    """Routes; of two for the same log source the later one counts."""

    routes: tuple[Route, ...] = Field(min_length=1)
