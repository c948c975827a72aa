"""What a platform goes through while it is recorded: every kind of event, with the orders and accidents that lead to
them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT, PLATFORM_ACTOR, CommandNoted, CommandRejected, Refused
from events.language.jobs import (
    CancelJob,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobOutputsKept,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    RequeueJob,
    SubmitJob,
    TaskStart,
)
from events.language.resources import (
    AllocationRejected,
    CordonNode,
    DrainNode,
    LabelNode,
    NodeCordoned,
    NodeDrained,
    NodeLabelled,
    NodeLost,
    NodeRecovered,
    NodeRegistered,
    NodeRemoved,
    NodeTainted,
    NodeUncordoned,
    RemoveNode,
    Taint,
    TaintNode,
    UncordonNode,
)
from events.language.scheduling import (
    ConfigureQueue,
    CreateQueue,
    DeleteQueue,
    JobDeferred,
    JobScheduled,
    QueueConfigured,
    QueueCreated,
    QueueDeleted,
    QueueStatus,
)
from events.log import topics
from events.log.access import client_options
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.envelope import Position
from events.log.ids import derived_id
from events.log.partitioner import partition_of
from events.log.positions import EpochRule
from events.log.publish import Publisher
from events.log.reading import read_to_end
from events.log.repairing import look_at, retry, skip
from events.log.wire import Raw
from events.writer.decider import Decider
from events.writer.encoding import Encoder, Origin
from events.writer.partition import Partition
from services.jobs.decide import Jobs
from services.scheduling.decide import Scheduling
from tests import PATIENCE
from tests.integration.cluster import Cluster

SMALL = {"cpus": 0.5, "memory_bytes": 16 << 20}
POOL = "default"
LAB = "lab/vision"
"""A project that is not the default one."""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TWICE = '[ "$FORGELOG_ATTEMPT" != 1 ]'
"""For a shell: succeeds from a task's second attempt on."""

RUNNING, WAITING, HELD = "still-running", "still-waiting", "in-a-paused-queue"
"""Jobs that have not ended when the recording does."""


class Stage:
    """A platform, and who gives it orders."""

    def __init__(self, platform: Cluster, publisher: Publisher) -> None:
        self.platform = platform
        self._publisher = publisher
        self.jobs: dict[str, str] = {}
        """Name → id of every job that was submitted."""
        self.moments: dict[str, str] = {}
        """Name → time at which something had just happened."""

    async def order(self, command: Command, id: str, **envelope: Any) -> None:
        await self._publisher.publish(command, id=id, **envelope)

    async def submit(
        self, name: str, script: str, *, project: str = DEFAULT_PROJECT, traceparent: str = "", **spec: Any
    ) -> str:
        """A shell's script as a job; its id."""
        body = {"metadata": {"name": name}, "command": "sh", "args": ["-c", script], "resources": SMALL, **spec}
        command = SubmitJob.model_validate({"spec": body})
        await self.order(command, f"submit-{name}", project=project, traceparent=traceparent)
        self.jobs[name] = derived_id("j", f"submit-{name}", project)
        return self.jobs[name]

    async def of(self, kind: type[Event], subject: str, count: int = 1) -> Any:
        """The event of a kind about something, the `count`th of them."""
        after = 0
        for _ in range(count):
            seen = self.platform.seen
            try:
                which = await self.platform.recorded(
                    lambda record: isinstance(record.data, kind) and record.meta.subject == subject, after
                )
            except TimeoutError:
                told = "\n".join(f"{record.position} {record.data!r}"[:300] for record in seen)
                raise AssertionError(f"no {kind.__name__} of {subject}; the log says:\n{told}") from None
            after = next(index for index, record in enumerate(seen) if record is which) + 1
        return which.data

    async def ended(self, kind: type[Event], *names: str) -> None:
        for name in names:
            await self.of(kind, self.jobs[name])

    def note(self, name: str) -> None:
        """Note the time, for questions about how things were then."""
        self.moments[name] = self.platform.seen[-1].meta.time.isoformat().replace("+00:00", "Z")


