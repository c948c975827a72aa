"""The main flow on a whole platform: from a command that any producer can publish to processes, and back.

The tests share a platform with other modules, so each asks for the events of its own jobs only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from events.language.common import CommandRejected
from events.language.contexts import processes
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    JobSubmitted,
    JobTasksCancelled,
)
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    AllocationStopRequested,
    NodeDrained,
    NodeLost,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
    ReleaseReason,
)
from events.language.scheduling import JobDeferred
from events.language.task_ranges import count_tasks
from events.log.ids import derived_id
from events.process.settings import Settings
from tests import PATIENCE
from tests.integration.calm import Calm
from tests.integration.cluster import Cluster, cluster

pytestmark = pytest.mark.slow

SMALL = {"cpus": 0.1, "memory_bytes": 16 << 20}


SECOND = "n-of-flow"
"""The node of this module beside the one that all share."""


@pytest_asyncio.fixture(scope="module")
async def platform(calm: Calm) -> AsyncIterator[Cluster]:
    """Of two nodes. Nothing is killed by those who ask for it, and a node that was drained takes work again."""
    platform = await calm.platform()
    platform.start_agent(SECOND)
    await joined(platform, SECOND)
    yield platform
    place = {"pool": "default", "node_id": SECOND}
    await platform.publish("resources", "DrainNode", place, key="default")
    await platform.event(NodeDrained, lambda e: e.node_id == SECOND)
    platform.kill(SECOND)  # one that runs on would register the node again
    await platform.publish("resources", "RemoveNode", place, key="default")
    await platform.event(NodeRemoved, lambda e: e.node_id == SECOND)


@pytest_asyncio.fixture(scope="module")
async def victims(calm: Calm) -> Cluster:
    """The same; its processes are killed and started again, one after the other."""
    return await calm.platform()


async def joined(platform: Cluster, *nodes: str) -> None:
    for node in nodes:
        await platform.event(NodeRegistered, lambda e, node=node: e.node_id == node)


def once(marker: Path, first: str, then: str) -> tuple[str, ...]:
    """Arguments of a shell that does `first` the first time and `then` from the second on."""
    return ("-c", f"if [ -e {marker} ]; then {then}; else touch {marker}; {first}; fi")


async def made(path: Path) -> None:
    """A task that has started is not yet a shell that has come this far."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists():  # noqa: ASYNC240
            await asyncio.sleep(0.02)


def numbers_in(folder: Path) -> list[int]:
    return sorted(int(path.read_text()) for path in folder.glob("task-*"))


