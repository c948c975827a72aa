"""MLflow's endpoints of versions of registered models."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import grpc

from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.mlflow import registry_shapes as shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.experiments import following
from services.gateway.mlflow.registry_names import named, refuse_prompts, stage_of, version_named
from services.gateway.mlflow.registry_tags import tag_endpoints
from services.gateway.mlflow.run_ids import inward_filter
from services.gateway.mlflow.sources import taken_from

MAX_RESULTS = 10_000

HELD_SECONDS = 2.0
"""How long the answer to a creation waits until the files were looked at: the client asks again only after 3 s."""

CHECK_SECONDS = 60.0
"""How long a transition waits for that; the client gives up after 120 s."""

_ORDER = ("last_updated_timestamp desc", "name", "version_number desc")
"""MLflow's."""


async def create(asked: Asked, calls: Calls) -> dict[str, Any]:
    """The version's files are those that the source has now."""
    tags = asked.pairs("tags")
    refuse_prompts(tags)
    if link := asked.text("run_link"):
        tags[shapes.RUN_LINK] = link
    model_id = (await named(asked, calls)).model_id
    spec = await taken_from(asked, calls)
    outcome = await calls.send(
        "CreateModelVersion",
        conclude=True,
        within=HELD_SECONDS,
        model_id=model_id,
        spec=spec,
        notes=asked.text("description"),
        tags=tags,
    )
    return await _answer(calls, outcome.subject)


async def get(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"model_version": shapes.version(await version_named(asked, calls))}


async def update(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = (await version_named(asked, calls)).version_id
    await calls.send("UpdateModelVersion", version_id=id, notes=asked.text("description"))
    return await _answer(calls, id)


async def delete(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("DeleteModelVersion", version_id=(await version_named(asked, calls)).version_id)
    return {}


async def search(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Those that changed last come first, if no other order is asked for."""
    found = await calls.ask(
        "ListModelVersions",
        pb.ListModelVersionsResponse,
        project=calls.project,
        filter=inward_filter(asked.text("filter"), calls.project),
        order_by=asked.texts("order_by") or _ORDER,
        page={"limit": asked.most("max_results", MAX_RESULTS, MAX_RESULTS), "cursor": asked.text("page_token")},
    )
    return {"model_versions": [shapes.version(each) for each in found.versions], **following(found)}


async def _version(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"version_id": (await version_named(asked, calls)).version_id}


set_tag, delete_tag = tag_endpoints("UpdateModelVersion", _version)


async def download_uri(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"artifact_uri": shapes.files_uri(await version_named(asked, calls))}


async def transition(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Before a version is in use, its files are compared with their digests once more."""
    stage = stage_of(asked, "stage", asked.text("stage", required=True))
    archive = asked.flag("archive_existing_versions")
    if archive and stage not in shapes.ACTIVE_STAGES:
        problem = f"goes with {' or '.join(shapes.ACTIVE_STAGES)}, and the stage is {stage}"
        asked.wrong("archive_existing_versions", problem, "leave it out")
    found = await version_named(asked, calls)
    if stage in shapes.ACTIVE_STAGES:
        await _look_again(calls, found)
    platform = shapes.STAGES[stage]
    await calls.send("SetModelStage", version_id=found.version_id, stage=platform, archive_existing=archive)
    return await _answer(calls, found.version_id)


async def _look_again(calls: Calls, found: Any) -> None:
    """Return when the version's files were looked at. A client that asks again meanwhile joins the same look. Raises
    DoorError, also when that takes long."""
    id, before = found.version_id, found.checked_at
    await calls.send("CheckModelVersion", id=f"{id}.transition.{before.ToNanoseconds()}", version_id=id)
    try:
        rows = calls.follow("WatchModelVersions", pb.WatchModelVersionsResponse, CHECK_SECONDS, version_ids=[id])
        async with aclosing(rows) as changed:
            async for answer in changed:
                if answer.version.checked_at != before:
                    return
    except DoorError as error:
        if error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        text = f"the files of {found.name}/{found.number} are still being compared with their digests; ask again"
        raise DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=5.0) from None


async def _answer(calls: Calls, id: str) -> dict[str, Any]:
    found = await calls.ask("GetModelVersion", pb.GetModelVersionResponse, version_id=id)
    return {"model_version": shapes.version(found.version)}
