"""What replicas use is measured on their processes, and told to the deployment whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from events.log.ids import deployment_of, named_id, replica_job
from services.resources.agent.attempts import Attempt, Task
from services.resources.agent.proctree import look, proportional_memory
from services.resources.agent.usage import Meter, busy, cpu_seconds

ELSEWHERE = "acme/vision"


@pytest.mark.parametrize("project", ["local/default", ELSEWHERE])
def test_a_replicas_job_says_whose_it_is(project: str) -> None:
    id = named_id("digits-2", project)
    assert deployment_of(replica_job(id, 3, 14, project), project) == id


@pytest.mark.parametrize("job", ["j-1", "dep.", "dep.digits", "dep.digits.1", "dep.digits.x.1", "digits.1.1"])
def test_other_jobs_are_no_replicas(job: str) -> None:
    assert deployment_of(job, "local/default") == ""


def attempt(pid: int, cpus: float = 0.5, memory_bytes: int = 1 << 30, gpus: tuple[int, ...] = ()) -> Attempt:
    process = look(pid)
    assert process is not None
    task = Task(
        "a", "dep.digits.1.2", 0, 1, "local/default", "boot", 1.0, memory_bytes, gpus=gpus, cpus=cpus
    )  # fmt: skip
    return Attempt(task, warden=pid, seen={pid: process.ticks})


def test_use_is_of_what_was_given() -> None:
    times = iter([100.0, 102.0])
    meter = Meter(lambda _: None, lambda: next(times))
    own = attempt(os.getpid())
    ((deployment, first),) = meter.measure([own])
    assert (deployment, first.replica_id, first.cpu_percent) == ("digits", "dep.digits.1.2", None)
    held = 100 * proportional_memory([os.getpid()]) / own.task.memory_bytes
    assert first.memory_percent == pytest.approx(held, rel=0.2)
    before = cpu_seconds([os.getpid()])
    while (used := cpu_seconds([os.getpid()]) - before) < 0.1:
        sum(range(10_000))
    ((_, second),) = meter.measure([own])
    assert second.cpu_percent is not None
    assert second.cpu_percent >= 100 * used / 2 / 0.5 * 0.99


def test_time_of_children_that_have_ended_counts() -> None:
    before = cpu_seconds([os.getpid()])
    subprocess.run([sys.executable, "-c", "while __import__('time').process_time() < 0.2: pass"], check=True)
    assert cpu_seconds([os.getpid()]) - before >= 0.15


def test_processes_that_are_gone_count_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_seconds([child.pid]) == 0
    gone = attempt(os.getpid())
    gone.seen = {}
    assert Meter(lambda _: None).measure([gone]) == []


def test_gpus_are_asked_of_the_driver() -> None:
    def asked(devices: Iterable[int]) -> float:
        assert list(devices) == [1, 3]
        return 42.0

    ((_, usage),) = Meter(asked).measure([attempt(os.getpid(), gpus=(1, 3))])
    assert usage.gpu_percent == 42


def test_a_device_that_says_nothing_is_left_out() -> None:
    class Unsupported(Exception):
        pass

    def rates(device: int) -> SimpleNamespace:
        if device == 2:
            raise Unsupported
        return SimpleNamespace(gpu=10 * device)

    nvml = SimpleNamespace(
        NVMLError=Unsupported, nvmlDeviceGetHandleByIndex=int, nvmlDeviceGetUtilizationRates=rates
    )  # fmt: skip
    assert busy(nvml, [1, 2, 3]) == 20
    assert busy(nvml, [2]) is None
