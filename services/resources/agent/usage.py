"""Tells deployments what their replicas on this node use of what they were given, every ten seconds.

Reports are quiet and may be lost: the next one says what is then. CPU time is that of a replica's processes and of
their children that have ended; memory is their proportional share (PSS); GPUs are asked of NVIDIA's driver. Replicas of
a model tell metrics of their own and what they were asked, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from events.language.common import NODE_ACTOR
from events.log.ids import deployment_of
from events.log.publish import Publisher
from services.resources.agent import proctree
from services.resources.agent.asking import Asker
from services.resources.agent.attempts import Attempt, Task

if TYPE_CHECKING:  # an agent without replicas does without the language of deployments, and starts sooner
    from events.language.deployments.steering import ReportUsage
    from events.language.deployments.traffic import ReplicaReport, ReplicaUsage

log = logging.getLogger("forgelog.agent.usage")

EVERY = 10.0
"""Seconds between two reports."""

AT_ONCE = 200
"""Most replicas in one report."""

TELLING_AT_ONCE = 10
"""Most of those that say what they were asked: that is up to 50 kB each."""

_TICKS = os.sysconf("SC_CLK_TCK")
_DEPLOYMENT = itemgetter(0)


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of these processes and of their children that have ended."""
    return _seconds(map(proctree.stat, pids))


def cpu_used(pids: Iterable[int]) -> float | None:
    """The same; None if one of them waits for a disk: then it may do nothing, and is not idle."""
    found = [proctree.stat(pid) for pid in pids]
    if any(fields[:1] == [b"D"] for fields in found):
        return None
    return _seconds(found)


def _seconds(found: Iterable[Sequence[bytes]]) -> float:
    # utime, stime, cutime, cstime (proc_pid_stat(5))
    return sum(int(part) for fields in found for part in fields[11:15]) / _TICKS


@dataclass(slots=True)
class _Sample:
    at: float
    """Monotonic seconds."""
    cpu_seconds: float


@dataclass(slots=True)
class Meter:
    """Measures replicas. Used from one thread at a time."""

    gpus: Callable[[Iterable[int]], float | None]
    """How busy devices are in percent, on average; None if nobody can say."""
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, _Sample] = field(default_factory=dict)
    """By attempt."""

    def measure(self, attempts: Iterable[Attempt]) -> list[tuple[str, ReplicaUsage]]:
        """Deployment and use of each replica among these attempts. CPU is known from the second time on."""
        from events.language.deployments.traffic import ReplicaUsage

        found, last = [], self._last
        self._last = {}
        for attempt in attempts:
            task = attempt.task
            deployment = deployment_of(task.job_id, task.project)
            if not deployment or not attempt.running or not attempt.seen:
                continue
            pids = [*attempt.seen]
            now = self._last[attempt.key] = _Sample(self.clock(), cpu_seconds(pids))
            before = last.get(attempt.key)
            cpu = None
            if before is not None and task.cpus and now.at > before.at:
                cpu = 100 * max(0.0, now.cpu_seconds - before.cpu_seconds) / (now.at - before.at) / task.cpus
            memory = 100 * proctree.proportional_memory(pids) / task.memory_bytes if task.memory_bytes else None
            usage = ReplicaUsage(
                replica_id=task.job_id,
                cpu_percent=_percent(cpu),
                memory_percent=_percent(memory),
                gpu_percent=_percent(self.gpus(task.gpus)) if task.gpus else None,
            )
            found.append((deployment, usage))
        return found


def _percent(value: float | None) -> float | None:
    return None if value is None else round(min(value, 1_000_000.0), 3)


def gpu_percent(devices: Iterable[int]) -> float | None:
    """How busy GPUs are, on average, as the driver says; None without one."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return busy(pynvml, devices)
    finally:
        pynvml.nvmlShutdown()


def busy(nvml: Any, devices: Iterable[int]) -> float | None:
    """What an initialised `pynvml` (or one that replays its answers) says of devices."""
    values = []
    for device in devices:
        with suppress(nvml.NVMLError):
            values.append(float(nvml.nvmlDeviceGetUtilizationRates(nvml.nvmlDeviceGetHandleByIndex(device)).gpu))
    return sum(values) / len(values) if values else None


def _reports(
    meter: Meter, replicas: Sequence[Attempt], told: Mapping[str, ReplicaReport]
) -> list[tuple[str, ReportUsage]]:
    """Project and command of each report of what they use now. `told`: by themselves, by job. Blocks, also to import:
    run it in a thread."""
    from events.language.deployments.steering import ReportUsage

    project = {each.task.job_id: each.task.project for each in replicas}
    reports = []
    for deployment, group in groupby(sorted(meter.measure(replicas), key=_DEPLOYMENT), key=_DEPLOYMENT):
        usages = tuple(
            usage.model_copy(update=dict(told[usage.replica_id])) if usage.replica_id in told else usage
            for _, usage in group
        )
        many = TELLING_AT_ONCE if any(usage.inputs for usage in usages) else AT_ONCE
        for first in range(0, len(usages), many):
            command = ReportUsage(deployment_id=deployment, replicas=usages[first : first + many])
            reports.append((project[usages[0].replica_id], command))
    return reports


async def report(
    publisher: Publisher, node: str, attempts: Mapping[str, Attempt], key_of: Callable[[Task], str]
) -> None:
    """Measure and tell, until cancelled. `key_of`: by which a replica knows its agent."""
    meter, asker = Meter(gpu_percent), Asker(lambda attempt: key_of(attempt.task))
    while True:
        await asyncio.sleep(EVERY)
        replicas = [each for each in attempts.values() if deployment_of(each.task.job_id, each.task.project)]
        if not replicas:
            continue
        told = await asker.reports(replicas)
        reports = await asyncio.to_thread(_reports, meter, replicas, told)
        try:
            for project, command in reports:
                sent = publisher.publish(command, project=project, actor=f"{NODE_ACTOR}{node}")
                await asyncio.wait_for(sent, EVERY)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("use of replicas: %s", error or "no answer from Kafka")
