"""MLflow's endpoints of what runs read and made: datasets, and logged models."""

from __future__ import annotations

from typing import Any

from events.language.experiments.logged_models import MAX_MODELS
from events.language.experiments.models import MAX_INPUTS
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from services.gateway.mlflow import shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, run_id
from services.gateway.mlflow.experiments import id_of
from services.gateway.mlflow.run_ids import inward

MOST_SUMMARIES = 1_000


async def log(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Datasets are told by name and digest, so a version that is registered with both is the same one."""
    id = run_id(asked, calls)
    inputs = [_input(each) for each in asked.parts("datasets")]
    models = [inward(each.text("model_id", required=True), calls.project) for each in asked.parts("models")]
    for at in range(0, len(inputs), MAX_INPUTS):
        await calls.send("LogInputs", run_id=id, inputs=inputs[at : at + MAX_INPUTS])
    for at in range(0, len(models), MAX_MODELS):
        await calls.send("LogRunModels", run_id=id, inputs=models[at : at + MAX_MODELS])
    return {}


async def log_outputs(asked: Asked, calls: Calls) -> dict[str, Any]:
    id = run_id(asked, calls)
    models = [
        {
            "model_id": inward(each.text("model_id", required=True), calls.project),
            "step": each.integer("step") or 0,
        }
        for each in asked.parts("models")
    ]
    for at in range(0, len(models), MAX_MODELS):
        await calls.send("LogRunModels", run_id=id, outputs=models[at : at + MAX_MODELS])
    return {}


async def search_datasets(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Which datasets the runs of experiments read."""
    ids = [await id_of(calls, id) for id in asked.texts("experiment_ids")]
    if not ids:
        asked.wrong("experiment_ids", "is empty", "name the experiments")
    found = await calls.ask(
        "ListInputs",
        pb.ListInputsResponse,
        project=calls.project,
        visible_to=calls.user,
        experiment_ids=ids,
        page={"limit": MOST_SUMMARIES},
    )
    summaries = [
        {
            "experiment_id": each.experiment_id,
            "name": each.name,
            "digest": each.digest,
            **({"context": each.role} if each.role else {}),
        }
        for each in found.inputs
    ]
    return {"dataset_summaries": summaries}


def _input(asked: Asked) -> dict[str, Any]:
    data, tags = asked.part("dataset"), asked.pairs("tags")
    return {
        "name": data.text("name", required=True),
        "digest": data.text("digest", required=True),
        "role": tags.pop(shapes.CONTEXT, ""),
        "source_type": data.text("source_type"),
        "source": data.text("source"),
        "columns": data.text("schema"),
        "profile": data.text("profile"),
        "tags": tags,
    }
