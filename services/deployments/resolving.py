"""Which version of its model a revision serves: what is asked of experiments, and what the answer means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.language.common import Refused, invalid
from events.language.convert import to_dict
from events.language.deployments.commands import ResolveRevision
from events.language.deployments.events import (
    DeploymentEvent,
    RevisionCreated,
    RevisionRejected,
    RevisionResolved,
)
from events.language.deployments.models import MAX_REASON, ModelChoice, ResolvedModel, needs_new_replicas
from events.language.experiments.registry.models import ModelFormat, ModelSignature, VersionStatus
from events.language.objects import ObjectRef
from events.writer.decider import Question
from forgelog_pb.experiments.v1.registry_queries_pb2 import GetModelVersionRequest
from forgelog_pb.experiments.v1.registry_queries_pb2_grpc import RegistryQueriesStub
from services.deployments import launching
from services.deployments.state import Deployment
from services.deployments.trained import training_data


def at_once(name: str, event: RevisionCreated) -> Sequence[DeploymentEvent]:
    """What follows on a new revision if nothing needs to be asked. Raises Refused if no replica of it can be."""
    if event.spec.model is not None:
        return []
    if problem := launching.problem(name, event.spec, None):
        raise invalid("spec", problem, "change that part of it")
    return [RevisionResolved(deployment_id=event.deployment_id, revision=event.revision)]


def questions(event: RevisionCreated, project: str) -> Sequence[Question]:
    """What is asked about a new revision. One that undoes others serves the version that it did."""
    choice = event.spec.model
    if choice is None or event.source_revision:
        return []
    which = (
        {"number": event.model_number}  # what an alias means may be known here before it is in the tables there
        if event.model_number
        else {"number": choice.number or 0, "alias": choice.alias, "environment": choice.environment}
    )
    asked = event.spec.serving.monitoring.drift
    trained = asked.enabled and not event.spec.command
    request = GetModelVersionRequest(
        project=project,
        name=choice.name,
        **which,
        training=trained,
        training_dataset=asked.dataset if trained else "",
    )
    return [Question("experiments", RegistryQueriesStub, "GetModelVersion", request)]


def model_id(answer: Any) -> str:
    """Of the model that an answer is about; empty if there is none."""
    return "" if isinstance(answer, Refused) else str(answer.version.model_id)


def resolution(event: RevisionCreated, answer: Any, project: str) -> ResolveRevision:
    """The answer, as a command of the deployment to itself."""
    names = {"deployment_id": event.deployment_id, "revision": event.revision}
    assert event.spec.model is not None
    if isinstance(answer, Refused):
        return ResolveRevision(**names, problem=f"{_named(event.spec.model)}: {answer.message}"[:MAX_REASON])
    version = to_dict(answer.version)
    if problem := _problem(version, project):
        return ResolveRevision(**names, problem=f"{_named(event.spec.model)}: {problem}"[:MAX_REASON])
    signature = ModelSignature.model_validate(version.get("signature") or {})
    drift = event.spec.serving.monitoring.drift
    features = drift.features or [each.name for each in signature.inputs]
    answers = [*drift.outputs.values(), *(each.name for each in signature.outputs)]
    return ResolveRevision(
        **names,
        model=ResolvedModel(
            name=event.spec.model.name,
            number=version["number"],
            version_id=version["version_id"],
            bundle=ObjectRef.model_validate(version["bundle"]),
            model_format=ModelFormat(version["model_format"]),
            signature=signature,
            training=training_data(to_dict(answer.training), [*features, *answers])
            if answer.HasField("training")
            else None,
        ),
    )


def _named(choice: ModelChoice) -> str:
    """As people write it."""
    if choice.number is not None:
        return f"{choice.name}/{choice.number}"
    if choice.alias:
        return f"{choice.name}@{choice.alias}"
    return f"{choice.name}:{choice.environment}" if choice.environment else choice.name


def _problem(version: dict[str, Any], project: str) -> str:
    """Why a version can't be served; empty if it can."""
    if version["project"] != project:
        return "it is a model of another project"
    if version.get("deleted_at") is not None:
        return f"version {version['number']} is deleted; choose another one"
    if version["status"] == VersionStatus.DAMAGED:
        return f"the files of version {version['number']} are damaged ({version.get('reason') or 'no reason is known'})"
    return ""


def _same(state: Deployment, revision: int, model: ResolvedModel | None) -> str:
    """Why nothing comes of a revision that is the one in place once more; empty if it is another one."""
    stable = state.revisions.get(state.stable)
    if model is None or stable is None or state.rollout is not None or stable.model != model:
        return ""
    if needs_new_replicas(stable.spec, state.revisions[revision].spec):
        return ""
    return f"revision {state.stable} serves {model.name}/{model.number} already"


def resolved(state: Deployment, command: ResolveRevision) -> Sequence[DeploymentEvent]:
    """The resolution of the newest revision; an answer about an earlier one comes too late."""
    id, revision = command.deployment_id, command.revision
    if revision != state.unresolved:
        return []
    problem = (
        command.problem
        or _same(state, revision, command.model)
        or launching.problem(state.name, state.revisions[revision].spec, command.model)
    )
    if problem:
        stays = state.rollout.revision if state.rollout is not None else state.next or state.stable
        return [RevisionRejected(deployment_id=id, revision=revision, reason=problem[:MAX_REASON], replicas_of=stays)]
    return [RevisionResolved(deployment_id=id, revision=revision, model=command.model)]
