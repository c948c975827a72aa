"""What `forgelog experiments purge plan` wrote, as far as `purge execute` needs it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Entry(_Part):
    """Something to be purged."""

    kind: Literal["experiment", "run", "logged_model"]
    id: str
    project: str


class PurgePlan(_Part):
    """What is to be purged if it was deleted before that time."""

    forgelog_purge: Literal[1]
    deleted_before: AwareDatetime
    purgeable: Annotated[tuple[Entry, ...], Field(max_length=10_000)]


def parse_plan(text: bytes) -> PurgePlan:
    """Raises ValueError that names the field."""
    try:
        return PurgePlan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{place}: {first['msg']}") from None
