"""MLflow's endpoints of registered models and their aliases."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from services.gateway.mlflow import registry_shapes as shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.experiments import following
from services.gateway.mlflow.registry_names import (
    PROMPT,
    named,
    number_of,
    refuse_prompts,
    stage_of,
    version_by_alias,
)
from services.gateway.mlflow.registry_tags import tag_endpoints

DEFAULT_RESULTS = 100
MAX_RESULTS = 1_000

_PAGE = 10_000

_NO_PROMPTS = re.compile(rf"\btags?\.`{re.escape(PROMPT)}`\s*!=\s*'true'\s*$")
_NOT_TAGGED = f"(tag.`{PROMPT}` is null or tag.`{PROMPT}` != 'true')"


async def create(asked: Asked, calls: Calls) -> dict[str, Any]:
    name, tags = asked.text("name", required=True), asked.pairs("tags")
    refuse_prompts(tags)
    outcome = await calls.send("RegisterModel", name=name, tags=tags, description=asked.text("description"))
    return await _answer(calls, await _of_id(calls, outcome.subject))


async def get(asked: Asked, calls: Calls) -> dict[str, Any]:
    return await _answer(calls, await named(asked, calls))


async def rename(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = (await named(asked, calls)).model_id
    await calls.send("RenameModel", model_id=id, name=asked.text("new_name", required=True))
    return await _answer(calls, await _of_id(calls, id))


async def update(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = (await named(asked, calls)).model_id
    await calls.send("UpdateModel", model_id=id, description=asked.text("description"))
    return await _answer(calls, await _of_id(calls, id))


async def delete(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("DeleteModel", model_id=(await named(asked, calls)).model_id)
    return {}


async def search(asked: Asked, calls: Calls) -> dict[str, Any]:
    """In the order of their names, if no other one is asked for."""
    found = await calls.ask(
        "ListModels",
        pb.ListModelsResponse,
        project=calls.project,
        filter=models_filter(asked.text("filter")),
        order_by=asked.texts("order_by") or ["name"],
        page={"limit": asked.most("max_results", DEFAULT_RESULTS, MAX_RESULTS), "cursor": asked.text("page_token")},
    )
    newest = await _newest(calls, [each.model_id for each in found.models])
    models = [shapes.model(each, newest[each.model_id]) for each in found.models]
    return {"registered_models": models, **following(found)}


async def latest_versions(asked: Asked, calls: Calls) -> dict[str, Any]:
    """The newest version of each stage, or of those that are asked for."""
    stages = {stage_of(asked, "stages", each) for each in asked.texts("stages")}
    id = (await named(asked, calls)).model_id
    found = (await _newest(calls, [id]))[id]
    return {"model_versions": [shapes.version(each) for each in found if not stages or shapes.stage(each) in stages]}


async def _model(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"model_id": (await named(asked, calls)).model_id}


set_tag, delete_tag = tag_endpoints("UpdateModel", _model)


async def set_alias(asked: Asked, calls: Calls) -> dict[str, Any]:
    alias, number = asked.text("alias", required=True), number_of(asked)
    await calls.send("SetAlias", model_id=(await named(asked, calls)).model_id, alias=alias, number=number)
    return {}


async def delete_alias(asked: Asked, calls: Calls) -> dict[str, Any]:
    """One that there is not is gone already."""
    found, alias = await named(asked, calls), asked.text("alias", required=True)
    if alias in found.aliases:
        await calls.send("RemoveAlias", model_id=found.model_id, alias=alias)
    return {}


async def get_by_alias(asked: Asked, calls: Calls) -> dict[str, Any]:
    model, alias = await named(asked, calls), asked.text("alias", required=True)
    return {"model_version": shapes.version(await version_by_alias(calls, model, alias))}


def models_filter(text: str) -> str:
    """What a filter of the client's means. It appends to each that no prompts are wanted, and other models do not have
    the tag at all."""
    return _NO_PROMPTS.sub(_NOT_TAGGED, text)


async def _of_id(calls: Calls, id: str) -> Any:
    return (await calls.ask("GetModel", pb.GetModelResponse, model_id=id)).model


async def _answer(calls: Calls, model: Any) -> dict[str, Any]:
    newest = await _newest(calls, [model.model_id] if model.latest else [])
    return {"registered_model": shapes.model(model, newest[model.model_id])}


async def _newest(calls: Calls, ids: Sequence[str]) -> Mapping[str, list[Any]]:
    """Of these models the newest version of each stage, newest first."""
    found: dict[str, list[Any]] = defaultdict(list)
    if ids:
        answer = await calls.ask(
            "ListModelVersions",
            pb.ListModelVersionsResponse,
            model_ids=ids,
            newest_of_stage=True,
            order_by=["number desc"],
            page={"limit": _PAGE},
        )
        for each in answer.versions:
            found[each.model_id].append(each)
    return found