async def play(platform: Cluster) -> Stage:
    """All scenes, one after the other, on a platform that has no node yet."""
    async with Publisher(platform.settings) as publisher:
        stage = Stage(platform, publisher)
        await _nodes(stage)
        await _jobs(stage)
        stage.note("jobs")
        await _dependencies(stage)
        await _cancels(stage)
        await _outputs(stage)
        await _refusals(stage)
        await _queues(stage)
        stage.note("queues")
        await _rejected(stage)
        await _drain(stage)
        await _lost(stage)
        stage.note("lost")
        await _faulty(stage)
        await _open_end(stage)
    return stage


async def _nodes(stage: Stage) -> None:
    for node in ("n0", "n1"):
        stage.platform.start_agent(node, FORGELOG_NODE_LABELS="zone=a")
        await stage.of(NodeRegistered, node)
    place = {"pool": POOL, "node_id": "n1"}
    await stage.order(LabelNode(**place, labels={"rack": "r7", "old": "x"}), "label")
    await stage.order(LabelNode(**place, labels={"old": None}), "label-less")
    await stage.order(TaintNode(**place, taints=(Taint(key="slow"),)), "taint")
    await stage.of(NodeTainted, "n1")
    await stage.order(TaintNode(**place), "taint-less")
    await stage.order(CordonNode(**place, reason="a look inside"), "cordon")
    await stage.of(NodeCordoned, "n1")
    await stage.order(UncordonNode(**place, reason="all is well"), "uncordon", traceparent=TRACE)
    await stage.of(NodeUncordoned, "n1")
    await stage.of(NodeLabelled, "n1", 2)


async def _jobs(stage: Stage) -> None:
    await stage.submit("single", "echo hello; echo trouble >&2")
    await stage.submit("fails", "echo no; exit 3")
    retry = {"restart": {"mode": "on_failure", "max_restarts": 2, "backoff_seconds": 0.2}}
    script = f'echo "task $FORGELOG_TASK, attempt $FORGELOG_ATTEMPT"; [ "$FORGELOG_TASK" != 2 ] || {TWICE}'
    await stage.submit("array", script, array={"size": 5}, scheduling=retry)
    await stage.submit("two-at-a-time", "sleep 0.1", array={"size": 6, "max_parallel": 2})
    await stage.submit("partly-fails", '[ "$FORGELOG_TASK" != 1 ]', array={"size": 3})
    await stage.submit("on-a-gpu", "echo $CUDA_VISIBLE_DEVICES", resources={**SMALL, "gpus": 1})
    await stage.submit("too-long", "sleep 1000", scheduling={"max_runtime_seconds": 0.5, "grace_seconds": 0.2})
    described = {"metadata": {"name": "of-a-lab", "labels": {"team": "vision"}, "annotations": {"note": "größer → 数"}}}
    described["environment"] = {"variables": {"GREETING": "good day"}}
    await stage.submit("of-a-lab", "echo $GREETING", project=LAB, traceparent=TRACE, priority="high", **described)
    await stage.submit("prints-much", "seq 1 2000")
    await stage.ended(JobCompleted, "single", "array", "two-at-a-time", "on-a-gpu", "of-a-lab", "prints-much")
    await stage.ended(JobFailed, "fails", "partly-fails", "too-long")
    await stage.order(RequeueJob(job_id=stage.jobs["fails"], reason="once more"), "requeue")
    await stage.of(JobFailed, stage.jobs["fails"], 2)


async def _dependencies(stage: Stage) -> None:
    first = await stage.submit("first", "sleep 1")
    second = await stage.submit("second", "true", depends_on=[{"job_id": first}])
    await stage.submit("third", "true", depends_on=[{"job_id": second}, {"job_id": first, "kind": "after_any"}])
    await stage.submit("for-a-failure", "true", depends_on=[{"job_id": stage.jobs["fails"], "kind": "after_not_ok"}])
    await stage.submit("in-vain", "true", depends_on=[{"job_id": stage.jobs["fails"]}])
    await stage.ended(JobCompleted, "first", "second", "third", "for-a-failure")
    await stage.ended(JobCancelled, "in-vain")
    await stage.order(RequeueJob(job_id=stage.jobs["in-vain"]), "requeue-in-vain")
    await stage.of(JobRequeued, stage.jobs["in-vain"])
    await stage.of(JobCancelled, stage.jobs["in-vain"], 2)


