"""The tables of deployments, their revisions, replicas and routing, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from events.language.deployments.answers import Deployment, DeploymentRevision, Replica, Routing
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus, RevisionStatus
from events.language.deployments.events import (
    DeploymentCreated,
    DeploymentEvent,
    DeploymentScaled,
    DeploymentStatusChanged,
    DeploymentUpdated,
    ReplicaDraining,
    ReplicaEnded,
    ReplicaEvent,
    ReplicaReady,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaStarted,
    ReplicaUnready,
    RevisionCreated,
    RevisionRejected,
    RevisionResolved,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutStepped,
    RoutingChanged,
    TerminationRequested,
    TrafficRulesSet,
)
from events.language.deployments.models import REPLICA_FIELDS
from events.log.envelope import Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import REFERENCES, holder, put_references, reference_keys
from events.projections.row_models import table_of
from services.deployments import key_rows

DEPLOYMENTS = table_of(
    Deployment,
    "deployments",
    key=("deployment_id",),
    indexes=("created_at desc, deployment_id desc", "project, name"),
    born="created_at",
)

REVISIONS = table_of(DeploymentRevision, "deployment_revisions", key=("deployment_id", "revision"))

REPLICAS = table_of(Replica, "replicas", key=("deployment_id", "replica"))

ROUTING = table_of(Routing, "routing", key=("deployment_id",), indexes=("project",))

TABLES = (DEPLOYMENTS, REVISIONS, REPLICAS, ROUTING, key_rows.ENDPOINT_KEYS, REFERENCES)

_NO_ROLLOUT: Row = {
    "rollout_revision": 0,
    "rollout_strategy": None,
    "rollout_step": 0,
    "rollout_weight": 0,
    "rollout_paused": False,
}


def touched(event: DeploymentEvent) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    id = event.deployment_id
    yield DEPLOYMENTS, (id,)
    for number in _revisions(event):
        yield REVISIONS, (id, number)
    if isinstance(event, ReplicaEvent):
        yield REPLICAS, (id, event.replica)
    yield from key_rows.touched(event)
    if isinstance(event, RoutingChanged):
        yield ROUTING, (id,)
    if isinstance(event, RevisionResolved) and event.model is not None:
        yield from reference_keys(holder(event), [event.model.bundle])


def _revisions(event: DeploymentEvent) -> set[int]:
    """The revisions that an event is about; 0 is none."""
    names = ("revision", "from_revision", "replicas_of")
    found = {getattr(event, name, 0) for name in names}
    return found - {0}


def put(recorded: Recorded, event: DeploymentEvent, rows: Rows) -> None:
    time, id = recorded.meta.time, event.deployment_id
    if isinstance(event, DeploymentCreated):
        rows.put(DEPLOYMENTS, _created(recorded, event))
        return
    row = {**_found(rows, DEPLOYMENTS, (id,)), "updated_at": time}
    if isinstance(event, ReplicaEvent):
        row["ready"] += _replica(row["project"], event, rows, time)
    elif isinstance(event, RevisionCreated):
        rows.put(REVISIONS, _revision(recorded, event, row["project"]))
    elif isinstance(event, RoutingChanged):
        routing = event.table.model_dump(mode="json")
        rows.put(ROUTING, ROUTING.first(deployment_id=id, project=row["project"], routing=routing, changed_at=time))
    if isinstance(event, RevisionResolved) and event.model is not None:
        put_references(rows, holder(event), [event.model.bundle], bundle=True)
    _change_revisions(event, rows, time)
    key_rows.put(recorded, event, rows, row["project"])
    rows.put(DEPLOYMENTS, {**row, **_change(event, row, rows, time)})


def _created(recorded: Recorded, event: DeploymentCreated) -> Row:
    meta = recorded.meta
    return DEPLOYMENTS.first(
        deployment_id=event.deployment_id,
        project=event.project,
        name=event.name,
        owner=meta.actor,
        status=DeploymentStatus.PENDING.value,
        spec={},
        created_at=meta.time,
        updated_at=meta.time,
    )


def _revision(recorded: Recorded, event: RevisionCreated, project: str) -> Row:
    said = event.model_dump(mode="json", include={"revision", "spec", "changed", "note", "source_revision"})
    return REVISIONS.first(
        deployment_id=event.deployment_id,
        project=project,
        deployer=recorded.meta.actor,
        status=RevisionStatus.CREATED.value,
        created_at=recorded.meta.time,
        updated_at=recorded.meta.time,
        **said,
    )


def _change(event: DeploymentEvent, row: Row, rows: Rows, time: datetime) -> Row:
    """What an event changes in its deployment's row."""
    match event:
        case RevisionCreated():
            spec = event.spec.model_dump(mode="json")
            return {"spec": spec, "wanted": event.spec.replicas, "newest_revision": event.revision}
        case DeploymentUpdated():
            return {"spec": event.spec.model_dump(mode="json"), "wanted": event.spec.replicas}
        case DeploymentScaled():
            return {"spec": {**row["spec"], "replicas": event.replicas}, "wanted": event.replicas}
        case DeploymentStatusChanged():
            ended = {"terminated_at": time} if event.status is DeploymentStatus.TERMINATED else {}
            return {"status": event.status.value, "reason": event.reason, **ended}
        case TerminationRequested():
            return {"wanted": 0, "reason": event.reason}
        case RevisionRejected():
            return _with_replicas_of(event, row, rows)
        case RolloutStarted():
            started = {"rollout_revision": event.revision, "rollout_strategy": event.strategy.value}
            return {**_NO_ROLLOUT, **started, "rollout_reason": ""}
        case RolloutStepped():
            return {"rollout_step": event.step, "rollout_weight": event.weight}
        case RolloutPaused():
            return {"rollout_paused": True, "rollout_reason": event.reason}
        case RolloutResumed():
            return {"rollout_paused": False, "rollout_reason": ""}
        case RolloutCompleted():
            revision = _found(rows, REVISIONS, (event.deployment_id, event.revision))
            return {**_NO_ROLLOUT, "revision": event.revision, "model": revision["model"]}
        case RolloutRolledBack():
            return {**_NO_ROLLOUT, "rollout_reason": event.reason, **_with_replicas_of(event, row, rows)}
        case TrafficRulesSet():
            return {"rules": event.rules.model_dump(mode="json")}
        case RoutingChanged():
            return {"routing_number": event.table.number}
    return {}


