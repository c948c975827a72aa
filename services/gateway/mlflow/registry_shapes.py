"""The platform's models and versions as MLflow's JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from forgelog_pb.experiments.v1 import types_pb2 as types
from services.gateway.mlflow.run_ids import outward
from services.gateway.mlflow.shapes import milliseconds, pairs

STAGES: Mapping[str, str] = {"None": "none", "Staging": "staging", "Production": "production", "Archived": "archived"}
"""MLflow's words, and the platform's."""

ACTIVE_STAGES = ("Staging", "Production")

VERSIONS = "model-versions"
"""What addresses of versions' files begin with."""

RUN_LINK = "mlflow.runLink"
"""The tag that keeps what MLflow has a field for: the page of a run on another server."""

_STAGES = {number: word for word, number in types.ModelStage.items()}
_MLFLOW_STAGES = {platform: mlflow for mlflow, platform in STAGES.items()}

_STATUSES = {
    types.VERSION_STATUS_PENDING: "PENDING_REGISTRATION",
    types.VERSION_STATUS_VERIFIED: "READY",
    types.VERSION_STATUS_DAMAGED: "FAILED_REGISTRATION",
}


def model(found: Any, newest: Iterable[Any]) -> dict[str, Any]:
    """Of a `RegisteredModel` message. `newest`: the newest version of each stage, as `ModelVersion` messages."""
    return {
        "name": found.name,
        "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at),
        "user_id": found.owner,
        **_said(description=found.description),
        "tags": pairs(found.tags),
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in sorted(found.aliases.items())],
        "latest_versions": [version(each) for each in newest],
    }


def version(found: Any) -> dict[str, Any]:
    """Of a `ModelVersion` message. Its warnings are the status's message: MLflow has no other place for them."""
    tags = dict(found.tags)
    return {
        "name": found.name,
        "version": str(found.number),
        "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at),
        "user_id": found.created_by,
        "current_stage": stage(found),
        "source": found.source_uri or files_uri(found),
        "status": _STATUSES[found.status],
        **_said(
            description=found.notes,
            run_id=outward(found.source_run_id, found.project),
            model_id=outward(found.logged_model_id, found.project),
            run_link=tags.pop(RUN_LINK, ""),
            status_message=found.reason or "; ".join(found.warnings),
        ),
        "tags": pairs(tags),
        "aliases": list(found.aliases),
    }


def _said(**texts: str) -> dict[str, str]:
    """Fields that MLflow leaves out where there is nothing to say."""
    return {name: text for name, text in texts.items() if text}


def stage(found: Any) -> str:
    """A version's stage, in MLflow's word."""
    return _MLFLOW_STAGES[_STAGES[found.stage].removeprefix("MODEL_STAGE_").lower()]


def files_uri(found: Any) -> str:
    """Where a version's files are: its own, which stay what they are whatever becomes of the run that made them."""
    return f"mlflow-artifacts:/{VERSIONS}/{found.version_id}/artifacts"
