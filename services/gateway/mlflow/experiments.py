"""MLflow's endpoints of experiments."""

from __future__ import annotations

from typing import Any

import grpc

from events.language.common import shown
from events.language.experiments import DEFAULT_EXPERIMENT
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.forward import Relayed
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.shapes import VIEWS, experiment

MAX_RESULTS = 10_000
DEFAULT_RESULTS = 1_000

_LIFECYCLES = {
    "": pb.LIFECYCLE_UNSPECIFIED,
    "ACTIVE_ONLY": pb.LIFECYCLE_UNSPECIFIED,
    "DELETED_ONLY": pb.LIFECYCLE_DELETED,
    "ALL": pb.LIFECYCLE_ALL,
}

DEFAULT_ID = "0"
"""By which MLflow's clients mean the experiment that is there without being made."""


async def create(asked: Asked, calls: Calls) -> dict[str, Any]:
    if asked.text("artifact_location"):
        asked.wrong("artifact_location", "is not taken", "leave it out: the platform keeps artifacts in its own store")
    name, tags = asked.text("name", required=True), asked.pairs("tags")
    return {"experiment_id": (await calls.send("CreateExperiment", name=name, tags=tags)).subject}


async def get(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"experiment": experiment(await of_id(calls, asked.text("experiment_id", required=True)))}


async def get_by_name(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"experiment": experiment(await _named(calls, asked.text("experiment_name", required=True)))}


async def search(asked: Asked, calls: Calls) -> dict[str, Any]:
    found = await calls.ask(
        "SearchExperiments",
        pb.SearchExperimentsResponse,
        project=calls.project,
        visible_to=calls.user,
        filter=asked.text("filter"),
        order_by=asked.texts("order_by"),
        lifecycle=lifecycle(asked, "view_type"),
        page=page(asked),
    )
    return {"experiments": [experiment(each) for each in found.experiments], **following(found)}


async def update(asked: Asked, calls: Calls) -> dict[str, Any]:
    await _update(asked, calls, name=asked.text("new_name", required=True))
    return {}


async def set_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
    await _update(asked, calls, tags={asked.text("key", required=True): asked.text("value")})
    return {}


async def delete_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
    await _update(asked, calls, tags={asked.text("key", required=True): None})
    return {}


async def delete(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("DeleteExperiment", experiment_id=await id_of(calls, asked.text("experiment_id", required=True)))
    return {}


async def restore(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("RestoreExperiment", experiment_id=await id_of(calls, asked.text("experiment_id", required=True)))
    return {}


async def _update(asked: Asked, calls: Calls, **changes: Any) -> None:
    id = await id_of(calls, asked.text("experiment_id", required=True))
    await calls.send("UpdateExperiment", experiment_id=id, **changes)


async def id_of(calls: Calls, id: str) -> str:
    """The platform's id of what a client calls so."""
    return id if id != DEFAULT_ID else str((await _default(calls)).experiment_id)


async def of_id(calls: Calls, id: str) -> Any:
    """The experiment that a client calls so. Raises DoorError or Relayed."""
    if id == DEFAULT_ID:
        return await _default(calls)
    found = (await calls.ask("GetExperiment", pb.GetExperimentResponse, experiment_id=id)).experiment
    if found.project != calls.project:
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"there is no experiment {shown(id)} in project {calls.project}")
    calls.check_kept("experiment", id, found)
    return found


async def _named(calls: Calls, name: str) -> Any:
    return (await calls.ask("GetExperiment", pb.GetExperimentResponse, project=calls.project, name=name)).experiment


async def _default(calls: Calls) -> Any:
    """The project's own, made if nobody asked for it before."""
    try:
        return await _named(calls, DEFAULT_EXPERIMENT)
    except Relayed as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
    await _make_default(calls)
    return await _named(calls, DEFAULT_EXPERIMENT)


async def _make_default(calls: Calls) -> None:
    try:
        await calls.send("CreateExperiment", name=DEFAULT_EXPERIMENT)
    except DoorError as error:
        if error.code is not grpc.StatusCode.ALREADY_EXISTS:  # another request was first
            raise


def lifecycle(asked: Asked, name: str) -> Any:
    """What a view shows."""
    return _LIFECYCLES[asked.word(name, VIEWS)]


def page(asked: Asked) -> dict[str, Any]:
    most = asked.most("max_results", DEFAULT_RESULTS, MAX_RESULTS)
    return {"limit": most, "cursor": asked.text("page_token")}


def following(found: Any) -> dict[str, str]:
    """Where a list goes on; nothing on its last page."""
    return {"next_page_token": found.next_cursor} if found.next_cursor else {}
