"""Makes of stored minutes how far a deployment's requests are from its training data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from events.language.deployments.drift import DeploymentDrift
from events.language.deployments.models import DeploymentSpec, ResolvedModel
from services.deployments.alerts.drift import drift
from services.deployments.windows.measuring import Asked, asked_of


def drift_of(asked: Asked, revision: int, row: Any, minutes: Iterable[Mapping[str, Any]]) -> DeploymentDrift:
    """`row`: `spec` and `model` of the revision's row; None where no revision is in place. `minutes`: rows of the
    stream."""
    found = DeploymentDrift(
        deployment_id=asked.deployment_id,
        revision=revision,
        window_start=datetime.fromtimestamp(asked.begin, UTC),
        window_end=datetime.fromtimestamp(asked.end, UTC),
    )
    if row is None or row["model"] is None:
        reason = "no revision is in place" if row is None else "it serves no registered model"
        return found.model_copy(update={"reason": reason})
    spec, model = DeploymentSpec.model_validate(row["spec"]), ResolvedModel.model_validate(row["model"])
    if model.training is None or not spec.serving.monitoring.drift.enabled:
        return found.model_copy(update={"reason": _unknown(spec, model)})
    counted = asked_of(minutes).get(revision, {})
    return found.model_copy(
        update={"dataset": model.training.dataset, "columns": tuple(drift(model.training, counted))}
    )


def _unknown(spec: DeploymentSpec, model: ResolvedModel) -> str:
    settings = spec.serving.monitoring.drift
    if spec.command:
        return "its replicas run a command: the model server counts what a model is asked"
    if not settings.enabled:
        return "serving.monitoring.drift.enabled is false"
    if settings.dataset:
        return f"dataset {settings.dataset} has no counts of its columns: register its files as a version"
    return (
        f"no training data of {model.name}/{model.number} is known: register the dataset with its files and log it as "
        "an input of the version's run, or name it by serving.monitoring.drift.dataset"
    )