async def _cancels(stage: Stage) -> None:
    running = await stage.submit("cancelled", "sleep 1000", scheduling={"grace_seconds": 0.2})
    queued = await stage.submit("cancelled-queued", "true", resources={"cpus": 4000.0})
    array = await stage.submit("cancelled-in-part", "sleep 8", array={"size": 3})
    await stage.of(JobStarted, running)
    await stage.of(JobDeferred, queued)
    await stage.of(JobStarted, array)
    await stage.order(CancelJob(job_id=running, reason="enough"), "cancel")
    await stage.order(CancelJob(job_id=queued), "cancel-queued")
    await stage.order(CancelJob(job_id=array, tasks="1"), "cancel-in-part")
    await stage.ended(JobCancelled, "cancelled", "cancelled-queued", "cancelled-in-part")


async def _outputs(stage: Stage) -> None:
    """Files are kept: of each attempt its own, with something that can't be kept, and none."""
    write = "mkdir results; echo $FORGELOG_TASK-$FORGELOG_ATTEMPT > results/a; mkfifo results/pipe"
    retry = {"restart": {"mode": "on_failure", "max_restarts": 2, "backoff_seconds": 0.2}}
    script = f'{write}; [ "$FORGELOG_TASK" != 1 ] || {TWICE}'
    await stage.submit("keeps", script, array={"size": 2}, scheduling=retry, keep=["results/**", "*.log"])
    await stage.submit("keeps-nothing", "true", keep=["results"])
    await stage.ended(JobCompleted, "keeps", "keeps-nothing")
    async with asyncio.timeout(PATIENCE):
        while _kept(stage, "keeps") != {(0, 1), (1, 1), (1, 2)} or _kept(stage, "keeps-nothing") != {(0, 1)}:
            await asyncio.sleep(0.1)


def _kept(stage: Stage, name: str) -> set[tuple[int, int]]:
    """Tasks and attempts whose files are told."""
    told = stage.platform.all(JobOutputsKept, lambda event: event.job_id == stage.jobs[name])
    return {(each.task, each.attempt) for event in told for each in event.tasks}


async def _refusals(stage: Stage) -> None:
    settings, single = stage.platform.settings, stage.jobs["single"]
    spec = {"metadata": {"name": "once"}, "command": "true", "resources": SMALL}
    once = SubmitJob.model_validate({"spec": spec})
    for _ in range(2):  # the same command twice is one job
        await stage.order(once, "once")
    stage.jobs["once"] = derived_id("j", "once")
    await stage.ended(JobCompleted, "once")
    await stage.of(CommandNoted, stage.jobs["once"])
    await stage.order(once.model_copy(update={"spec": once.spec.model_copy(update={"args": ("x",)})}), "once")
    await stage.order(CancelJob(job_id="nobody"), "cancel-nobody")
    await stage.order(CancelJob(job_id=single), "cancel-ended")
    await stage.platform.publish("jobs", "SubmitJob", {"spec": {**spec, "resources": {"cpus": -1}}}, id="negative")
    await stage.of(CommandNoted, single)
    foreign = once.model_copy(update={"job_id": stage.jobs["single"]})
    await stage.order(foreign, "foreign", project=LAB)  # of a job that another project has
    for id in ("once", "cancel-nobody", "negative", "foreign"):
        await stage.platform.event(CommandRejected, lambda event, id=id: event.command_id == id)
    producer = AIOKafkaProducer(**client_options(settings))  # what is no command at all is a dead letter
    await producer.start()
    await producer.send_and_wait(f"{settings.prefix}commands.jobs", b"{", partition=0, headers=[("ce_id", b"no-json")])
    await producer.stop()