async def test_a_job_from_a_plain_producer_runs_to_its_end(platform: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "said"
    job = await platform.submit("sh", "-c", f"echo hello > {output}", resources=SMALL)
    done = await platform.event(JobCompleted, lambda e: e.job_id == job)
    assert output.read_text() == "hello\n"
    assert (done.exit_code, done.counts.completed) == (0, 1)
    told = platform.of_job(job)
    assert told[:2] == ["JobSubmitted", "JobQueued"]
    assert told[-2:] == ["JobExited", "JobCompleted"]
    released = await platform.event(AllocationReleased, lambda e: e.job_id == job)
    assert (released.reason, released.rest) == (ReleaseReason.ENDED, None)


async def test_the_same_command_twice_is_one_job(platform: Cluster) -> None:
    body = {"spec": {"metadata": {"name": "sent-twice"}, "command": "true"}}
    for _ in range(2):
        await platform.publish("jobs", "SubmitJob", body, id="the-same")
    await platform.event(JobCompleted, lambda e: e.job_id == derived_id("j", "the-same"))
    assert len(platform.all(JobSubmitted, lambda e: e.spec.metadata.name == "sent-twice")) == 1


async def test_a_command_that_is_wrong_is_refused_with_its_field(platform: Cluster) -> None:
    body = {"spec": {"metadata": {"name": "x"}, "command": "true", "resources": {"cpus": -1}}}
    id = await platform.publish("jobs", "SubmitJob", body)
    rejected = await platform.event(CommandRejected, lambda e: e.command_id == id)
    assert [error.field for error in rejected.errors] == ["spec.resources.cpus"]


async def test_a_running_job_is_cancelled_with_its_whole_tree(platform: Cluster) -> None:
    job = await platform.submit("sh", "-c", "sleep 1000 & sleep 1000", resources=SMALL)
    started = await platform.event(JobStarted, lambda e: e.job_id == job)
    pid = started.tasks[0].pid
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    await platform.publish("jobs", "CancelJob", {"job_id": job, "reason": "enough"}, key=job)
    await platform.event(JobCancelled, lambda e: e.job_id == job)
    assert platform.all(AllocationStopRequested, lambda e: e.job_id == job)
    assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    exited = await platform.event(JobExited, lambda e: e.job_id == job)
    assert exited.tasks[0].reason is ExitReason.STOPPED


async def test_a_queued_job_is_cancelled_without_a_process(platform: Cluster) -> None:
    job = await platform.submit("true", resources={"cpus": 4000.0})
    deferred = await platform.event(JobDeferred, lambda e: e.job_id == job)
    assert deferred.message
    await platform.publish("jobs", "CancelJob", {"job_id": job}, key=job)
    await platform.event(JobTasksCancelled, lambda e: e.job_id == job)
    await platform.event(JobCancelled, lambda e: e.job_id == job)
    assert not platform.all(JobStarted, lambda e: e.job_id == job)


async def test_a_failing_job_is_tried_again(platform: Cluster, tmp_path: Path) -> None:
    restart = {"mode": "on_failure", "max_restarts": 2, "backoff_seconds": 0.2}
    arguments = once(tmp_path / "marker", "exit 7", "exit 0")
    job = await platform.submit("sh", *arguments, resources=SMALL, scheduling={"restart": restart})
    await platform.event(JobCompleted, lambda e: e.job_id == job)
    exits = [task for event in platform.all(JobExited, lambda e: e.job_id == job) for task in event.tasks]
    assert [(task.attempt, task.exit_code) for task in exits] == [(1, 7), (2, 0)]


async def test_a_job_that_keeps_failing_fails_with_its_code(platform: Cluster) -> None:
    job = await platform.submit("sh", "-c", "exit 3", resources=SMALL)
    failed = await platform.event(JobFailed, lambda e: e.job_id == job)
    assert failed.exit_code == 3


async def test_an_array_runs_every_task_once(platform: Cluster, tmp_path: Path) -> None:
    script = f'echo "$FORGELOG_TASK" > {tmp_path}/task-$FORGELOG_TASK'
    job = await platform.submit("sh", "-c", script, resources=SMALL, array={"size": 20})
    done = await platform.event(JobCompleted, lambda e: e.job_id == job)
    assert done.counts.completed == 20
    assert numbers_in(tmp_path) == list(range(20))
    bound = platform.all(AllocationBound, lambda e: e.job_id == job)
    assert sum(count_tasks(event.tasks) for event in bound) == 20


async def test_a_dependent_waits_for_what_it_depends_on(platform: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "first"
    first = await platform.submit("sh", "-c", f"sleep 0.5; touch {mark}", resources=SMALL)
    await platform.event(JobSubmitted, lambda e: e.job_id == first)
    second = await platform.submit("test", "-e", str(mark), resources=SMALL, depends_on=[{"job_id": first}])
    await platform.event(JobCompleted, lambda e: e.job_id == second)


async def test_a_lost_node_s_tasks_run_again_elsewhere(settings: Settings, tmp_path: Path) -> None:
    async with cluster(settings, tmp_path, nodes=2, lost_seconds=3) as platform:
        await joined(platform, "n0", "n1")
        arguments = once(tmp_path / "marker", "sleep 1000", "exit 0")
        job = await platform.submit("sh", *arguments, resources=SMALL)
        started = await platform.event(JobStarted, lambda e: e.job_id == job)
        await made(tmp_path / "marker")
        platform.kill_node(started.node_id)
        lost = await platform.event(NodeLost)
        assert lost.node_id == started.node_id
        await platform.event(JobCompleted, lambda e: e.job_id == job)
        exits = [task for event in platform.all(JobExited, lambda e: e.job_id == job) for task in event.tasks]
        assert [(task.attempt, task.reason) for task in exits] == [(1, ExitReason.LOST), (2, ExitReason.EXITED)]


async def test_a_drained_node_s_tasks_move(platform: Cluster, tmp_path: Path) -> None:
    arguments = once(tmp_path / "marker", "sleep 1000", "exit 0")
    job = await platform.submit("sh", *arguments, resources=SMALL)
    started = await platform.event(JobStarted, lambda e: e.job_id == job)
    await made(tmp_path / "marker")
    place = {"pool": "default", "node_id": started.node_id}
    await platform.publish("resources", "DrainNode", {**place, "reason": "new kernel"}, key="default")
    try:
        await platform.event(NodeDrained, lambda e: e.node_id == started.node_id)
        await platform.event(JobCompleted, lambda e: e.job_id == job)
        again = platform.all(JobStarted, lambda e: e.job_id == job)[-1]
        assert again.node_id != started.node_id
    finally:
        await platform.publish("resources", "UncordonNode", place, key="default")
        await platform.event(NodeUncordoned, lambda e: e.node_id == started.node_id)


@pytest.mark.parametrize("victim", [*processes(), "n0"])
async def test_any_process_may_be_killed_midway(victims: Cluster, victim: str) -> None:
    here = {"node_selector": {"hostname": "n0"}}
    job = await victims.submit("sh", "-c", "sleep 0.3", resources=SMALL, array={"size": 30}, scheduling=here)
    await victims.event(JobStarted, lambda e: e.job_id == job)
    victims.kill(victim)
    await asyncio.sleep(0.5)
    if victim == "n0":
        victims.start_agent(victim)
    else:
        victims.start(victim)
    done = await victims.event(JobCompleted, lambda e: e.job_id == job)
    assert done.counts.completed == 30
    exits = [task for event in victims.all(JobExited, lambda e: e.job_id == job) for task in event.tasks]
    assert len({(task.task, task.attempt) for task in exits}) == len(exits)
