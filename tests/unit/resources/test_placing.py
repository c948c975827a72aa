"""Given a pool and what it holds, when scheduling places tasks, then they are bound, or rejected with a reason."""

from __future__ import annotations

import pytest

from events.language.base import Command
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    CordonNode,
    DeviceShare,
    DrainNode,
)
from events.language.resources.hardware import GPUHealth
from tests.unit.resources.pools import GIB, POOL, Pools, ended, gpu, placement, register, said, scheduled


@pytest.fixture
def pool() -> Pools:
    pool = Pools()
    pool.command(register())
    return pool


def reason(events: list[object]) -> str:
    (event,) = events
    assert isinstance(event, AllocationRejected)
    return event.reason


def test_a_placement_that_fits_is_bound_with_all_the_agent_needs(pool: Pools) -> None:
    wanted = scheduled(placement("a1", tasks="0-2", attempt=2), cpus=1.25)
    (bound,) = pool.event(wanted)
    assert isinstance(bound, AllocationBound)
    assert (bound.node_id, bound.tasks, bound.attempt, bound.job_id) == ("n1", "0-2", 2, "job-1")
    assert bound.launch == wanted.launch
    assert bound.resources == wanted.request.resources


def test_the_same_placement_again_leads_to_nothing(pool: Pools) -> None:
    wanted = scheduled(placement("a1"), placement("a2", "nowhere"))
    assert said(pool.event(wanted)) == ["AllocationBound", "AllocationRejected"]
    assert pool.event(wanted) == []
    pool.command(ended(("a1", "0")))
    assert pool.event(wanted) == []


def test_placements_of_one_decision_add_up(pool: Pools) -> None:
    events = pool.event(scheduled(*(placement(f"a{i}", tasks=str(i)) for i in range(5)), cpus=1.5))
    assert said(events) == ["AllocationBound"] * 2 + ["AllocationRejected"] * 3


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"cpus": 4.5}, "node n1: needs 4.5 cpus, 4 are free"),
        ({"memory_bytes": 9 * GIB}, "node n1: needs 9 GiB of memory, 8 GiB are free"),
        ({"gpus": 1}, "node n1: needs 1 gpus, 0 are free"),
        ({"storage_bytes": 101 * GIB}, "node n1: needs 101 GiB of storage, 100 GiB are free"),
        ({"network_mbps": 1001}, "node n1: needs 1001 Mbit/s of network, 1000 are free"),
    ],
)
def test_each_kind_of_resource_must_fit(pool: Pools, wanted: dict[str, float], problem: str) -> None:
    assert reason(pool.event(scheduled(placement("a1"), **wanted))) == problem


def test_tasks_of_an_array_need_their_share_each(pool: Pools) -> None:
    assert reason(pool.event(scheduled(placement("a1", tasks="0-4")))) == "node n1: needs 5 cpus, 4 are free"


def test_thirds_of_a_cpu_fill_it(pool: Pools) -> None:
    assert said(pool.event(scheduled(placement("a1", tasks="0-11"), cpus=0.3333333334, memory_bytes=1 << 20))) == [
        "AllocationBound"
    ]


def test_what_is_given_back_can_be_taken_again(pool: Pools) -> None:
    for number in range(50):
        assert said(pool.event(scheduled(placement(f"a{number}", tasks="0-39"), cpus=0.1, memory_bytes=1 << 20))) == [
            "AllocationBound"
        ]
        pool.command(ended((f"a{number}", "0-39")))
    assert pool.state.nodes["n1"].free.cpus == 4_000_000_000


@pytest.mark.parametrize(
    ("command", "status"),
    [(CordonNode(pool=POOL, node_id="n1"), "cordoned"), (DrainNode(pool=POOL, node_id="n1"), "drained")],
)
def test_a_held_node_takes_nothing(pool: Pools, command: Command, status: str) -> None:
    pool.command(command)
    assert reason(pool.event(scheduled(placement("a1")))) == f"node n1 is {status}"


def test_a_lost_node_takes_nothing(pool: Pools) -> None:
    pool.after(15)
    assert reason(pool.event(scheduled(placement("a1")))) == "node n1 is lost"


def test_a_node_of_another_pool_takes_nothing(pool: Pools) -> None:
    assert reason(pool.event(scheduled(placement("a1", "n9")))) == "node n9 is not in pool default"


