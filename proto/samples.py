"""One plausible value of every model: examples for documents, and the golden samples that history is tested with.

A field may say a value of its own: ``row: Annotated[str, Field(pattern=..., examples=["north-7"])]``. Without one, a
value is made from its name, type and bounds.

Deterministic: the same model gives the same sample. `full` fills every field, planned ones included; an example leaves
out what would be refused and what has a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AwareDatetime, StringConstraints
from pydantic.fields import FieldInfo

from events.language import experiments, jobs
from events.language.base import Model
from events.language.deployments import alerts, drift, routing, scaling, serving, traffic
from events.language.deployments import commands as deploying
from events.language.deployments import models as deployed
from events.language.experiments import datasets, search_space, tuning_pruning
from events.language.jobs import spec, spec_isolation, spec_monitoring, spec_placement, spec_service, spec_training
from events.language.planned import Planned
from proto import GenerationError, pipeline_samples
from proto.shapes import unwrap

TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

_BY_NAME: Mapping[str, Any] = {
    "job_id": "train-digits",
    "dependent": "evaluate-digits",
    "dependency": "prepare-digits",
    "node_id": "node-1",
    "hostname": "node-1.example.org",
    "pool": "default",
    "queue": "default",
    "project": "local/default",
    "owner": "Ada Lovelace",
    "name": "train-digits",
    "command": "python",
    "args": ["train.py", "--seed=$FORGELOG_TASK"],
    "tasks": "0-3",
    "rest": "4-7",
    "allocation_id": "train-digits.1.0",
    "boot_id": "0f0e9b7c-6c1e-4a53-8f5c-5f1a1e5b7d10",
    "agent_id": "5c8e6f0e-7d1b-4bb1-9d4e-2f6f3f1f9a77",
    "subject_id": "train-digits",
    "command_id": "018f2b6e-0000-7000-8000-000000000001",
    "command_type": "forgelog.jobs.v1.SubmitJob",
    "writer": "jobs-0",
    "reason": "asked by its owner",
    "message": "0 of 5 nodes can take a task: 3 insufficient gpus, 2 cordoned",
    "exit_code": 1,
    "attempt": 1,
    "task": 0,
    "pid": 4711,
    "world_size": 8,
    "array_size": 8,
}
_TEXTS = (
    "sample",
    "local/default",
    "0-3",
    "/data",
    "9.0",
    "08:00",
    "UTC",
    "CAP_NET_RAW",
    "1g.10gb",
    "SAMPLE",
)
_SPACE = [
    {"name": "optimizer", "kind": "categorical", "choices": ['"adam"', '"sgd"']},
    {
        "name": "momentum",
        "kind": "float",
        "low": 0.25,
        "high": 0.75,
        "step": 0.25,
        "when": {"name": "optimizer", "values": ['"sgd"']},
    },
]
_BY_MODEL: Mapping[type[Model], Mapping[str, Any]] = {
    jobs.JobExited: {"completed": "0", "failed": "1", "cancelled": "2"},
    spec.JobSpec: {"debug_mode": True},
    spec.JobResources: {"gpus": 2},
    spec_placement.GPURequirements: {"allocation": "mig", "mig_profile": "1g.10gb"},
    spec_placement.TimeWindow: {"start": "22:00", "end": "06:00"},
    spec_placement.JobTiming: {"deadline": datetime(2026, 2, 1, tzinfo=UTC)},
    spec_isolation.VolumeMount: {"kind": "host", "source": "/data"},
    spec_isolation.JobSecurity: {
        "run_as_user": None,
        "run_as_group": None,
        "capabilities_add": ["CAP_NET_RAW"],
        "capabilities_drop": ["ALL"],
        "network": "cluster",
    },
    spec_service.Probe: {"kind": "http", "path": "/ready", "service": "", "command": []},
    spec_service.StartupProbe: {"kind": "grpc", "path": "", "service": "iris", "command": []},
    spec_service.LivenessProbe: {"kind": "tcp", "path": "", "service": "", "command": []},
    spec_service.ServiceSpec: {
        "ports": ["http", "grpc"],
        "startup": {"kind": "grpc", "port": "grpc"},
        "readiness": {"kind": "http", "port": "http", "path": "/ready", "success_threshold": 2},
        "liveness": {"kind": "exec", "command": ["check", "--live"]},
    },
    spec_training.JobCheckpointing: {"resume_strategy": "specific"},
    spec_training.JobDistributed: {
        "rank": None,
        "elastic": True,
        "min_world_size": 4,
        "max_world_size": 16,
    },
    experiments.DataHyperparameters: {"train_split": 0.8, "validation_split": 0.1, "test_split": 0.1},
    experiments.BasicHyperparameters: {"epochs": 30},
    experiments.AskTrial: {"user_attributes": {"note": '"ada"'}, "system_attributes": {"constraints": "[0.5, NaN]"}},
    experiments.TrialEnded: {"status": "completed"},
    experiments.Condition: {"values": ['"sgd"']},
    experiments.Dimension: {
        "kind": "float",
        "low": 0.25,
        "high": 0.75,
        "step": 0.25,
        "log": False,
        "choices": [],
    },
    experiments.TuningPlan: {
        "algorithm": "tpe",
        "space": _SPACE,
    },
    search_space.SearchSpace: {"dimensions": _SPACE},
    experiments.TellTrial: {"status": "completed"},
    tuning_pruning.Pruning: {
        "rule": "hyperband",
        "startup_trials": None,
        "warmup_steps": None,
        "min_steps": 3,
        "max_steps": 81,
        "reduction_factor": 3,
    },
    datasets.DatasetSpec: {
        "digest": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "samples": 70_000,
        "size_bytes": None,
        "splits": {"train": 60_000, "test": 10_000},
        "columns": {"label": "uint8"},
        "statistics": {"label": {"count": 70_000, "mean": 4.45, "deviation": 2.89, "least": 0, "most": 9}},
    },
    spec_monitoring.AlertRule: {"comparison": "below", "channels": []},
    deployed.ModelChoice: {"name": "digits", "number": None, "alias": "champion", "environment": ""},
    deployed.DeploymentSpec: {"command": "", "args": [], "ports": []},
    deploying.ResolveRevision: {"problem": ""},
    alerts.DeploymentAlert: {"type": "latency", "resource": None, "threshold": 250.0, "percentile": 99.0},
    alerts.AlertChannel: {"kind": "webhook", "target": "https://hooks.example.org/alerts", "secret": "alerts"},
    alerts.AlertSettings: {
        "alerts": [{"name": "slow", "type": "latency", "threshold": 250.0, "channels": ["team"], "rollback": True}],
        "channels": [{"name": "team", "kind": "email", "target": "team@example.org"}],
    },
    scaling.ScalingTarget: {"metric": "rps", "value": 50.0, "custom": ""},
    scaling.ScalingSchedule: {"cron": "0 8 * * MON-FRI", "zone": "Europe/Berlin", "min_replicas": 2, "max_replicas": 6},
    scaling.AutoScalingPolicy: {"min_replicas": 1, "max_replicas": 8, "panic_seconds": 6.0},
    scaling.MetricLoad: {"name": "rps", "stable": 120.5, "panic": 240.25},
    scaling.MetricNeed: {"name": "rps", "stable": 2.41, "panic": 4.805},
    datasets.ColumnStatistics: {"edges": [1.0], "bins": [1, 0]},
    drift.TrainedColumn: {"name": "age", "edges": [20.5, 41.0], "kinds": [], "counts": [310, 402, 288]},
    drift.ColumnCounts: {"column": 0, "counts": [12, 20, 9]},
    traffic.LatencySketch: {"bins": [110, 115, 230], "counts": [40, 158, 2], "total_microseconds": 2_150_000},
    traffic.RevisionTraffic: {"requests": 201, "failures": 1},
    serving.RuntimeSettings: {"name": "python", "backend": None},
    routing.RoutedEndpoint: {"allowed_origins": ["https://shop.example"]},
    routing.RoutedRevision: {"weight": routing.WHOLE},
    routing.RoutingRule: {"match": "exact", "value": "beta"},
    routing.PublicKey: {"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    **pipeline_samples.FULL,
}
"""Values that rules across fields ask for; a plain guess would break them."""
_LEAST: Mapping[type[Model], Mapping[str, Any]] = {
    datasets.DatasetSpec: {"digest": "9b2c41f0"},
    deployed.DeploymentSpec: {"model": {"name": "digits", "alias": "champion"}, "args": []},
    scaling.ScalingTarget: {"metric": "rps", "value": 50.0},
    scaling.ScalingSchedule: {"cron": "0 8 * * MON-FRI", "min_replicas": 2},
    alerts.DeploymentAlert: {"type": "error_rate", "threshold": 5.0},
    routing.RoutingRule: {"value": "beta"},
    routing.PublicKey: {"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    **pipeline_samples.LEAST,
}
"""The same, of an example."""


def full(model: type[Model]) -> Model:
    """An instance with every field filled."""
    return model.model_validate(_data(model, every=True))


def example(model: type[Model]) -> Model:
    """An instance that would be accepted: required fields, and those that make it worth reading."""
    return model.model_validate(_data(model, every=False))


def _data(model: type[Model], *, every: bool) -> dict[str, Any]:
    forced = (_BY_MODEL if every else _LEAST).get(model, {})
    data = {}
    for name, info in model.model_fields.items():
        if name in forced:
            data[name] = forced[name]
        elif every or info.is_required() or (name in ("args", "tasks") and not _is_planned(info)):
            known = info.examples[0] if info.examples else None
            data[name] = _value(name, info.annotation, tuple(info.metadata), every=every) if known is None else known
    return data


def _is_planned(info: FieldInfo) -> bool:
    return any(isinstance(item, Planned) for item in info.metadata)


def _value(name: str, annotation: Any, metadata: tuple[Any, ...], *, every: bool) -> Any:
    kind, bounds, _ = unwrap(annotation, metadata)
    origin = get_origin(kind)
    if origin is tuple:
        known = _BY_NAME.get(name)
        return known if isinstance(known, list) else [_value(name, get_args(kind)[0], (), every=every)]
    if origin is dict:
        key, value = get_args(kind)
        return {_value("key", key, (), every=every): _value("value", value, (), every=every)}
    if kind is AwareDatetime:
        return TIME
    if kind is Any:
        return "sample"
    if issubclass(kind, Model):
        return _data(kind, every=every)
    if issubclass(kind, StrEnum):
        return list(kind)[0 if name == "code" else -1].value
    if kind is bool:
        return True
    if kind in (int, float):
        return _number(name, bounds)
    return _text(name, bounds)


def _number(name: str, bounds: tuple[Any, ...]) -> Any:
    wanted: Any = _BY_NAME.get(name, 1)
    for bound in bounds:
        if isinstance(bound, Ge):
            wanted = max(wanted, bound.ge)
        elif isinstance(bound, Gt):
            top: Any = bound.gt
            wanted = wanted if wanted > top else top + 1
        elif isinstance(bound, Le):
            wanted = min(wanted, bound.le)
        elif isinstance(bound, Lt):
            above: Any = bound.lt
            wanted = min(wanted, above - 1)
    return wanted


def _text(name: str, bounds: tuple[Any, ...]) -> str:
    known = _BY_NAME.get(name)
    rules = [item for item in bounds if isinstance(item, StringConstraints)]
    for text in (*([known] if isinstance(known, str) else []), *_TEXTS):
        if all(_fits(text, rule) for rule in rules):
            return text
    raise GenerationError(f"no sample text fits the field {name!r}: give it one, as Field(examples=[...])")


def _fits(text: str, rule: StringConstraints) -> bool:
    return (
        (rule.pattern is None or re.search(rule.pattern, text) is not None)
        and (rule.max_length is None or len(text) <= rule.max_length)
        and (rule.min_length is None or len(text) >= rule.min_length)
    )
