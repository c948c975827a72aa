"""MLflow's endpoints of runs."""

from __future__ import annotations

from typing import Any

from events.language.common import shown
from events.language.experiments import RunAdmitted, RunCreated
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from services.gateway.mlflow import metrics, shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, no_run, run_id
from services.gateway.mlflow.experiments import DEFAULT_ID, following, id_of, lifecycle, page
from services.gateway.mlflow.processes import process_of
from services.gateway.mlflow.run_ids import inward, inward_filter


async def create(asked: Asked, calls: Calls) -> dict[str, Any]:
    """The answer is made of the events that the creation led to, so no query is waited for."""
    tags, user = asked.pairs("tags"), asked.text("user_id")
    name, given = asked.text("run_name"), tags.get(shapes.RUN_NAME, "")
    if name and given and name != given:
        problem = f"is {shown(name)}, but the tag {shapes.RUN_NAME} is {shown(given)}"
        asked.wrong("run_name", problem, "make the two agree, or give one of them")
    if name := name or given:
        tags[shapes.RUN_NAME] = name
    if user:
        tags.setdefault(shapes.USER, user)
    id = asked.text("experiment_id")
    outcome = await calls.send(
        "CreateRun",
        conclude=True,
        experiment_id="" if id == DEFAULT_ID else id,
        name=name,
        parent_run_id=inward(tags.get(shapes.PARENT, ""), calls.project),
        process=await process_of(calls, tags),
        tags=tags,
        started_at=asked.time("start_time"),
    )
    made = next(record for record in outcome.events if isinstance(record.data, RunCreated))
    assert isinstance(made.data, RunCreated)
    assert outcome.conclusion is not None
    admitted = outcome.conclusion.data
    assert isinstance(admitted, RunAdmitted)
    info = shapes.run_info(
        made.data.run_id,
        calls.project,
        admitted.experiment_id,
        name=made.data.name,
        user=tags.get(shapes.USER) or made.meta.actor,
        status=made.data.status.value.upper(),
        started=shapes.in_milliseconds(made.data.started_at),
    )
    data = shapes.run_data({**made.data.params, **admitted.params}, made.data.tags)
    return {"run": {"info": info, "data": data, "inputs": {}}}


async def get(asked: Asked, calls: Calls) -> dict[str, Any]:
    return {"run": await _run(calls, run_id(asked, calls))}


async def update(asked: Asked, calls: Calls) -> dict[str, Any]:
    id, name = run_id(asked, calls), asked.text("run_name")
    status, ended_at = asked.word("status", tuple(shapes.STATUSES)), asked.time("end_time")
    if status == "SCHEDULED":
        asked.wrong("status", "is SCHEDULED, which a run is only before it begins", "give another status")
    if name:
        await _rename(calls, id, name)
        await calls.send("LogRunData", run_id=id, tags={shapes.RUN_NAME: name})
    if status == "RUNNING":
        await calls.send("ResumeRun", run_id=id)
    elif status:
        await calls.send("EndRun", run_id=id, status=shapes.STATUSES[status], ended_at=ended_at)
    return {"run_info": (await _run(calls, id))["info"]}


async def delete(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("DeleteRun", run_id=run_id(asked, calls))
    return {}


async def restore(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.send("RestoreRun", run_id=run_id(asked, calls))
    return {}


async def log_parameter(asked: Asked, calls: Calls) -> dict[str, Any]:
    id, key = run_id(asked, calls), asked.text("key", required=True)
    await calls.send("LogRunData", run_id=id, params={key: asked.text("value")})
    return {}


async def log_batch(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Points come first: a parameter that is refused, since it has another value, costs none of them."""
    id, params, tags = run_id(asked, calls), asked.pairs("params"), asked.pairs("tags")
    await metrics.log_points(calls, id, asked.parts("metrics"))
    if params or tags:
        await _log(calls, id, tags, params=params)
    return {}


async def set_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
    tags = {asked.text("key", required=True): asked.text("value")}
    await _log(calls, run_id(asked, calls), tags)
    return {}


async def delete_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
    key = asked.text("key", required=True)
    await calls.send("LogRunData", run_id=run_id(asked, calls), tags={key: None})
    return {}


async def search(asked: Asked, calls: Calls) -> dict[str, Any]:
    ids = [await id_of(calls, id) for id in asked.texts("experiment_ids")]
    if not ids:
        return {"runs": []}
    found = await calls.ask(
        "SearchRuns",
        pb.SearchRunsResponse,
        project=calls.project,
        visible_to=calls.user,
        experiment_ids=ids,
        filter=inward_filter(asked.text("filter"), calls.project),
        order_by=asked.texts("order_by"),
        lifecycle=lifecycle(asked, "run_view_type"),
        page=page(asked),
    )
    return {"runs": [shapes.run(each) for each in found.runs], **following(found)}


async def _run(calls: Calls, id: str) -> dict[str, Any]:
    found = await calls.ask("GetRun", pb.GetRunResponse, run_id=id)
    if found.run.project != calls.project:
        raise no_run(id, calls.project)
    calls.check_kept("run", id, found.run)
    return shapes.run(found)


async def _log(calls: Calls, id: str, tags: dict[str, str], **more: Any) -> None:
    """Tags, and what else is logged. The tag with a run's name names it."""
    if name := tags.get(shapes.RUN_NAME, ""):
        await _rename(calls, id, name)
    await calls.send("LogRunData", run_id=id, tags=tags, **more)


async def _rename(calls: Calls, id: str, name: str) -> None:
    await calls.send("RenameRun", run_id=id, name=name)
