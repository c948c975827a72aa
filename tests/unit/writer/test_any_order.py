"""Any sequence of commands, foreign events and time, consistent or not: a decider refuses, and raises nothing else.

The machines of each context (`tests/unit/*/test_machine.py`) hold what is decided. Here inputs come as no platform
sends them: duplicates, stale ones, answers nobody asked for, another context's events out of order. What is decided
must fold, at once and again from the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT, Refused, utc
from events.language.contexts import contexts
from events.language.jobs import (
    DependencyOutcome,
    DependencyRequested,
    DependencyResolved,
    ExitReason,
    ReportJobOutputs,
    TaskOutputs,
)
from events.language.jobs.spec import DependencyKind, JobArray, TaintEffect
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    CordonNode,
    DrainNode,
    LabelNode,
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeLabelled,
    NodeLost,
    NodeRecovered,
    NodeRemoved,
    NodeTainted,
    NodeUncordoned,
    ReleaseReason,
    RemoveNode,
    Taint,
    TaintNode,
    UncordonNode,
)
from events.language.scheduling import ConfigureQueue, CreateQueue, DeleteQueue, QueueStatus, SchedulingPolicy
from events.writer.decider import BY_ORIGIN, Decider, DecisionContext
from services.deployments.decide import Deployments
from services.deployments.following import Followers
from services.experiments.catalogue.decide import Catalogues
from services.experiments.datasets.decide import DatasetCatalogues
from services.experiments.joblink.decide import JobLinks
from services.experiments.registry.decide import Registries
from services.experiments.run.decide import Runs
from services.experiments.tuning.decide import Tunings
from services.jobs.decide import Jobs
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.template.decide import Templates
from services.resources.decide import Resources
from services.scheduling.decide import Scheduling
from tests.unit.deployments import inputs as deployments
from tests.unit.experiments import inputs as experiments
from tests.unit.experiments import registry_inputs
from tests.unit.jobs import desk
from tests.unit.pipelines import inputs as pipelines
from tests.unit.resources import pools
from tests.unit.scheduling import queues

MOST_SETTLINGS = 1_000

Input = Command | Event | float
"""A float: so many seconds pass."""


class Play:
    """A decider fed as its writer feeds it, all keys in one place."""

    def __init__(self, decider: Decider[Any]) -> None:
        self.decider = decider
        self.states: dict[str, Any] = {}
        self.history: list[tuple[str, Event, datetime]] = []
        self.now = utc(1_760_000_000)
        self.inputs = 0

    def give(self, given: Input) -> None:
        if isinstance(given, float):
            self.now += timedelta(seconds=given)
            self._wake()
        elif isinstance(given, Command):
            self._command(given)
        else:
            self._event(given)
        self._settle()

    def _state(self, key: str) -> Any:
        if key not in self.states:
            self.states[key] = self.decider.initial(key)
        return self.states[key]

    def _context(self, key: str) -> DecisionContext:
        self.inputs += 1
        return DecisionContext(self.now, f"input-{self.inputs}", "owner", DEFAULT_PROJECT, key)

    def _command(self, command: Command) -> None:
        state = self._state(command.key())
        try:
            decided = self.decider.decide(state, command, self._context(command.subject()))
        except Refused:
            return
        if command.quiet:
            self.decider.note_quiet(state, command, self.now)
        self._fold(decided)

    def _event(self, event: Event) -> None:
        route = self.decider.routes[type(event)]
        for key in list(self.states) if route is BY_ORIGIN else route(event):  # an origin can be forged
            self.states[key] = state = self.decider.observe(self._state(key), event, self.now)
            if self.decider.reacts(type(event)):
                self._fold(self.decider.react(state, event, self._context(key)))

    def _fold(self, decided: Sequence[Event]) -> None:
        for event in decided:
            key = event.key()
            self.states[key] = self.decider.evolve(self._state(key), event, self.now)
            self.history.append((key, event, self.now))

    def _wake(self) -> None:
        for key in list(self.states):
            if (due := self.decider.due(self.states[key])) is not None and due <= self.now:
                self._fold(self.decider.wake(self.states[key], self._context(key)))

    def _settle(self) -> None:
        for key in list(self.states):
            for _ in range(MOST_SETTLINGS):
                decided = self.decider.after_batch(self.states[key], self._context(key))
                if not decided:
                    break
                self._fold(decided)
            else:
                raise AssertionError(f"{key} does not settle")

    def replay(self) -> None:
        """The history alone folds, and a state is what its dump gives."""
        states: dict[str, Any] = {}
        for key, event, time in self.history:
            states[key] = self.decider.evolve(states.get(key) or self.decider.initial(key), event, time)
        for key, state in states.items():
            self.decider.load(key, self.decider.dump(state))


TASKS = st.sampled_from(["0", "1-2", "0-3", "3,5", "0-9"])
NUMBERS = st.sets(st.integers(0, 5), min_size=1, max_size=3).map(sorted)
ATTEMPTS = st.integers(1, 3)
JOBS = st.sampled_from(["a", "b", "c"])
NODES = st.sampled_from(["n1", "n2"])
SECONDS = st.sampled_from([0.1, 1.0, 16.0, 100.0])
ALLOCATIONS = st.builds(lambda job, attempt, number: f"{job}.{attempt}.{number}", JOBS, ATTEMPTS, st.integers(0, 4))


def _submit(id: str, size: int, after: dict[str, str], mode: str) -> Command:
    parts: dict[str, Any] = {"array": JobArray(size=size)} if size > 1 else {}
    waits = tuple({"job_id": other, "kind": kind} for other, kind in after.items())
    if mode == "service":
        return desk.submit(id, depends_on=waits, restart={"mode": "always", "max_restarts": None}, service={}, **parts)
    return desk.submit(id, depends_on=waits, restart={"mode": mode, "max_restarts": 1}, **parts)


jobs = st.one_of(
    st.builds(
        _submit,
        JOBS,
        st.sampled_from([1, 4]),
        st.dictionaries(JOBS, st.sampled_from(DependencyKind), max_size=2),
        st.sampled_from(["never", "on_failure", "always", "service"]),
    ),
    st.builds(desk.cancel, JOBS, st.none() | TASKS),
    st.builds(desk.requeue, JOBS, st.none() | TASKS),
    st.builds(lambda tasks, attempt, id: desk.started(*tasks, attempt=attempt, id=id), NUMBERS, ATTEMPTS, JOBS),
    st.builds(
        lambda tasks, ready, at, attempt, id: desk.readiness(*tasks, ready=ready, at=at, attempt=attempt, id=id),
        NUMBERS,
        st.booleans(),
        st.integers(0, 3),
        ATTEMPTS,
        JOBS,
    ),
    st.builds(
        lambda tasks, attempt, id, reason: desk.exited(*tasks, attempt=attempt, id=id, reason=reason),
        NUMBERS,
        ATTEMPTS,
        JOBS,
        st.sampled_from(ExitReason),
    ),
    st.builds(
        lambda tasks, attempt, id: ReportJobOutputs(
            job_id=id,
            node_id="n1",
            tasks=tuple(TaskOutputs(task=task, attempt=attempt, message="the disk is full") for task in tasks),
        ),
        NUMBERS,
        ATTEMPTS,
        JOBS,
    ),
    st.builds(desk.bound, TASKS, ATTEMPTS, JOBS),
    st.builds(desk.node_lost, TASKS, ATTEMPTS, JOBS),
    st.builds(desk.dequeued, TASKS, st.integers(0, 3), JOBS),
    st.builds(DependencyRequested, job_id=JOBS, dependency=JOBS, kind=st.sampled_from(DependencyKind)),
    st.builds(DependencyResolved, job_id=JOBS, dependent=JOBS, outcome=st.sampled_from(DependencyOutcome)),
    SECONDS,
)

_of_allocation = {
    "pool": st.just("default"),
    "allocation_id": ALLOCATIONS,
    "job_id": JOBS,
    "project": st.just(DEFAULT_PROJECT),
    "node_id": NODES,
    "tasks": TASKS,
    "attempt": ATTEMPTS,
}
_resources = st.sampled_from([{}, {"gpus": 1}, {"cpus": 2.5}, {"exclusive": True}])
_of_node = {"pool": st.just("default"), "node_id": NODES}
_taints = st.sampled_from([(), (Taint(key="team"),), (Taint(key="team", effect=TaintEffect.NO_EXECUTE),)])
_labels = st.dictionaries(st.sampled_from(["zone", "kind"]), st.none() | st.just("x"), min_size=1, max_size=1)

scheduling = st.one_of(
    st.builds(
        lambda id, tasks, attempt, resources: queues.job(id, tasks, attempt=attempt, **resources),
        JOBS,
        TASKS,
        ATTEMPTS,
        _resources,
    ),
    st.builds(queues.cancel, JOBS, TASKS),
    st.builds(
        lambda node, cpus, gpus: queues.node(node, cpus=cpus, gpus=[queues.gpu(index) for index in range(gpus)]),
        NODES,
        st.sampled_from([0.5, 4.0]),
        st.integers(0, 2),
    ),
    st.builds(
        AllocationBound,
        **_of_allocation,
        resources=_resources.map(lambda parts: desk.JobResources(**parts)),
        launch=st.just(queues.job("a").launch),
    ),
    st.builds(AllocationRejected, **_of_allocation, reason=st.just("no room")),
    st.builds(AllocationReleased, **_of_allocation, rest=st.none() | TASKS, reason=st.sampled_from(ReleaseReason)),
    *(st.builds(kind, **_of_node) for kind in (NodeCordoned, NodeUncordoned, NodeDraining, NodeDrained, NodeRemoved)),
    st.builds(NodeLost, **_of_node, silent_seconds=st.just(20.0)),
    st.builds(NodeRecovered, **_of_node, agent_id=st.just("agent-1")),
    st.builds(NodeLabelled, **_of_node, labels=_labels),
    st.builds(NodeTainted, **_of_node, taints=_taints),
    st.builds(
        CreateQueue,
        queue=st.just("default"),
        policy=st.sampled_from([SchedulingPolicy.FIFO, SchedulingPolicy.PRIORITY]),
    ),
    st.builds(DeleteQueue, queue=st.just("default")),
    st.builds(
        ConfigureQueue,
        queue=st.just("default"),
        policy=st.none() | st.sampled_from([SchedulingPolicy.FIFO, SchedulingPolicy.PRIORITY]),
        status=st.none() | st.sampled_from(QueueStatus),
    ),
    SECONDS,
)

resources = st.one_of(
    st.builds(
        lambda node, boot, agent, gpus: pools.register(
            node, boot=boot, agent=agent, gpus=[pools.gpu(index) for index in range(gpus)]
        ),
        NODES,
        st.sampled_from(["b1", "b2"]),
        st.sampled_from(["agent-1", "agent-2"]),
        st.integers(0, 2),
    ),
    st.builds(pools.heartbeat, NODES, st.sampled_from(["agent-1", "agent-2"])),
    *(st.builds(kind, **_of_node) for kind in (CordonNode, UncordonNode, DrainNode, RemoveNode)),
    st.builds(TaintNode, **_of_node, taints=_taints),
    st.builds(LabelNode, **_of_node, labels=_labels),
    st.builds(
        lambda places, job, resources: pools.scheduled(
            *(pools.placement(id, node, tasks, attempt) for id, node, tasks, attempt in places), job=job, **resources
        ),
        st.lists(st.tuples(ALLOCATIONS, NODES, TASKS, ATTEMPTS), min_size=1, max_size=3),
        JOBS,
        _resources,
    ),
    st.builds(
        lambda ids, job, tasks: pools.unscheduled(*ids, job=job, tasks=tasks),
        st.lists(ALLOCATIONS, min_size=1),
        JOBS,
        TASKS,
    ),
    st.builds(
        lambda reports, node: pools.ended(*reports, node_id=node),
        st.lists(st.tuples(ALLOCATIONS, TASKS), min_size=1, max_size=2),
        NODES,
    ),
    SECONDS,
)


PLAYED: Mapping[type[Decider[Any]], st.SearchStrategy[Input]] = {
    Jobs: jobs,
    Scheduling: scheduling,
    Resources: resources,
    Catalogues: experiments.catalogue,
    Runs: experiments.runs,
    JobLinks: experiments.links,
    Tunings: experiments.tunings,
    Registries: registry_inputs.registry,
    DatasetCatalogues: registry_inputs.datasets,
    Deployments: deployments.deployments,
    Followers: deployments.followers,
    Pipelines: pipelines.pipelines,
    Templates: pipelines.templates,
}


@pytest.mark.parametrize(("decider", "inputs"), PLAYED.items(), ids=[kind.aggregate for kind in PLAYED])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_decider_raises_nothing_but_refusals(
    decider: type[Decider[Any]], inputs: st.SearchStrategy[Input], data: st.DataObject
) -> None:
    play = Play(decider())
    for given_ in data.draw(st.lists(inputs, min_size=1, max_size=30)):
        play.give(given_)
        if data.draw(st.booleans()):
            play.give(given_)  # again, at once
    play.replay()


def _kinds(inputs: st.SearchStrategy[Input]) -> set[type[Any]]:
    seen: set[type[Any]] = set()

    @given(st.lists(inputs, min_size=20, max_size=20))
    @settings(max_examples=60, deadline=None, database=None)
    def collect(drawn: list[Input]) -> None:
        seen.update(map(type, drawn))

    collect()
    return seen


def test_every_input_of_every_decider_is_played() -> None:
    """A new command or a new event that a context hears must be added above."""
    assert {kind.context for kind in PLAYED} == set(contexts())
    for kind, inputs in PLAYED.items():
        assert {*kind.commands, *kind.routes} <= _kinds(inputs)
