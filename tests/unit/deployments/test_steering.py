"""Given a deployment and what routers and agents report of it, then it scales, judges its canary, and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from events.language.base import Event
from events.language.common import ErrorCode, Refused
from events.language.deployments.alerts import AlertSettings
from events.language.deployments.canary import CanaryPolicy, CanaryVerdict
from events.language.deployments.commands import (
    PauseRollout,
    ResumeRollout,
    ScaleDeployment,
    TerminateDeployment,
    UpdateDeployment,
)
from events.language.deployments.drift import ColumnCounts, TrainedColumn, TrainingData
from events.language.deployments.enums import DeploymentStatus, RollbackCause, RolloutStrategy
from events.language.deployments.events import (
    DeploymentScaled,
    DeploymentUpdated,
    ReplicaReleased,
    RolloutRolledBack,
    RolloutStepped,
)
from events.language.deployments.models import DeploymentSpec, RolloutPolicy
from events.language.deployments.scaling import AutoScalingPolicy, PredictiveScaling, ScalingReason
from events.language.deployments.steering import (
    AlertFired,
    AlertResolved,
    CanaryJudged,
    LoadObserved,
    ReportDemand,
    ReportTraffic,
    ReportUsage,
    ScalingDecided,
    SetAlerts,
    SetAutoScaling,
)
from events.language.deployments.traffic import (
    LatencySketch,
    ReplicaTraffic,
    ReplicaUsage,
    RevisionTraffic,
    TrafficCounts,
)
from events.writer import dumps
from services.deployments.alerts.evaluating import breached
from services.deployments.canary.judging import judge
from services.deployments.decide import Deployments
from services.deployments.scaling.deciding import decide
from tests.unit.deployments.desk import ID, Desk, command_spec, names, statuses, version

S = DeploymentStatus
RPS = AutoScalingPolicy(min_replicas=1, max_replicas=8, targets=({"metric": "rps", "value": 50},))
ZERO = RPS.model_copy(update={"min_replicas": 0})


class Served(Desk):
    """A deployment whose router reports each second."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, RevisionTraffic] = {}
        self.seconds = 0.0

    def tell(self, report: Any) -> list[Event]:
        """A quiet command, as the writer takes it."""
        assert type(report).quiet
        assert self.decider.decide(self.state, report, self.context()) == ()
        self.decider.note_quiet(self.state, report, self.now)
        return self.take(self.decider.after_batch(self.state, self.context()))

    def pass_to(self, seconds: float) -> list[Event]:
        """Let time pass without any report. Looks that find nothing lead to no event."""
        end, found = self.now + timedelta(seconds=seconds), []
        while (due := self.decider.due(self.state)) is not None and due <= end:
            self.now = max(self.now, due)
            found += self.take(self.decider.wake(self.state, self.context()))
            after = self.decider.due(self.state)
            assert after is None or after > due, "it would be woken again at once"
        self.now = end
        return found

    def serve(self, seconds: int, **fields: Any) -> list[Event]:
        """Each second a report of so many more requests; `of` says it by revision."""
        found: list[Event] = []
        for _ in range(seconds):
            found += self.pass_to(1)
            found += self.report(**fields)
        return found

    def report(
        self,
        of: dict[int, tuple[int, int, float]] | None = None,
        *,
        rps: int = 0,
        failing: int = 0,
        ms: float = 10,
        **fields: Any,
    ) -> list[Event]:
        """`of`: revision → requests, failures, milliseconds."""
        self.seconds += 1
        for revision, (requests, failures, latency) in (of or {self.state.stable: (rps, failing, ms)}).items():
            last = self.counts.get(revision, RevisionTraffic(revision=revision))
            # some faster, some slower
            new = [latency * (0.8 + 0.4 * (number % 11) / 10) for number in range(requests - failures)]
            sketch = LatencySketch.merged([last.latency, LatencySketch.of_latencies(new)])
            self.counts[revision] = RevisionTraffic(
                revision=revision,
                requests=last.requests + requests,
                failures=last.failures + failures,
                latency=sketch,
            )
        said = {"incarnation": "a", "seconds": self.seconds, "revisions": tuple(self.counts.values())} | fields
        return self.tell(ReportTraffic(deployment_id=ID, router="r1", counts=TrafficCounts(**said)))


