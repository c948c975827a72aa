"""The job that a replica is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from events.language.deployments.events import ReplicaRequested
from events.language.deployments.models import DeploymentSpec, ResolvedModel, ServingOptions
from events.language.deployments.serving import (
    REPORT_PATH,
    UNSERVED_FORMATS,
    ServedModel,
    ServingSpec,
    runtime_by_format,
)
from events.language.experiments.registry.models import ModelFormat
from events.language.jobs.spec import (
    JobAffinity,
    JobMetadata,
    JobScheduling,
    JobSpec,
    RestartMode,
    RestartPolicy,
)
from events.language.jobs.spec_service import LivenessProbe, Probe, ProbeKind, ServiceSpec, StartupProbe
from events.log.ids import replica_job
from services.deployments.state import Deployment

DEPLOYMENT_LABEL = "forgelog/deployment"
REVISION_LABEL = "forgelog/revision"
REGION_LABEL = "region"

_RESTARTS = RestartPolicy(mode=RestartMode.ALWAYS, max_restarts=None, max_backoff_seconds=60.0)

_MODEL_SERVER = 'exec "$FORGELOG_PYTHON" -m forgelog.serve'
"""The interpreter of the node's agent has Forgelog. A deployment may name another one in its environment."""

_WITHOUT_CLASS = frozenset({"onnx", "sklearn", "torchscript", "mlflow", "command"})
"""Forgelog's own runtimes that load no class."""

_READY, _LIVE = "/v2/health/ready", "/v2/health/live"
"""Paths of the model server."""


def requested(state: Deployment, id: str, project: str, revision: int, number: int) -> ReplicaRequested:
    """The order of a replica."""
    of = state.revisions[revision]
    return ReplicaRequested(
        deployment_id=id,
        replica=number,
        revision=revision,
        job_id=replica_job(id, revision, number, project),
        spec=_job(state.name, of.spec, of.model, id, revision, number),
    )


def problem(name: str, spec: DeploymentSpec, model: ResolvedModel | None) -> str:
    """Why there can't be replicas of a deployment with this spec and model; empty if there can."""
    if model is not None and not spec.command and (unserved := _unserved(spec.serving, model)):
        return f"{model.name}/{model.number} {unserved}"
    try:
        _job(name, spec, model, "a", 1, 1)
    except ValidationError as error:
        return "; ".join(str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
    return ""


def _unserved(options: ServingOptions, model: ResolvedModel) -> str:
    """Why no model server serves a version, as far as its format tells; empty if one may."""
    name, format = runtime_by_format(options.runtime, model.model_format), model.model_format
    if options.runtime.class_name and name in _WITHOUT_CLASS:
        return (
            f"can't be served by the runtime {name} with serving.runtime.class_name {options.runtime.class_name}: a "
            "class is for the runtime python; leave out one of the two"
        )
    if format in UNSERVED_FORMATS and not name and not options.file:
        return (
            f"is in the format {format.value}, which no runtime serves by itself; onnx, skops, TorchScript and trusted "
            "pickles are. Name a runtime by serving.runtime: python with class_name, or command with backend; or name "
            "another file of it by serving.file"
        )
    if format is ModelFormat.PICKLE and name in ("", "sklearn") and not (options.file or options.trust_pickle):
        return (
            "is a pickle: to load it runs what its author wrote. Publish it in the format of skops or ONNX, or deploy "
            "it with serving.trust_pickle (forgelog deploy --trust-pickle) if you trust its author"
        )
    return ""


def _job(name: str, spec: DeploymentSpec, model: ResolvedModel | None, id: str, revision: int, number: int) -> JobSpec:
    labels = {**spec.labels, DEPLOYMENT_LABEL: id, REVISION_LABEL: str(revision)}
    region = {REGION_LABEL: spec.target.region} if spec.target.region else {}
    variables = {**spec.environment.variables, **_told(spec, model, id, revision, number)}
    return JobSpec(
        metadata=JobMetadata(name=f"{name}/{revision}.{number}", labels=labels),
        command=spec.command or "sh",
        args=spec.args if spec.command else ("-c", _MODEL_SERVER),
        queue=spec.target.queue,
        priority=spec.target.priority,
        resources=spec.resources,
        environment=spec.environment.model_copy(update={"variables": variables}),
        scheduling=JobScheduling(
            node_selector={**spec.target.node_selector, **region},
            tolerations=spec.target.tolerations,
            job_affinity=(JobAffinity(labels={DEPLOYMENT_LABEL: id}, required=False, anti=True),),
            restart=_RESTARTS,
        ),
        service=_service(spec, "" if spec.command else REPORT_PATH),
    )


def _service(spec: DeploymentSpec, report_path: str) -> ServiceSpec:
    """A replica's ports and probes. `report_path`: where it tells of itself; empty for nowhere."""
    health, ports = spec.health, spec.port_names()
    startup, readiness, liveness = health.startup, health.readiness, health.liveness
    if spec.command:
        readiness = readiness or Probe(kind=ProbeKind.TCP, port=ports[0])
    else:
        asked = spec.serving.health
        every = {
            "kind": ProbeKind.HTTP,
            "port": ports[0],
            "period_seconds": asked.interval_seconds,
            "timeout_seconds": asked.timeout_seconds,
        }
        startup = startup or StartupProbe(**{**every, "period_seconds": 1.0}, path=_READY)
        readiness = readiness or Probe(**every, path=_READY, failure_threshold=asked.failures)
        liveness = liveness or LivenessProbe(**every, path=_LIVE)
    return ServiceSpec(
        ports=ports,
        startup=startup,
        readiness=readiness,
        liveness=liveness,
        drain_seconds=spec.drain_seconds,
        report_path=report_path,
    )


def _told(spec: DeploymentSpec, model: ResolvedModel | None, id: str, revision: int, number: int) -> Mapping[str, str]:
    """What a replica's process finds of itself in its environment."""
    told = {"FORGELOG_DEPLOYMENT": id, "FORGELOG_REVISION": str(revision), "FORGELOG_REPLICA": str(number)}
    if model is None:
        return told
    if spec.command:
        return {
            **told,
            "FORGELOG_MODEL_NAME": model.name,
            "FORGELOG_MODEL_VERSION": str(model.number),
            "FORGELOG_MODEL_VERSION_ID": model.version_id,
        }
    return {**told, "FORGELOG_SERVING": serving(spec, model, id, revision).to_json().decode()}


def serving(spec: DeploymentSpec, model: ResolvedModel, id: str, revision: int) -> ServingSpec:
    """What a replica's model server reads. Raises ValidationError for one that is too long for a process."""
    options = spec.serving
    return ServingSpec(
        deployment_id=id,
        revision=revision,
        model=ServedModel(
            name=model.name,
            version=model.number,
            version_id=model.version_id,
            bundle=model.bundle,
            format=model.model_format,
            file=options.file,
            signature=model.signature,
            trusted_types=options.trusted_types,
            trust_pickle=options.trust_pickle,
        ),
        runtime=options.runtime,
        endpoints=spec.endpoint_types(),
        batching=options.batching,
        processing=options.processing,
        schemas=options.schemas,
        monitoring=options.monitoring,
        health=options.health,
        warm_up=options.warm_up,
        limits=options.limits,
        training=model.training if options.monitoring.drift.enabled else None,
    )
