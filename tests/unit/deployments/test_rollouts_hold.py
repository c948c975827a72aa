"""Whatever happens in whatever order, a deployment's bounds hold and it comes to rest."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from events.language.base import Command, Event
from events.language.common import Refused
from events.language.deployments.canary import CanaryPolicy
from events.language.deployments.commands import (
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    ScaleDeployment,
    TerminateDeployment,
    UndoRollout,
)
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus, RolloutStrategy
from events.language.deployments.events import ReplicaDraining, ReplicaRequested, RoutingChanged
from events.language.deployments.models import DeploymentSpec, RolloutPolicy
from events.language.jobs import ExitReason
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Row, Table
from services.deployments import replicas
from services.deployments.projections import PROJECTION
from services.deployments.state import Deployment
from tests.rows import HeldRows
from tests.unit.deployments.desk import ID, PROJECT, Desk, command_spec

policies = st.builds(
    RolloutPolicy,
    strategy=st.sampled_from(RolloutStrategy),
    max_surge=st.integers(0, 2),
    max_unavailable=st.integers(1, 2),
    undo_seconds=st.sampled_from([0.0, 60.0]),
    progress_deadline_seconds=st.just(120.0),
    crash_limit=st.integers(1, 3),
    canary=st.sampled_from([CanaryPolicy(), CanaryPolicy(steps=(50,)), CanaryPolicy(steps=(1, 99))]),
)
counts = st.integers(0, 4)


class Projected:
    """The rows of a deployment's events. A fold uses the rows that it said, and no others."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.rows = HeldRows(PROJECTION)
        self.touched: set[tuple[str, Key]] = set()
        self.events = 0

    def take(self, event: Event, time: datetime) -> None:
        self.events += 1
        meta = Meta(f"e{self.events}", event.type_name(), ID, time, self.project, "owner")
        recorded = Recorded(event, meta, ID, Position("events.deployments", 0, self.events))
        self.touched = {(table.name, key) for table, key in PROJECTION.touches(recorded)}
        PROJECTION.project(recorded, self)

    def get(self, table: Table, key: Key) -> Row | None:
        assert (table.name, key) in self.touched
        return self.rows.get(table, key)

    def put(self, table: Table, row: Row) -> None:
        assert (table.name, table.key_of(row)) in self.touched
        assert row.keys() == table.columns.keys()
        self.rows.put(table, row)

    def delete(self, table: Table, key: Key) -> None:
        assert (table.name, key) in self.touched
        self.rows.delete(table, key)


