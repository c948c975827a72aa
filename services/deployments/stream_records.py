"""Reads the records of this service's streams: the JSON of one model, with its deployment as the record's key."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from events.language.deployments.telemetry_records import InferenceRecords
from events.language.deployments.traffic_records import WindowRecord
from events.log.wire import Raw
from events.streams.stream import Unusable

_Record = TypeVar("_Record", InferenceRecords, WindowRecord)


def read_record(raw: Raw, model: type[_Record], otherwise: str) -> _Record:
    """The record's content. Raises Unusable; `otherwise`: what it is told to be where it is not of this model."""
    try:
        found = model.model_validate_json(raw.value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Unusable(f"{otherwise}: {place}: {first['msg']}") from None
    if (raw.key or b"") != found.deployment_id.encode():  # those of a deployment must be in one partition
        raise Unusable(f"its key is not its deployment_id, {found.deployment_id}")
    return found
