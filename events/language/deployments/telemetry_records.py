"""Records of the topic ``inference.deployments``: requests of one deployment, as a router sends them. Their key is the
deployment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.deployments.telemetry import InferenceRequest

MOST_REQUESTS = 1_000
"""Of a record."""


class InferenceRecords(Model):
    """Requests of a deployment, and which lines of the router's access log they are."""

    source: Identifier
    """The access log: another one for each folder of a router."""
    deployment_id: Identifier
    numbers: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1 << 53)], ...], Field(min_length=1, max_length=MOST_REQUESTS)
    ]
    """Which line of its source each request is, ascending: a line that was stored before is a repeat."""
    requests: Annotated[tuple[InferenceRequest, ...], Field(min_length=1, max_length=MOST_REQUESTS)]

    @model_validator(mode="after")
    def _match(self) -> InferenceRecords:
        if len(self.numbers) != len(self.requests):
            raise ValueError(
                f"numbers has {len(self.numbers)} entries and requests {len(self.requests)}; give each its number"
            )
        if any(left >= right for left, right in zip(self.numbers, self.numbers[1:], strict=False)):
            raise ValueError("numbers is not in ascending order without repeats; sort it")
        for request in self.requests:
            if request.deployment_id != self.deployment_id:
                raise ValueError(f"a request is of {request.deployment_id}; all must be of {self.deployment_id}")
        return self