def _with_replicas_of(event: RevisionRejected | RolloutRolledBack, row: Row, rows: Rows) -> Row:
    if not event.replicas_of:
        return {}
    spec = _found(rows, REVISIONS, (event.deployment_id, event.replicas_of))["spec"]
    return {"spec": {**row["spec"], **{name: spec[name] for name in (*REPLICA_FIELDS, "endpoints")}}}


def _change_revisions(event: DeploymentEvent, rows: Rows, time: datetime) -> None:
    """What an event changes in rows of revisions."""
    changes: dict[int, Row] = {}
    match event:
        case RevisionResolved():
            model = None if event.model is None else event.model.model_dump(mode="json")
            changes[event.revision] = {"status": RevisionStatus.RESOLVED.value, "model": model}
        case RevisionRejected():
            changes[event.revision] = {"status": RevisionStatus.REJECTED.value, "reason": event.reason}
        case RolloutStarted():
            changes[event.revision] = {"status": RevisionStatus.ROLLING_OUT.value, "started_at": time}
        case RolloutCompleted():
            changes[event.from_revision] = {"status": RevisionStatus.RETIRED.value}
            changes[event.revision] = {"status": RevisionStatus.ACTIVE.value, "ended_at": time}
        case RolloutRolledBack():
            back = {"status": RevisionStatus.ROLLED_BACK.value, "reason": event.reason, "ended_at": time}
            changes[event.revision] = back
        case TerminationRequested():
            changes[event.revision] = {"status": RevisionStatus.RETIRED.value}
        case ReplicaUnready(crashed=True) if event.revision:
            row = _found(rows, REVISIONS, (event.deployment_id, event.revision))
            changes[event.revision] = {"crashes": row["crashes"] + 1}
    changes.pop(0, None)
    for number, change in changes.items():
        row = _found(rows, REVISIONS, (event.deployment_id, number))
        rows.put(REVISIONS, {**row, **change, "updated_at": time})


def _replica(project: str, event: ReplicaEvent, rows: Rows, time: datetime) -> int:
    """Write a replica's row; by how much the number of ready ones changes."""
    key = (event.deployment_id, event.replica)
    if isinstance(event, ReplicaRequested):
        row = REPLICAS.first(
            deployment_id=event.deployment_id,
            replica=event.replica,
            project=project,
            revision=event.revision,
            job_id=event.job_id,
            status=ReplicaStatus.REQUESTED.value,
            requested_at=time,
            updated_at=time,
        )
        rows.put(REPLICAS, row)
        return 0
    before = _found(rows, REPLICAS, key)
    after = {**before, **_replica_change(event, before, time), "updated_at": time}
    rows.put(REPLICAS, after)
    ready = ReplicaStatus.READY.value
    return int(after["status"] == ready) - int(before["status"] == ready)


def _replica_change(event: ReplicaEvent, row: Row, time: datetime) -> Row:
    """What an event changes in its replica's row."""
    match event:
        case ReplicaStarted():
            where = {"node_id": event.node_id, "address": event.address, "ports": dict(event.ports)}
            first = row["first_started_at"] or time
            said = {
                "attempt": event.attempt,
                "started_at": time,
                "first_started_at": first,
                **where,
            }
            return {"status": ReplicaStatus.STARTED.value, **said}
        case ReplicaReady():
            return {"status": ReplicaStatus.READY.value, "ready_at": time, "reason": ""}
        case ReplicaUnready():
            status = ReplicaStatus.REQUESTED if event.exited else ReplicaStatus.UNREADY
            crashes = row["crashes"] + event.crashed
            return {"status": status.value, "ready_at": None, "reason": event.reason, "crashes": crashes}
        case ReplicaDraining():
            return {"status": ReplicaStatus.DRAINING.value, "ready_at": None, "reason": event.reason}
        case ReplicaReleased():
            return {"status": ReplicaStatus.RELEASED.value}
        case ReplicaEnded():
            reason = {"reason": event.reason} if event.reason and not row["reason"] else {}
            return {"status": ReplicaStatus.ENDED.value, "ready_at": None, "ended_at": time, **reason}
    raise TypeError(f"replicas have no {type(event).__name__}")


def _found(rows: Rows, table: Table, key: Key) -> Any:
    row = rows.get(table, key)
    assert row is not None, "the decider lets nothing come before the creation"
    return row
