"""The table of why deployments are as they are, and how events change it. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from events.language.deployments.events import (
    DeploymentCreated,
    DeploymentEvent,
    DeploymentScaled,
    ReplicaUnready,
    RevisionRejected,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutStepped,
)
from events.language.deployments.reasons import DeploymentReasons
from events.language.deployments.steering import (
    AlertFired,
    AlertResolved,
    CanaryJudged,
    LoadObserved,
    ScalingDecided,
)
from events.log.envelope import Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.row_models import table_of

REASONS = table_of(DeploymentReasons, "deployment_reasons", key=("deployment_id",))

_EVENTS = (
    DeploymentCreated,
    DeploymentScaled,
    RevisionRejected,
    RolloutStarted,
    RolloutStepped,
    RolloutPaused,
    RolloutResumed,
    RolloutCompleted,
    RolloutRolledBack,
    ScalingDecided,
    LoadObserved,
    CanaryJudged,
    AlertFired,
    AlertResolved,
)
"""Those that change it, and `ReplicaUnready` where that is a crash."""


def _tells(event: DeploymentEvent) -> bool:
    return event.crashed if isinstance(event, ReplicaUnready) else isinstance(event, _EVENTS)


def touched(event: DeploymentEvent) -> Iterable[tuple[Table, Key]]:
    """The row that an event reads or writes."""
    if _tells(event):
        yield REASONS, (event.deployment_id,)


def put(recorded: Recorded, event: DeploymentEvent, rows: Rows) -> None:
    if not _tells(event):
        return
    id, time = event.deployment_id, recorded.meta.time
    if isinstance(event, DeploymentCreated):
        rows.put(REASONS, REASONS.first(deployment_id=id, project=event.project, updated_at=time))
        return
    row = rows.get(REASONS, (id,))
    assert row is not None, "the decider lets nothing come before the creation"
    rows.put(REASONS, {**row, **_change(event, row, time), "updated_at": time})


def _change(event: DeploymentEvent, row: Row, time: datetime) -> Row:
    match event:
        case DeploymentScaled():
            why = event.reason or f"{event.before} → {event.replicas} replicas: it was asked for"
            return {"replicas_reason": why, "replicas_changed_at": time}
        case ReplicaUnready():
            return {"crash_reason": f"replica {event.replica}: {event.reason}", "crashed_at": time}
        case ScalingDecided():
            return {"scaling": event.decision.model_dump(mode="json")}
        case LoadObserved():
            standing = event.standing.model_dump(mode="json")
            return {"standing": standing, "standing_summary": event.summary, "observed_at": time}
        case CanaryJudged():
            judgement = event.judgement.model_dump(mode="json")
            return {"judgement": judgement, "judgement_summary": event.summary, "judged_at": time}
        case AlertFired():
            firing = {"name": event.name, "since": time.isoformat(), "summary": event.summary}
            return {"firing": [*_without(row, event.name), firing]}
        case AlertResolved():
            return {"firing": _without(row, event.name)}
    return {"rollout_reason": _rollout(event), "rollout_changed_at": time}


def _without(row: Row, name: str) -> list[Row]:
    return [alert for alert in row["firing"] if alert["name"] != name]


def _rollout(event: DeploymentEvent) -> str:
    """What happened to a rollout, in words."""
    match event:
        case RolloutStarted():
            return f"the {event.strategy.replace('_', '-')} rollout of revision {event.revision} began"
        case RolloutStepped():
            return _with(f"revision {event.revision} is to get {event.weight / 100:g} % of requests", event.reason)
        case RolloutPaused():
            return _with(f"the rollout of revision {event.revision} was paused", event.reason)
        case RolloutResumed():
            return f"the rollout of revision {event.revision} was resumed"
        case RolloutCompleted():
            return f"revision {event.revision} is in place"
        case RolloutRolledBack():
            return _with(f"revision {event.revision} was rolled back ({event.cause})", event.reason)
        case RevisionRejected():
            return _with(f"revision {event.revision} was rejected", event.reason)
    raise TypeError(f"no rollout has {type(event).__name__}")


def _with(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text