class Watched(Desk):
    """Holds each event to the bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.were: dict[int, ReplicaStatus] = {}
        self.tables = 0
        self.rows = Projected(PROJECT)

    def check(self, event: Event) -> None:
        self.rows.take(event, self.now)
        state = self.state
        assert state.spec is not None or not state.revisions
        policy = state.spec.rollout if state.spec is not None else RolloutPolicy()
        if isinstance(event, ReplicaRequested):
            there = sum(each.status is not ReplicaStatus.RELEASED for each in state.replicas.values())
            blue_green = state.rollout is not None and state.rollout.strategy is RolloutStrategy.BLUE_GREEN
            assert there <= state.wanted + (state.wanted if blue_green else policy.max_surge)
        elif isinstance(event, ReplicaDraining):
            if self.were.get(event.replica) is ReplicaStatus.READY and replicas.planned(state):
                assert state.ready() >= state.wanted - policy.max_unavailable
        elif isinstance(event, RoutingChanged):
            self._check_table(event)
        self.were = {number: each.status for number, each in state.replicas.items()}

    def _check_table(self, event: RoutingChanged) -> None:
        table, self.tables = event.table, self.tables + 1
        assert table.number == self.tables
        for revision in table.revisions:
            assert revision.replicas or len(table.revisions) == 1, "only what is ready is routed to, or waited for"
        assert sum(revision.weight for revision in table.revisions) in (0, 10_000)


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.desk = Watched()
        self.programs = 0

    @initialize(policy=policies, count=counts)
    def create(self, policy: RolloutPolicy, count: int) -> None:
        self.desk.create(command_spec("p0", rollout=policy, replicas=count))

    def send(self, command: Command) -> None:
        with suppress(Refused):
            self.desk.send(command)

    def there(self) -> bool:
        return not self.desk.state.terminating

    @precondition(there)
    @rule(policy=policies, count=counts, drain=st.sampled_from([0.0, 5.0]))
    def update(self, policy: RolloutPolicy, count: int, drain: float) -> None:
        self.programs += 1
        self.desk.update(f"p{self.programs}", rollout=policy, replicas=count, drain_seconds=drain)

    @precondition(there)
    @rule(count=counts)
    def scale(self, count: int) -> None:
        self.send(ScaleDeployment(deployment_id=ID, replicas=count))

    @rule(
        command=st.sampled_from(
            [
                PauseRollout(deployment_id=ID),
                ResumeRollout(deployment_id=ID),
                PromoteRollout(deployment_id=ID),
                PromoteRollout(deployment_id=ID, whole=True),
                UndoRollout(deployment_id=ID),
                UndoRollout(deployment_id=ID, to_revision=1),
            ]
        )
    )
    def steer(self, command: Command) -> None:
        self.send(command)

    def some(self, data: st.DataObject, *statuses: ReplicaStatus) -> int | None:
        found = sorted(n for n, each in self.desk.state.replicas.items() if each.status in statuses)
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        if (number := self.some(data, ReplicaStatus.REQUESTED)) is not None:
            self.desk.ready(number)

    @rule(data=st.data())
    def start_only(self, data: st.DataObject) -> None:
        if (number := self.some(data, ReplicaStatus.REQUESTED)) is not None:
            self.desk.hear(self.desk.started(number))

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if (number := self.some(data, ReplicaStatus.STARTED, ReplicaStatus.UNREADY)) is not None:
            self.desk.hear(self.desk.answers(number))

    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        if (number := self.some(data, ReplicaStatus.READY)) is not None:
            self.desk.hear(self.desk.silent(number))

    @rule(data=st.data(), reason=st.sampled_from([ExitReason.EXITED, ExitReason.LOST]))
    def exit(self, data: st.DataObject, reason: ExitReason) -> None:
        if (number := self.some(data, ReplicaStatus.READY, ReplicaStatus.REQUESTED)) is not None:
            self.desk.hear(self.desk.exited(number, reason))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if (number := self.some(data, *ReplicaStatus)) is not None:
            self.desk.cancelled(number)

    @rule()
    def all_start(self) -> None:
        for number, each in list(self.desk.state.replicas.items()):
            if number in self.desk.state.replicas and each.status is ReplicaStatus.REQUESTED:
                self.desk.hear(self.desk.started(number))
            if number in self.desk.state.replicas and each.status in (ReplicaStatus.STARTED, ReplicaStatus.UNREADY):
                self.desk.hear(self.desk.answers(number))

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.desk.wait(seconds)

    @precondition(there)
    @rule()
    def terminate(self) -> None:
        self.desk.send(TerminateDeployment(deployment_id=ID))

    def teardown(self) -> None:
        """Where every process starts and gets ready, the deployment has what is wanted in the end."""
        desk, state = self.desk, lambda: self.desk.state
        if state().status is None:
            return
        if not state().terminating and state().rollout is not None:
            self.send(ResumeRollout(deployment_id=ID))
        for _ in range(60):
            if state().rollout is not None and state().rollout.strategy is RolloutStrategy.CANARY:
                self.send(PromoteRollout(deployment_id=ID, whole=True))
            self.all_start()
            desk.all_released()
            desk.wait(20)
        self.check_rows()
        assert self.restored() == state()
        if state().terminating:
            assert desk.status is DeploymentStatus.TERMINATED
            assert not state().replicas
        elif state().stable:
            assert desk.status is DeploymentStatus.RUNNING
            assert list(map(len, desk.live().values())) == [state().wanted][: state().wanted]
        else:
            assert desk.status is DeploymentStatus.FAILED
            assert not state().replicas

    def check_rows(self) -> None:
        """The tables say what the state knows."""
        state, tables = self.desk.state, self.desk.rows.rows.tables
        (deployment,) = tables["deployments"].values()
        assert state.spec is not None
        assert DeploymentSpec.model_validate(deployment["spec"]) == state.spec
        assert (deployment["status"], deployment["ready"]) == (state.status, state.ready())
        assert (deployment["revision"], deployment["wanted"]) == (state.stable, state.wanted)
        assert deployment["rollout_revision"] == (state.rollout.revision if state.rollout is not None else 0)
        there = {row["replica"]: row["status"] for row in tables["replicas"].values() if row["status"] != "ended"}
        assert there == {number: each.status.value for number, each in state.replicas.items()}
        active = [row["revision"] for row in tables["deployment_revisions"].values() if row["status"] == "active"]
        assert active == ([state.stable] if state.stable and not state.terminating else [])

    def restored(self) -> Deployment:
        """The state as a snapshot brings it back."""
        decider = self.desk.decider
        return decider.load(ID, orjson.loads(orjson.dumps(decider.dump(self.desk.state))))


class Test(Rollouts.TestCase):  # type: ignore[misc]
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