async def _queues(stage: Stage) -> None:
    for queue in ("batch", "short-lived"):
        await stage.order(CreateQueue(queue=queue), f"create-{queue}")
        await stage.of(QueueCreated, queue)
    await stage.order(DeleteQueue(queue="short-lived"), "delete")
    await stage.of(QueueDeleted, "short-lived")
    await stage.order(ConfigureQueue(queue=POOL, status=QueueStatus.PAUSED), "pause")
    await stage.of(QueueConfigured, POOL)
    paused = await stage.submit("paused", "true")
    await stage.of(JobQueued, paused)
    await stage.order(ConfigureQueue(queue=POOL, status=QueueStatus.ACTIVE), "go-on")
    await stage.ended(JobCompleted, "paused")


async def _drain(stage: Stage) -> None:
    moved = await stage.submit("moves", f"{TWICE} || sleep 1000", scheduling={"grace_seconds": 0.2})
    started = await stage.of(JobStarted, moved)
    place = {"pool": POOL, "node_id": started.node_id}
    await stage.order(DrainNode(**place, reason="new kernel", grace_seconds=0.5), "drain")
    await stage.of(NodeDrained, started.node_id)
    await stage.ended(JobCompleted, "moves")
    await stage.order(UncordonNode(**place), "undrain")
    await stage.of(NodeUncordoned, started.node_id, 3 if started.node_id == "n1" else 2)


async def _rejected(stage: Stage) -> None:
    """Scheduling places tasks on a node that takes none any more, since it had not heard of that."""
    platform, nodes = stage.platform, [{"pool": POOL, "node_id": node} for node in ("n0", "n1")]
    for place in nodes:
        await stage.order(CordonNode(**place), f"close-{place['node_id']}")
    job = await stage.submit("rejected", "true")
    await stage.of(JobDeferred, job)
    platform.kill("scheduling")
    pen = await Pen.of(stage, "scheduling", Scheduling(), POOL)
    earlier = platform.all(JobScheduled, lambda event: event.job_id == stage.jobs["single"])[0]
    id = f"{job}.1.{pen.partition.kinds['queue'].states[POOL].number}"
    placement = earlier.placements[0].model_copy(update={"allocation_id": id})
    await pen.write(earlier.model_copy(update={"job_id": job, "placements": (placement,)}), "unaware")
    platform.start("scheduling")
    await stage.of(AllocationRejected, id)
    for place in nodes:
        await stage.order(UncordonNode(**place), f"open-{place['node_id']}")
    await stage.ended(JobCompleted, "rejected")
    await platform.healthy("scheduling")


async def _lost(stage: Stage) -> None:
    """A machine that loses its power and is started again; then its agent hangs for a while; then it is gone."""
    stage.platform.start_agent("n2", FORGELOG_NODE_LABELS="zone=b")
    await stage.of(NodeRegistered, "n2")
    where = {"node_selector": {"zone": "b"}, "grace_seconds": 0.2}
    await stage.of(JobStarted, await stage.submit("runs-again", f"{TWICE} || sleep 1000", scheduling=where))
    stage.platform.kill_node("n2")
    await stage.of(NodeLost, "n2")
    stage.platform.start_agent("n2", FORGELOG_NODE_LABELS="zone=b")
    await stage.of(NodeRegistered, "n2", 2)
    await stage.ended(JobCompleted, "runs-again")
    agent = stage.platform.process("n2")
    agent.suspend()
    await stage.of(NodeLost, "n2", 2)
    agent.resume()
    await stage.of(NodeRecovered, "n2")
    stage.platform.kill("n2")
    await stage.of(NodeLost, "n2", 3)
    await stage.order(RemoveNode(pool=POOL, node_id="n2", reason="sold"), "remove")
    await stage.of(NodeRemoved, "n2")