class TestExclusive:
    def test_an_exclusive_job_needs_an_empty_node(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1"), job="first"))
        rejected = pool.event(scheduled(placement("a2"), job="second", exclusive=True))
        assert reason(rejected) == "node n1 runs other jobs and this one wants a node for itself"
        pool.command(ended(("a1", "0")))
        assert said(pool.event(scheduled(placement("a3"), job="second", exclusive=True))) == ["AllocationBound"]

    def test_nothing_joins_an_exclusive_job_until_it_is_gone(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1"), job="first", exclusive=True))
        assert reason(pool.event(scheduled(placement("a2"), job="second"))) == (
            "node n1 is held by job first for itself"
        )
        assert said(pool.event(scheduled(placement("a3"), job="first", exclusive=True))) == ["AllocationBound"]
        pool.command(ended(("a1", "0"), ("a3", "0")))
        assert said(pool.event(scheduled(placement("a4"), job="second"))) == ["AllocationBound"]


class TestGPUs:
    def test_each_task_gets_its_own_devices_by_index(self) -> None:
        pool = Pools()
        pool.command(register(gpus=[gpu(i) for i in range(4)]))
        (bound,) = pool.event(scheduled(placement("a1", tasks="3,5"), gpus=2))
        assert isinstance(bound, AllocationBound)
        assert bound.devices == (DeviceShare(task=3, gpus=(0, 1)), DeviceShare(task=5, gpus=(2, 3)))
        pool.command(ended(("a1", "3")))
        (again,) = pool.event(scheduled(placement("a2"), gpus=1))
        assert isinstance(again, AllocationBound)
        assert again.devices == (DeviceShare(task=0, gpus=(0,)),)

    def test_type_and_memory_must_match(self) -> None:
        pool = Pools()
        pool.command(register(gpus=[gpu(0, "NVIDIA A10", 24 * GIB), gpu(1), gpu(2)]))
        (bound,) = pool.event(scheduled(placement("a1"), gpus=1, gpu_type="h200"))
        assert isinstance(bound, AllocationBound)
        assert bound.devices[0].gpus == (1,)
        rejected = pool.event(scheduled(placement("a2"), gpus=2, gpu_memory_bytes=80 * GIB))
        assert reason(rejected) == "node n1 has too few free devices: needs 2 gpus with 80 GiB each"

    def test_a_task_is_kept_to_one_type_where_it_can_be(self) -> None:
        pool = Pools()
        pool.command(register(gpus=[gpu(0, "NVIDIA A10"), gpu(1), gpu(2), gpu(3, "NVIDIA A10"), gpu(4)]))
        (bound,) = pool.event(scheduled(placement("a1", tasks="0-1"), gpus=2))
        assert isinstance(bound, AllocationBound)
        assert [share.gpus for share in bound.devices] == [(0, 3), (1, 2)]

    def test_a_broken_device_is_given_to_nobody(self) -> None:
        pool = Pools()
        broken = gpu(0).model_copy(update={"health": GPUHealth.UNHEALTHY})
        pool.command(register(gpus=[broken, gpu(1)]))
        (bound,) = pool.event(scheduled(placement("a1"), gpus=1))
        assert isinstance(bound, AllocationBound)
        assert bound.devices[0].gpus == (1,)
        assert reason(pool.event(scheduled(placement("a2"), gpus=1))) == (
            "node n1 has too few free devices: needs 1 gpus"
        )

    def test_devices_that_vanish_are_not_given_out_and_come_back(self) -> None:
        pool = Pools()
        pool.command(register(gpus=[gpu(0), gpu(1)]))
        pool.event(scheduled(placement("a1"), gpus=1))
        pool.command(register(gpus=[gpu(1)], agent="agent-2"))
        assert reason(pool.event(scheduled(placement("a2"), gpus=1))) == "node n1: needs 1 gpus, 0 are free"
        pool.command(ended(("a1", "0")))
        assert said(pool.event(scheduled(placement("a3"), gpus=1))) == ["AllocationBound"]


def test_a_node_that_shrank_takes_nothing_until_it_fits(pool: Pools) -> None:
    pool.event(scheduled(placement("a1", tasks="0-2"), job="first"))
    pool.command(register(capacity={"cpus": 2.0}, agent="agent-2"))
    assert reason(pool.event(scheduled(placement("a2"), cpus=0.1))) == "node n1: needs 0.1 cpus, 0 are free"
    pool.command(ended(("a1", "0-1")))
    assert said(pool.event(scheduled(placement("a3"), cpus=1))) == ["AllocationBound"]


def test_a_decision_with_too_much_to_say_at_once_is_bound_in_parts(pool: Pools) -> None:
    pool.command(register(capacity={"cpus": 10_000.0, "memory_bytes": 1 << 50}))
    wanted = scheduled(*(placement(f"a{i}", tasks=str(i)) for i in range(10)))
    wanted = wanted.model_copy(update={"launch": wanted.launch.model_copy(update={"args": ("x" * 100_000,) * 9})})
    events = pool.event(wanted)
    assert len(events) == 10
    assert said(events).count("AllocationBound") == 2
    assert sum(len(event.model_dump_json()) for event in events) < 4_000_000
