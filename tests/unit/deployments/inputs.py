"""Commands and events for `tests/unit/writer/test_any_order.py`: of two deployments, few of them sensible."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from events.language.common import DEFAULT_PROJECT, utc
from events.language.deployments.alerts import AlertSettings
from events.language.deployments.commands import (
    CreateDeployment,
    PauseRollout,
    PromoteRollout,
    RenewDeployment,
    ResolveRevision,
    ResumeRollout,
    ScaleDeployment,
    SetTraffic,
    TerminateDeployment,
    UndoRollout,
    UpdateDeployment,
)
from events.language.deployments.enums import RolloutStrategy
from events.language.deployments.following import FollowVersion
from events.language.deployments.keys import IssueEndpointKey, RevokeEndpointKey
from events.language.deployments.models import DeploymentSpec, RolloutPolicy
from events.language.deployments.scaling import AutoScalingPolicy
from events.language.deployments.steering import (
    ReportDemand,
    ReportTraffic,
    ReportUsage,
    SetAlerts,
    SetAutoScaling,
)
from events.language.deployments.traffic import LatencySketch, ReplicaUsage, RevisionTraffic, TrafficCounts
from events.language.experiments.registry.events import AliasSet, EnvironmentSet
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    JobTaskReady,
    JobTaskUnready,
    TaskCounts,
    TaskExit,
    TaskStart,
)
from tests.unit.deployments.desk import command_spec, version

AT = utc(1_760_000_000)
IDS = st.sampled_from(["digits", "letters"])
REVISIONS = st.integers(1, 4)
_of = {"deployment_id": IDS}
_jobs = st.builds(lambda id, revision, number: f"dep.{id}.{revision}.{number}", IDS, REVISIONS, st.integers(1, 5))
_attempts = st.integers(1, 2)
_ended = {"job_id": _jobs, "project": st.just(DEFAULT_PROJECT), "counts": st.just(TaskCounts(total=1, cancelled=1))}

SCALING = AutoScalingPolicy(min_replicas=0, max_replicas=3, targets=({"metric": "rps", "value": 10},))
ALERTS = AlertSettings(
    alerts=(
        {"name": "slow", "type": "latency", "threshold": 10, "window_seconds": 5, "scale_by": 1},
        {"name": "failing", "type": "error_rate", "threshold": 1, "window_seconds": 5, "rollback": True},
    )
)


def _spec(program: str, replicas: int, strategy: RolloutStrategy, **parts: Any) -> DeploymentSpec:
    return command_spec(program, replicas=replicas, rollout=RolloutPolicy(strategy=strategy), **parts)


_specs = st.builds(
    _spec,
    st.sampled_from(["one", "two", "three"]),
    st.integers(0, 3),
    st.sampled_from(RolloutStrategy),
    scaling=st.sampled_from([None, SCALING]),
    alerts=st.sampled_from([AlertSettings(), ALERTS]),
)


def _started(job: str, attempt: int) -> JobStarted:
    task = TaskStart(
        task=0, attempt=attempt, allocation_id="a", pid=1, started_at=AT, address="10.0.0.1", ports={"http": 20_000}
    )
    return JobStarted(job_id=job, node_id="n1", tasks=(task,))


def _exited(job: str, attempt: int, reason: ExitReason) -> JobExited:
    return JobExited(job_id=job, node_id="n1", tasks=(TaskExit(task=0, attempt=attempt, reason=reason, ended_at=AT),))


def _traffic(id: str, router: str, revision: int, seconds: float, requests: int, failures: int) -> ReportTraffic:
    counted = RevisionTraffic(
        revision=revision,
        requests=requests,
        failures=min(failures, requests),
        latency=LatencySketch.of_latencies([20.0] * (requests - min(failures, requests))),
    )
    counts = TrafficCounts(incarnation=router, seconds=seconds, revisions=(counted,))
    return ReportTraffic(deployment_id=id, router=router, counts=counts)


_task = {"job_id": _jobs, "node_id": st.just("n1"), "task": st.just(0), "attempt": _attempts, "changed_at": st.just(AT)}

_ALIASES = st.sampled_from(["champion", "stable"])
_VERSIONS = st.sampled_from(["v1", "v3"])
_followed = {"project": st.just(DEFAULT_PROJECT), "model_id": st.sampled_from(["m1", "m2"]), "number": REVISIONS}

followers = st.one_of(
    st.builds(
        lambda id, model, alias: FollowVersion(
            project=DEFAULT_PROJECT, deployment_id=id, model_id=model, alias=alias, environment="" if alias else "live"
        ),
        IDS,
        st.sampled_from(["", "m1"]),
        st.sampled_from(["", "champion"]),
    ),
    st.builds(AliasSet, **_followed, alias=_ALIASES, version_id=_VERSIONS, period=REVISIONS),
    st.builds(
        EnvironmentSet,
        **_followed,
        environment=st.just("live"),
        version_id=_VERSIONS,
        period=REVISIONS,
        actor=st.just("ada"),
    ),
)

deployments = st.one_of(
    st.builds(lambda name, spec: CreateDeployment(deployment_id=name, name=name, spec=spec), IDS, _specs),
    st.builds(UpdateDeployment, **_of, spec=_specs),
    st.builds(RenewDeployment, **_of, alias=_ALIASES, number=REVISIONS, version_id=_VERSIONS),
    st.builds(ScaleDeployment, **_of, replicas=st.integers(0, 4)),
    st.builds(TerminateDeployment, **_of),
    st.builds(
        lambda id, revision, found, problem: ResolveRevision(
            deployment_id=id, revision=revision, model=found, problem="" if found else problem
        ),
        IDS,
        REVISIONS,
        st.sampled_from([None, version()]),
        st.sampled_from(["", "there is no such model"]),
    ),
    st.builds(
        lambda id, revision, weight: SetTraffic(
            deployment_id=id, weights=({"revision": revision, "weight": weight},) if revision else ()
        ),
        IDS,
        st.integers(0, 4),
        st.sampled_from([0, 100, 10_000]),
    ),
    st.builds(PauseRollout, **_of),
    st.builds(ResumeRollout, **_of),
    st.builds(PromoteRollout, **_of, whole=st.booleans()),
    st.builds(UndoRollout, **_of, to_revision=st.integers(0, 4)),
    st.builds(SetAutoScaling, **_of, policy=st.sampled_from([None, SCALING])),
    st.builds(SetAlerts, **_of, settings=st.sampled_from([AlertSettings(), ALERTS])),
    st.builds(
        _traffic,
        IDS,
        st.sampled_from(["router-a", "router-b"]),
        REVISIONS,
        st.sampled_from([1.0, 10.0, 100.0]),
        st.integers(0, 300),
        st.integers(0, 300),
    ),
    st.builds(
        ReportUsage,
        **_of,
        replicas=st.builds(ReplicaUsage, replica_id=_jobs, cpu_percent=st.sampled_from([None, 50.0])).map(
            lambda usage: (usage,)
        ),
    ),
    st.builds(ReportDemand, **_of, router=st.just("router-a"), held=st.integers(1, 3)),
    st.builds(IssueEndpointKey, **_of, name=st.just("shop"), endpoints=st.sampled_from([(), ("http",), ("none",)])),
    st.builds(RevokeEndpointKey, **_of, key_id=st.sampled_from(["k1", "k2"])),
    st.builds(_started, _jobs, _attempts),
    st.builds(JobTaskReady, **_task),
    st.builds(JobTaskUnready, **_task, reason=st.just("status 503")),
    st.builds(_exited, _jobs, _attempts, st.sampled_from(ExitReason)),
    st.builds(JobCompleted, **_ended, exit_code=st.just(0)),
    st.builds(JobFailed, **_ended, exit_code=st.just(1), reason=st.just("no more attempts")),
    st.builds(JobCancelled, **_ended, exit_code=st.just(143)),
    st.sampled_from([0.1, 1.0, 16.0, 100.0, 1_000.0]),
)
