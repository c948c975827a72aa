"""What a deployment knows of its load: what is volatile, and what its events tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.base import Event
from events.language.deployments.alerts import AlertType, DeploymentAlert
from events.language.deployments.events import (
    DeploymentScaled,
    ReplicaEnded,
    ReplicaReady,
    ReplicaRequested,
    RolloutStarted,
    RolloutStepped,
)
from events.language.deployments.scaling import LoadForecast
from events.language.deployments.steering import (
    AlertFired,
    AlertResolved,
    CanaryJudged,
    LoadObserved,
    MinuteLoad,
    ReportDemand,
    ReportTraffic,
    ReportUsage,
)
from events.language.deployments.traffic import ReplicaUsage
from services.deployments.alerts import drift
from services.deployments.canary.blocks import Blocks
from services.deployments.scaling.forecasting import DayModel
from services.deployments.watching import ROUTER_LOST_SECONDS, Totals, Watch

STARTS = 20
"""Replicas whose time to get ready is remembered."""

Report = ReportTraffic | ReportUsage | ReportDemand


@dataclass(slots=True)
class CanaryWatch:
    """The traffic of one step of a canary's rollout."""

    revision: int
    step: int
    began: float
    canary: Totals
    baseline: Totals
    medians: Blocks
    p95s: Blocks


@dataclass(slots=True)
class AlertWatch:
    """The window of an alert that is open."""

    alert: DeploymentAlert
    began: float
    totals: Totals
    """As they were when it began."""
    sum: float = 0.0
    """Of samples, for alerts whose value is a mean of them."""
    samples: int = 0
    breaches: tuple[float, ...] = ()
    inputs: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """Of drift: replica → column → counts in this window."""

    def note_inputs(self, usage: ReplicaUsage) -> None:
        if usage.inputs and self.alert.type is AlertType.DRIFT:
            counted = self.inputs.setdefault(usage.replica_id, {})
            drift.add(counted, ((each.column, each.counts) for each in usage.inputs))


@dataclass(slots=True)
class Load:
    """What is volatile: reports, and what is gathered from them. Times are POSIX seconds."""

    watch: Watch = field(default_factory=Watch)
    demand: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Router → when it asked for a replica, and how many requests it held."""
    looked_at: float | None = None
    panic_at: float | None = None
    minute: tuple[float, int] | None = None
    """Since when the present minute is watched, and the arrivals until then."""
    minutes: list[MinuteLoad] = field(default_factory=list)
    """Whole minutes that no event has told yet."""
    told_at: float | None = None
    """When an event last told the load."""
    forecast: tuple[int, LoadForecast | None] | None = None
    """The minute in which it was made."""
    canary: CanaryWatch | None = None
    alerts: dict[str, AlertWatch] = field(default_factory=dict)

    def note(self, report: Report, now: float) -> None:
        match report:
            case ReportTraffic():
                self.watch.note(report.router, report.counts, now)
                self.demand.pop(report.router, None)  # its counts say how many it holds
            case ReportUsage():
                for usage in report.replicas:
                    self.watch.note_usage(usage, now)
                    for alert in self.alerts.values():
                        alert.note_inputs(usage)
            case ReportDemand():
                self.demand[report.router] = (now, report.held)
                self.looked_at = None  # it is looked at at once

    def held(self, now: float) -> int:
        """Requests that wait for a replica."""
        asked = sum(held for at, held in self.demand.values() if now - at <= ROUTER_LOST_SECONDS)
        return self.watch.held + asked


@dataclass(slots=True)
class Memory:
    """What its events tell."""

    up_at: datetime | None = None
    """When the number of replicas was raised last."""
    down_at: datetime | None = None
    requested: dict[int, datetime] = field(default_factory=dict)
    """Replicas that were not ready yet."""
    starts: list[float] = field(default_factory=list)
    """Seconds from request to readiness, of the last replicas."""
    model: DayModel | None = None
    looks: int = 0
    """Looks at the present step of a canary."""
    firing: list[str] = field(default_factory=list)
    """Alerts that fire."""

    def remember(self, event: Event, time: datetime) -> None:
        match event:
            case DeploymentScaled():
                if event.replicas > event.before:
                    self.up_at = time
                else:
                    self.down_at = time
            case ReplicaRequested():
                self.requested[event.replica] = time
            case ReplicaReady():
                if (asked := self.requested.pop(event.replica, None)) is not None:
                    self.starts = [*self.starts, round((time - asked).total_seconds(), 3)][-STARTS:]
            case ReplicaEnded():
                self.requested.pop(event.replica, None)
            case LoadObserved():
                if event.standing.inputs.policy.predictive is None:
                    self.model = None
                else:
                    self.model = self.model or DayModel()
                    for load in event.minutes:
                        self.model.fold(int(load.minute.timestamp() // 60), load.rps)
            case RolloutStarted() | RolloutStepped():
                self.looks = 0
            case CanaryJudged():
                self.looks = event.judgement.evidence.look
            case AlertFired():
                self.firing = [*(name for name in self.firing if name != event.name), event.name]
            case AlertResolved():
                self.firing = [name for name in self.firing if name != event.name]

    def start_seconds(self) -> float:
        """How long 95 of 100 replicas take at most to get ready; a minute before one was seen."""
        starts = sorted(self.starts)
        return starts[int(0.95 * (len(starts) - 1))] if starts else 60.0