def served(**fields: Any) -> Served:
    desk = Served()
    desk.create(command_spec(**{"replicas": 1} | fields))
    desk.all_ready(1)
    assert desk.status is S.RUNNING
    desk.report()
    return desk


def of(kind: type[Any], events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# Scaling


def test_the_number_of_replicas_follows_the_load() -> None:
    desk = served(scaling=RPS)
    calm = desk.serve(70, rps=40)
    assert of(ScalingDecided, calm) == []
    rising = desk.serve(60, rps=90)
    assert names(rising)[:3] == ["ScalingDecided", "DeploymentScaled", "ReplicaRequested"]
    decided, scaled = rising[:2]
    assert isinstance(decided, ScalingDecided)
    assert isinstance(scaled, DeploymentScaled)
    assert (decided.decision.inputs.replicas, scaled.before, scaled.replicas) == (1, 1, 2)
    assert scaled.reason == decided.summary
    assert "1 → 2 replicas" in decided.summary
    assert "at 50 a replica" in decided.summary
    desk.all_ready(1)
    falling = of(ScalingDecided, desk.serve(150, rps=10))
    assert [event.decision.replicas for event in falling] == [1]
    assert all(decide(event.decision.inputs) == event.decision for event in of(ScalingDecided, desk.events))


def test_what_starts_is_not_asked_for_twice() -> None:
    desk = served(scaling=RPS)
    desk.serve(60, rps=40)
    burst = of(ScalingDecided, desk.serve(20, rps=400))
    assert burst[-1].decision.replicas == 8
    assert max(event.decision.replicas for event in burst) == desk.state.wanted
    assert of(ScalingDecided, desk.serve(20, rps=400)) == []


def test_use_of_the_replicas_counts() -> None:
    policy = AutoScalingPolicy(max_replicas=8, targets=({"metric": "cpu", "value": 50},))
    desk = served(scaling=policy, replicas=2)
    use = tuple(ReplicaUsage(replica_id=f"dep.{ID}.1.{number}", cpu_percent=90) for number in (1, 2))
    desk.serve(2, rps=1)
    found = desk.tell(ReportUsage(deployment_id=ID, replicas=use)) + desk.serve(1, rps=1)
    assert [event.decision.replicas for event in of(ScalingDecided, found)] == [4]


def test_latency_counts() -> None:
    policy = AutoScalingPolicy(max_replicas=8, targets=({"metric": "latency", "value": 100},))
    desk = served(scaling=policy, replicas=2)
    assert of(ScalingDecided, desk.serve(70, rps=10, ms=90)) == []
    (decided,) = of(ScalingDecided, desk.serve(5, rps=20, ms=300))[:1]
    assert decided.decision.replicas == 4
    assert "ms p95" in decided.summary


def test_an_idle_deployment_has_no_replica_and_the_first_request_brings_one() -> None:
    desk = served(scaling=ZERO)
    gone = desk.serve(310)
    (decided,) = of(ScalingDecided, gone)
    assert (decided.decision.replicas, decided.decision.reason) == (0, ScalingReason.IDLE)
    desk.all_released()
    assert (desk.status, desk.state.wanted) == (S.RUNNING, 0)
    asked = []
    for held in range(1, 201):  # 200 requests, each of which the router tells
        asked += desk.tell(ReportDemand(deployment_id=ID, router="r1", held=held))
    assert names(asked)[:3] == ["ScalingDecided", "DeploymentScaled", "ReplicaRequested"]
    assert len(of(ScalingDecided, asked)) == 1
    assert of(ScalingDecided, desk.serve(20, held=200)) == []
    desk.all_ready(1)
    assert of(ScalingDecided, desk.serve(60, rps=10)) == []
    assert desk.state.wanted == 1


def test_without_any_report_nothing_is_taken_away() -> None:
    desk = served(scaling=ZERO, replicas=3)
    assert of(ScalingDecided, desk.pass_to(2000)) == []
    assert desk.state.wanted == 3


def test_schedules_need_no_report() -> None:
    schedule = {"name": "noon", "cron": "30 12 * * *", "duration_seconds": 600, "min_replicas": 3}
    desk = served(scaling=AutoScalingPolicy(max_replicas=5, schedules=(schedule,)))
    (decided,) = of(ScalingDecided, desk.pass_to(1810))
    assert (decided.decision.replicas, decided.decision.schedule) == (3, "noon")


def test_the_load_is_told_every_five_minutes_with_what_would_be_decided() -> None:
    desk = served(scaling=ZERO)
    told = of(LoadObserved, desk.serve(620, rps=5))
    assert [[load.rps for load in event.minutes] for event in told] == [[pytest.approx(5, rel=0.05)] * 5] * 2
    last = told[-1]
    assert decide(last.standing.inputs) == last.standing
    assert "1 replica" in last.summary
    assert desk.state.memory.model is None


def test_a_predictive_policy_learns_from_what_was_told() -> None:
    policy = RPS.model_copy(update={"predictive": PredictiveScaling()})
    desk = served(scaling=policy)
    desk.serve(620, rps=5)
    model = desk.state.memory.model
    assert model is not None
    assert model.learned == 10


def test_a_policy_can_be_set_and_taken_away() -> None:
    desk = served()
    assert desk.decider.due(desk.state) is None
    (updated,) = of(DeploymentUpdated, desk.send(SetAutoScaling(deployment_id=ID, policy=RPS)))
    assert updated.changed == ("scaling",)
    assert desk.send(SetAutoScaling(deployment_id=ID, policy=RPS)) == []
    with pytest.raises(Refused, match="as many replicas as its scaling policy decides") as refused:
        desk.send(ScaleDeployment(deployment_id=ID, replicas=4))
    assert refused.value.code is ErrorCode.FAILED_PRECONDITION
    desk.send(SetAutoScaling(deployment_id=ID))
    desk.send(ScaleDeployment(deployment_id=ID, replicas=4))
    assert desk.state.wanted == 4


def test_an_update_keeps_the_replicas_that_the_load_asked_for() -> None:
    desk = served(scaling=RPS)
    desk.serve(70, rps=240)
    desk.all_ready(1)
    assert desk.state.wanted == 5
    spec = command_spec(replicas=1, scaling=RPS, description="the same")
    desk.send(UpdateDeployment(deployment_id=ID, spec=spec))
    assert desk.state.wanted == 5


# Canary


CANARY = RolloutPolicy(strategy=RolloutStrategy.CANARY, canary=CanaryPolicy(steps=(20, 50)))


def canary() -> Served:
    desk = served(rollout=CANARY, replicas=2)
    desk.update("serve-better", rollout=CANARY, replicas=2)
    desk.all_ready(2)
    assert desk.state.rollout is not None
    assert desk.state.rollout.weight == 2000
    desk.report({1: (0, 0, 10), 2: (0, 0, 10)})
    return desk


def test_a_good_canary_is_promoted_step_by_step() -> None:
    desk = canary()
    first = desk.serve(61, of={1: (80, 0, 10), 2: (20, 0, 10)})
    judged = of(CanaryJudged, first)
    assert [(event.judgement.evidence.look, event.judgement.verdict) for event in judged] == [
        (1, CanaryVerdict.CONTINUE),
        (2, CanaryVerdict.CONTINUE),
        (3, CanaryVerdict.ADVANCE),
    ]
    assert [event.weight for event in of(RolloutStepped, first)] == [5000]
    desk.all_ready(2)
    second = desk.serve(70, of={1: (50, 0, 10), 2: (50, 0, 10)})
    assert [event.weight for event in of(RolloutStepped, second)] == [10_000]
    desk.all_ready(2)
    desk.serve(10, of={2: (100, 0, 10)})
    assert (desk.state.stable, desk.state.rollout) == (2, None)
    assert all(judge(event.judgement.evidence) == event.judgement for event in of(CanaryJudged, desk.events))


@pytest.mark.parametrize(("bad", "word"), [((20, 5, 10), "failures"), ((20, 0, 25), "median")])
def test_a_bad_canary_is_rolled_back_by_its_judgement(bad: tuple[int, int, float], word: str) -> None:
    desk = canary()
    found = desk.serve(61, of={1: (80, 0, 10), 2: bad})
    judged, rolled_back = of(CanaryJudged, found)[-1], of(RolloutRolledBack, found)
    assert judged.judgement.verdict is CanaryVerdict.ROLL_BACK
    assert [(event.cause, event.to_revision) for event in rolled_back] == [(RollbackCause.CANARY, 1)]
    assert rolled_back[0].reason == judged.summary
    assert f"rolled back for {word}" in judged.summary
    assert desk.state.rollout is None


def test_a_canary_without_requests_waits() -> None:
    desk = canary()
    assert of(CanaryJudged, desk.serve(400, of={1: (80, 0, 10), 2: (0, 0, 10)})) == []
    assert desk.pass_to(10_000) == []


def test_a_paused_canary_is_not_looked_at() -> None:
    desk = canary()
    desk.send(PauseRollout(deployment_id=ID))
    assert of(CanaryJudged, desk.serve(70, of={1: (80, 0, 10), 2: (20, 20, 10)})) == []
    desk.send(ResumeRollout(deployment_id=ID))
    assert of(RolloutRolledBack, desk.serve(70, of={1: (80, 0, 10), 2: (20, 20, 10)})) != []


# Alerts


def alerts(**fields: Any) -> AlertSettings:
    return AlertSettings(
        alerts=({"name": "broken", "type": "error_rate", "threshold": 5, "window_seconds": 10} | fields,)
    )


def test_an_alert_fires_on_its_windows_and_is_over_when_one_does_not_breach() -> None:
    desk = served(alerts=alerts(consecutive=2))
    desk.serve(30, rps=10)
    fired = of(AlertFired, desk.serve(25, rps=10, failing=2))
    assert [event.name for event in fired] == ["broken"]
    found = fired[0].finding
    assert breached(found.alert, found.windows)
    assert "of requests failed, above 5, in 2 windows of 10 s" in fired[0].summary
    resolved = of(AlertResolved, desk.serve(25, rps=10))
    assert [(event.name, event.value) for event in resolved] == [("broken", 0)]


def test_an_alert_without_requests_says_nothing() -> None:
    assert of(AlertFired, served(alerts=alerts(comparison="at_most")).serve(60)) == []


def test_latency_alarms() -> None:
    desk = served(alerts=alerts(type="latency", threshold=50, percentile=50))
    assert of(AlertFired, desk.serve(30, rps=10, ms=20)) == []
    assert len(of(AlertFired, desk.serve(30, rps=10, ms=90))) == 1


def test_use_alarms() -> None:
    desk = served(alerts=alerts(type="resource", resource="memory", threshold=90))
    use = (ReplicaUsage(replica_id=f"dep.{ID}.1.1", memory_percent=97),)
    desk.tell(ReportUsage(deployment_id=ID, replicas=use))
    assert len(of(AlertFired, desk.serve(20))) == 1


def test_drift_alarms_with_its_column_and_not_on_a_small_sample() -> None:
    trained = TrainingData(dataset="pets/1", columns=(TrainedColumn(name="age", edges=(9.0,), counts=(500, 500)),))
    desk = Served()
    desk.create(
        DeploymentSpec(
            model={"name": "digits"}, replicas=1, alerts=alerts(type="drift", threshold=0.2, window_seconds=60)
        )
    )
    desk.resolve(1, version(3).model_copy(update={"training": trained}))
    desk.all_ready(1)

    def asked(*counts: int) -> list[AlertFired]:
        use = ReplicaUsage(replica_id=f"dep.{ID}.1.1", inputs=(ColumnCounts(column=0, counts=counts),))
        desk.tell(ReportUsage(deployment_id=ID, replicas=(use,)))
        return of(AlertFired, desk.serve(61, rps=1))

    assert asked(0, 199) == [], "too few to say anything"
    assert asked(120, 120) == []
    half = ReplicaUsage(replica_id=f"dep.{ID}.1.1", inputs=(ColumnCounts(column=0, counts=(0, 150)),))
    desk.tell(ReportUsage(deployment_id=ID, replicas=(half,)))
    (fired,) = asked(10, 150)  # both reports of the window together
    assert fired.finding.column == "age"
    assert breached(fired.finding.alert, fired.finding.windows)
    assert "a stability index of 1.59 of age, above 0.2, in 1 window of 60 s" in fired.summary


def test_an_alert_adds_replicas_and_no_more_than_the_policy_has() -> None:
    desk = served(alerts=alerts(scale_by=20), scaling=RPS)
    found = desk.serve(15, rps=10, failing=10)
    assert [(event.before, event.replicas) for event in of(DeploymentScaled, found)] == [(1, 8)]
    assert of(DeploymentScaled, found)[0].reason == of(AlertFired, found)[0].summary


def test_an_alert_rolls_a_rollout_back() -> None:
    desk = canary()
    desk.send(SetAlerts(deployment_id=ID, settings=alerts(rollback=True)))
    found = desk.serve(15, of={1: (80, 30, 10), 2: (2, 0, 10)})
    assert [event.cause for event in of(RolloutRolledBack, found)] == [RollbackCause.ALERT]


def test_an_alert_about_availability_degrades() -> None:
    rule = alerts(type="availability", comparison="below", threshold=100, name="few")
    desk = served(alerts=rule, replicas=2)
    desk.hear(desk.silent(1))
    found = desk.pass_to(30)
    assert [event.name for event in of(AlertFired, found)] == ["few"]
    assert statuses(found) == ["degraded"]
    desk.hear(desk.answers(1))
    assert desk.status is S.DEGRADED
    assert statuses(desk.pass_to(30)) == ["running"]


def test_an_alert_that_is_no_longer_set_is_over() -> None:
    desk = served(alerts=alerts())
    desk.serve(15, rps=10, failing=10)
    desk.send(SetAlerts(deployment_id=ID, settings=AlertSettings()))
    assert [(event.name, event.value) for event in of(AlertResolved, desk.pass_to(10))] == [("broken", None)]
    assert desk.decider.due(desk.state) is None


# What is volatile


def test_a_new_writer_knows_what_the_log_tells_and_gathers_the_rest_anew() -> None:
    desk = served(scaling=ZERO, replicas=2, alerts=alerts())
    desk.serve(40, rps=200, failing=20)
    assert desk.state.memory.firing
    dumped = dumps.dumped(Deployments, desk.state)
    assert "load" not in dumped
    state = desk.decider.load(ID, dumped)
    assert state.memory == desk.state.memory
    desk.state = state
    desk.decider.on_resume(desk.state, desk.now)
    wanted = desk.state.wanted
    assert of(ScalingDecided, desk.serve(30, rps=10)) == []
    assert desk.state.wanted == wanted
    assert len(of(AlertResolved, desk.events)) == 1


def test_reports_of_a_deployment_that_is_over_change_nothing() -> None:
    desk = served(scaling=RPS, alerts=alerts())
    desk.send(TerminateDeployment(deployment_id=ID))
    desk.serve(10, rps=500, failing=500)
    desk.all_released()
    assert desk.status is S.TERMINATED
    assert desk.serve(5, rps=500) == []
    assert desk.decider.due(desk.state) is None


def test_reports_of_a_deployment_that_there_is_not_are_left_out() -> None:
    desk = Served()
    assert desk.tell(ReportDemand(deployment_id=ID, router="r1", held=3)) == []
    assert desk.state.load.demand == {}


def test_a_replica_that_drains_goes_once_no_router_has_requests_there() -> None:
    desk = served(replicas=2, drain_seconds=300)
    desk.serve(10, rps=5, routing=1)
    desk.send(ScaleDeployment(deployment_id=ID, replicas=1))
    assert desk.state.table is not None
    number, gone = desk.state.table.number, f"dep.{ID}.1.2"
    busy = (ReplicaTraffic(replica_id=gone, in_flight=1),)
    assert of(ReplicaReleased, desk.serve(3, rps=5, routing=number - 1)) == []
    assert of(ReplicaReleased, desk.serve(3, rps=5, routing=number, leaving=busy)) == []
    assert [event.job_id for event in of(ReplicaReleased, desk.serve(1, rps=5, routing=number))] == [gone]
