"""MLflow's endpoints of logged models: models that runs made, before they have a name in the registry."""

from __future__ import annotations

from typing import Any

import grpc

from events.language.common import shown
from events.language.experiments.logged_models import LoggedModelAdmitted, LoggedModelCreated, LoggedModelEnd
from forgelog_pb.experiments.v1 import logged_models_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.mlflow import shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, no_model
from services.gateway.mlflow.experiments import DEFAULT_ID, following, id_of, page
from services.gateway.mlflow.run_ids import inward, inward_filter

_STATUSES = tuple(shapes.MODEL_STATUSES.values())
_ENDS = {shapes.MODEL_STATUSES[each.value]: each for each in LoggedModelEnd}


async def create(asked: Asked, calls: Calls) -> dict[str, Any]:
    """The answer is made of the events that the creation led to, so no query is waited for."""
    id = asked.text("experiment_id")
    outcome = await calls.send(
        "CreateLoggedModel",
        conclude=True,
        experiment_id="" if id == DEFAULT_ID else id,
        name=asked.text("name"),
        model_type=asked.text("model_type"),
        source_run_id=inward(asked.text("source_run_id"), calls.project),
        params=asked.pairs("params"),
        tags=asked.pairs("tags"),
    )
    made = next(record for record in outcome.events if isinstance(record.data, LoggedModelCreated))
    assert isinstance(made.data, LoggedModelCreated)
    assert outcome.conclusion is not None
    admitted = outcome.conclusion.data
    assert isinstance(admitted, LoggedModelAdmitted)
    created, now = made.data, shapes.in_milliseconds(made.meta.time)
    info = shapes.model_info(
        created.model_id,
        calls.project,
        admitted.experiment_id,
        name=created.name,
        model_type=created.model_type,
        source_run_id=created.source_run_id,
        status=_STATUSES[0],
        created=now,
        updated=now,
        tags=created.tags,
    )
    return {"model": {"info": info, "data": {"params": shapes.pairs(created.params)}}}


async def get(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = model_id(asked, calls)
    found = await _model(calls, id)
    if found.model.HasField("deleted_at") and not asked.flag("allow_deleted"):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"logged model {shown(id)} is deleted; restore it first")
    return {"model": shapes.logged_model(found)}


async def finalize(asked: Asked, calls: Calls) -> dict[str, Any]:
    id, status = model_id(asked, calls), asked.word("status", _STATUSES)
    if status not in _ENDS:
        asked.wrong("status", f"is {status}" if status else "is missing", f"give {' or '.join(_ENDS)}")
    await calls.send("FinalizeLoggedModel", model_id=id, status=_ENDS[status].value)
    return {"model": shapes.logged_model(await _model(calls, id))}


async def delete(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("DeleteLoggedModel", model_id=model_id(asked, calls))
    return {}


async def log_params(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("LogLoggedModelData", model_id=model_id(asked, calls), params=asked.pairs("params"))
    return {}


async def set_tags(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = model_id(asked, calls)
    await calls.send("LogLoggedModelData", model_id=id, tags=asked.pairs("tags"))
    return {"model": shapes.logged_model(await _model(calls, id))}


async def delete_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
    tags = {asked.text("tag_key", required=True): None}
    await calls.send("LogLoggedModelData", model_id=model_id(asked, calls), tags=tags)
    return {}


async def search(asked: Asked, calls: Calls) -> dict[str, Any]:
    ids = [await id_of(calls, id) for id in asked.texts("experiment_ids")]
    clauses = asked.parts("order_by")
    if asked.parts("datasets") or any(each.text("dataset_name") for each in clauses):
        text = "models are not searched by the data set of a metric; leave datasets and dataset_name out"
        raise DoorError(grpc.StatusCode.UNIMPLEMENTED, text)
    if not ids:
        return {"models": []}
    found = await calls.ask(
        "SearchLoggedModels",
        pb.SearchLoggedModelsResponse,
        project=calls.project,
        visible_to=calls.user,
        experiment_ids=ids,
        filter=inward_filter(asked.text("filter"), calls.project),
        order_by=[_order(each) for each in clauses],
        page=page(asked),
    )
    return {"models": [shapes.logged_model(each) for each in found.models], **following(found)}


def model_id(asked: Asked, calls: Calls) -> str:
    """The logged model that is meant, as the platform calls it."""
    return inward(asked.text("model_id", required=True), calls.project)


async def _model(calls: Calls, id: str) -> Any:
    found = await calls.ask("GetLoggedModel", pb.GetLoggedModelResponse, model_id=id)
    if found.model.project != calls.project:
        raise no_model(id, calls.project)
    calls.check_kept("logged model", id, found.model)
    return found


def _order(clause: Asked) -> str:
    """A clause of an order, as the platform's searches have it."""
    return f"{clause.text('field_name', required=True)} {'asc' if clause.flag('ascending', usual=True) else 'desc'}"
