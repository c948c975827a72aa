"""The models and versions that requests of MLflow's client name. All raise DoorError or Relayed where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from events.language.common import shown
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.mlflow import registry_shapes as shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls

PROMPT = "mlflow.prompt.is_prompt"


async def named(asked: Asked, calls: Calls) -> Any:
    """The `RegisteredModel` of a request."""
    return await model_of(calls, asked.text("name", required=True))


async def version_named(asked: Asked, calls: Calls) -> Any:
    """The `ModelVersion` of a request."""
    name, number = asked.text("name", required=True), number_of(asked)
    return await version_of(calls, await model_of(calls, name), number)


async def model_of(calls: Calls, name: str) -> Any:
    return (await calls.ask("GetModel", pb.GetModelResponse, project=calls.project, name=name)).model


async def version_of(calls: Calls, model: Any, number: int) -> Any:
    """A version of a `RegisteredModel`."""
    found = await calls.ask("GetModelVersion", pb.GetModelVersionResponse, model_id=model.model_id, number=number)
    if found.version.HasField("deleted_at"):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"version {model.name}/{number} is deleted")
    return found.version


async def version_by_alias(calls: Calls, model: Any, alias: str) -> Any:
    """The version of a `RegisteredModel` that has the alias."""
    if alias not in model.aliases:
        known = ", ".join(sorted(model.aliases)) or "none"
        text = f"model {shown(model.name)} has no alias {shown(alias)}; it has {known}"
        raise DoorError(grpc.StatusCode.NOT_FOUND, text)
    return await version_of(calls, model, model.aliases[alias])


def number_of(asked: Asked) -> int:
    """The number of a version, which MLflow writes as text."""
    number = asked.integer("version")
    if number is None:
        asked.wrong("version", "is missing", "give it")
    if not 0 < number <= MOST_VERSIONS:
        asked.wrong("version", f"is {number}", "versions are numbered from 1 on")
    return number


def stage_of(asked: Asked, field: str, word: str) -> str:
    """MLflow's word for a stage, which may be written in any case."""
    stage = word.capitalize()
    if stage not in shapes.STAGES:
        asked.wrong(field, f"{shown(word)} is none of {', '.join(shapes.STAGES)}", "give one of them")
    return stage


def refuse_prompts(tags: Mapping[str, str]) -> None:
    """MLflow keeps prompts as models with a tag."""
    if PROMPT in tags:
        raise DoorError(grpc.StatusCode.UNIMPLEMENTED, "the platform does not have the prompts of MLflow's registry")


MOST_VERSIONS = 1_000_000_000
"""The highest number of a version."""