async def _faulty(stage: Stage) -> None:
    """A writer's defect: an event that does not fold. An operator has it passed over; and while another writer has
    taken over, the one with the defect goes on writing."""
    platform, job = stage.platform, stage.jobs["single"]
    platform.kill("jobs")
    pen = await Pen.of(stage, "jobs", Jobs(), job)
    task = TaskStart(task=0, attempt=7, allocation_id="nobody-s", pid=0, started_at=datetime.now(UTC))
    event = JobStarted(job_id=job, node_id="n0", tasks=(task,))
    position = await pen.write(event, "defect-1")
    (*_, faulty) = await _read(stage, position.topic, position.partition)
    try:
        pen.partition.fold(faulty)
    except Refused as error:
        print(f"{position} does not fold: {error}")
    else:
        raise AssertionError("it folds")
    platform.start("jobs")
    async with asyncio.timeout(PATIENCE):
        while not any(raw.is_marker for raw in (await _read(stage, position.topic, position.partition))[-1:]):
            await asyncio.sleep(0.2)
    await retry(platform.settings, position, "it may have been the machine", "operator")
    await skip(platform.settings, await look_at(platform.settings, position), "a defect of the writer", "operator")
    await platform.healthy("jobs")
    await pen.write(event, "defect-2")
    await stage.submit("behind-it", "true")
    await stage.ended(JobCompleted, "behind-it")


class Pen:
    """Writes in the name of a context's last writer, which has ended."""

    def __init__(self, stage: Stage, partition: Partition, encoder: Encoder) -> None:
        self._stage = stage
        self._encoder = encoder
        self.partition = partition

    @classmethod
    async def of(cls, stage: Stage, context: str, decider: Decider[Any], key: str) -> Pen:
        """For the partition of a key, as its writer left it."""
        count = stage.platform.settings.partitions
        number = partition_of(key, count)
        partition, encoder = Partition(decider, number, count), Encoder(context)
        rule = EpochRule(begun=0)
        for raw in await _read(stage, topics.events(context), number):
            if rule.admits(raw):
                partition.fold(raw)
        encoder.begin(rule.epoch)
        encoder.digest = partition.digest
        return cls(stage, partition, encoder)

    async def write(self, event: Event, id: str) -> Position:
        """Append an event of the writer's own initiative."""
        settings, now = self._stage.platform.settings, datetime.now(UTC)
        topic, number = topics.events(self.partition.context), self.partition.number
        origin = Origin(id, "", PLATFORM_ACTOR, DEFAULT_PROJECT, "")
        placed = (event, event.key(), event.subject(), DEFAULT_PROJECT, PLATFORM_ACTOR, "", "", "")
        (record,) = self._encoder.records([placed], origin, now)
        raw = record.at(topic, number, 0)
        producer = AIOKafkaProducer(**client_options(settings))
        await producer.start()
        try:
            stored = await producer.send_and_wait(
                settings.prefix + topic,
                raw.value,
                key=raw.key,
                partition=number,
                timestamp_ms=raw.timestamp,
                headers=list(raw.headers),
            )
        finally:
            await producer.stop()
        return Position(topic, number, stored.offset)


async def _read(stage: Stage, topic: str, number: int) -> list[Raw]:
    """All records of a partition."""
    settings = stage.platform.settings
    found: list[Raw] = []
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, raws in read_to_end(consumer, {TopicPartition(settings.prefix + topic, number): 0}):
            found += raws
    return found


async def _open_end(stage: Stage) -> None:
    """What has not ended when the recording does."""
    await stage.order(ConfigureQueue(queue="batch", status=QueueStatus.PAUSED), "pause-batch")
    await stage.of(QueueConfigured, "batch")
    for number in range(12):  # enough events that there are snapshots
        await stage.submit(f"one-of-many-{number}", "true")
    await stage.ended(JobCompleted, *(f"one-of-many-{number}" for number in range(12)))
    await stage.of(JobStarted, await stage.submit(RUNNING, "echo begun; sleep 1000", array={"size": 2}))
    await stage.of(JobDeferred, await stage.submit(WAITING, "true", project=LAB, resources={"cpus": 64.0}))
    await stage.of(JobSubmitted, await stage.submit(HELD, "true", queue="batch"))
