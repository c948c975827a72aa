"""The node agent on a whole platform: what happens to tasks when it is killed, stopped, replaced or cut off, and how
what they print gets into the log.

The tests share one platform, so each asks for the events of its own jobs only. Tests that leave the agent alone share
the node n0; the others get a node of their own. Every job names its node, so that none is placed on another test's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from blake3 import blake3

from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    JobTaskReady,
    JobTaskUnready,
    OutputDigests,
    TaskExit,
    TaskStart,
)
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    NodeDrained,
    NodeLost,
    NodeRegistered,
    NodeRemoved,
    ReleaseReason,
)
from events.log import topics
from events.log.access import client_options
from events.log.consumers import new_consumer
from events.process.settings import Settings
from services.resources.agent.store import MEMBERSHIP
from tests import PATIENCE
from tests.folders_in_use import copy_in_use, remove_in_use
from tests.integration.cluster import Cluster, cluster

pytestmark = pytest.mark.slow

SMALL = {"cpus": 0.1, "memory_bytes": 64 << 20}


class Node:
    """A node of a platform: its agent, and jobs that run nowhere else."""

    numbers = count(1)

    def __init__(self, platform: Cluster, name: str) -> None:
        self.platform = platform
        self.name = name
        self.folder = platform.folder / name

    @property
    def agent(self) -> psutil.Process:
        return psutil.Process(self.platform._processes[self.name].pid)

    def start_agent(self, **more: str) -> None:
        self.platform.start_agent(self.name, **more)

    def kill_agent(self) -> None:
        self.platform.kill(self.name)

    async def registered(self, times: int = 1) -> None:
        """Wait until its agents have registered it so often."""
        await self.platform.event(NodeRegistered, lambda _: len(self.all(NodeRegistered)) >= times)

    def all(self, kind: type[Any]) -> list[Any]:
        """Events of a kind about this node."""
        return self.platform.all(kind, lambda event: event.node_id == self.name)

    async def submit(self, command: str, *args: str, scheduling: dict[str, Any] | None = None, **spec: Any) -> str:
        rules = {**(scheduling or {}), "node_selector": {"hostname": self.name}}
        return await self.platform.submit(command, *args, resources=SMALL, scheduling=rules, **spec)

    async def tell(self, command: str, done: type[Any]) -> None:
        """Publish an operator's command for this node, and wait for the event that it leads to."""
        body = {"pool": self.platform.settings.pool, "node_id": self.name}
        await self.platform.publish("resources", command, body, key=body["pool"])
        await self.platform.event(done, lambda event: event.node_id == self.name)


@asynccontextmanager
async def joined(platform: Cluster, **options: str) -> AsyncIterator[Node]:
    """A node of a test's own, whose agent is told `options` as variables; afterwards it is emptied and removed."""
    node = Node(platform, f"n{next(Node.numbers)}")
    node.start_agent(**options)
    await node.registered()
    try:
        yield node
    finally:
        if node.name not in platform._processes or platform._processes[node.name].poll() is not None:
            before = len(node.all(NodeRegistered))
            node.start_agent()
            await node.registered(before + 1)
        await node.tell("DrainNode", NodeDrained)
        node.kill_agent()  # one that runs on would register the node again
        await node.tell("RemoveNode", NodeRemoved)


@pytest.fixture
def n0(platform: Cluster) -> Node:
    """The node that tests share: they may not harm its agent."""
    return Node(platform, "n0")


@pytest.fixture
async def node(platform: Cluster) -> AsyncIterator[Node]:
    """A node of the test's own, whose agent it may kill."""
    async with joined(platform) as node:
        yield node


async def started(platform: Cluster, job: str) -> TaskStart:
    event = await platform.event(JobStarted, lambda e: e.job_id == job)
    return event.tasks[0]  # type: ignore[no-any-return]


async def exited(platform: Cluster, job: str, attempt: int = 1) -> TaskExit:
    event = await platform.event(JobExited, lambda e: e.job_id == job and e.tasks[0].attempt == attempt)
    return event.tasks[0]  # type: ignore[no-any-return]


async def until(condition: Any, problem: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), problem


class Printed:
    """What the topic of task output has for a job, put together as a reader does: by offset, repeats ignored."""

    def __init__(self, settings: Settings, job: str) -> None:
        self._settings = settings
        self._job = job
        self.streams: dict[tuple[int, int, str], bytes] = {}
        self.ended: set[tuple[int, int, str]] = set()
        self.truncated: set[tuple[int, int, str]] = set()

    async def follow(self, until_ended: int = 2) -> Printed:
        """Read until so many streams have ended."""
        topic = self._settings.prefix + topics.LOGS
        async with asyncio.timeout(PATIENCE), new_consumer(self._settings) as consumer:
            places = [TopicPartition(topic, number) for number in range(self._settings.partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while len(self.ended) < until_ended:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        if record.key == self._job.encode():
                            self._take(dict(record.headers), record.value)
        return self

    def _take(self, headers: dict[str, bytes], value: bytes) -> None:
        text = {name: content.decode() for name, content in headers.items()}
        assert text["job"] == self._job
        stream = (int(text["task"]), int(text["attempt"]), text["stream"])
        have = self.streams.setdefault(stream, b"")
        offset = int(text["offset"])
        assert offset <= len(have), f"bytes {len(have)} to {offset} of {stream} are missing"
        assert len(value) <= 64 << 10
        self.streams[stream] = have[:offset] + value + have[offset + len(value) :]
        if "truncated" in text:
            self.truncated.add(stream)
        if "eof" in text:
            assert not value
            assert offset == len(self.streams[stream])
            self.ended.add(stream)


def digests(printed: Printed) -> OutputDigests:
    """Of what a job's only attempt printed."""
    out, err = (printed.streams[0, 1, stream] for stream in ("stdout", "stderr"))
    hashed = [blake3(data).hexdigest() if data else "" for data in (out, err)]
    return OutputDigests(stdout_bytes=len(out), stdout_digest=hashed[0], stderr_bytes=len(err), stderr_digest=hashed[1])


async def test_a_killed_agent_s_tasks_run_on_and_are_found_again(platform: Cluster, node: Node, tmp_path: Path) -> None:
    script = f"echo $$ >> {tmp_path}/starts; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 5"
    job = await node.submit("sh", "-c", script)
    task = await started(platform, job)
    node.kill_agent()
    assert psutil.pid_exists(task.pid)
    node.start_agent()
    await node.registered(times=2)
    assert psutil.pid_exists(task.pid)
    (tmp_path / "go").touch()
    exit = await exited(platform, job)
    assert (exit.attempt, exit.exit_code, exit.reason) == (1, 5, ExitReason.EXITED)
    assert (tmp_path / "starts").read_text() == f"{task.pid}\n"


async def test_an_end_while_the_agent_was_away_is_told_later(platform: Cluster, node: Node, tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo late; exit 6"
    job = await node.submit("sh", "-c", script)
    task = await started(platform, job)
    node.kill_agent()
    (tmp_path / "go").touch()
    await until(lambda: not psutil.pid_exists(task.pid), "the task does not end")
    node.start_agent()
    exit = await exited(platform, job)
    assert (exit.exit_code, exit.reason) == (6, ExitReason.EXITED)
    await platform.event(AllocationReleased, lambda e: e.job_id == job)
    printed = await Printed(platform.settings, job).follow()
    assert printed.streams == {(0, 1, "stdout"): b"late\n", (0, 1, "stderr"): b""}
    assert exit.output == digests(printed)


async def test_output_is_live_and_has_no_gaps_over_a_crash(platform: Cluster, node: Node, tmp_path: Path) -> None:
    script = (
        f"i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); "
        f"[ $i -eq 1000 ] && while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; done; echo end >&2"
    )
    job = await node.submit("sh", "-c", script)
    await started(platform, job)
    live = Printed(platform.settings, job)
    following = asyncio.create_task(live.follow())
    await until(lambda: b"line 999\n" in live.streams.get((0, 1, "stdout"), b""), "its output is not shipped live")
    node.kill_agent()
    (tmp_path / "go").touch()
    node.start_agent()
    await platform.event(JobCompleted, lambda e: e.job_id == job)
    await following
    assert live.streams[0, 1, "stdout"] == b"".join(b"line %d\n" % number for number in range(4000))
    assert live.streams[0, 1, "stderr"] == b"end\n"
    assert (await exited(platform, job)).output == digests(live)


async def test_a_burst_of_output_is_whole_and_takes_nothing_from_others(platform: Cluster, n0: Node) -> None:
    bursts = [await n0.submit("seq", "1", "700000") for _ in range(2)]
    lone = await n0.submit("echo", "hello")
    for job in bursts:
        printed = await Printed(platform.settings, job).follow()
        assert printed.streams[0, 1, "stdout"] == b"".join(b"%d\n" % number for number in range(1, 700_001))
        assert (await exited(platform, job)).output == digests(printed)
    assert (await Printed(platform.settings, lone).follow()).streams[0, 1, "stdout"] == b"hello\n"


class Configured:
    """A topic's configuration."""

    def __init__(self, admin: AIOKafkaAdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic

    async def become(self, config: dict[str, str]) -> None:
        """Replace all that was set, and wait until that is in force."""
        await self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self._topic, config)])
        await self.shows(config)

    async def shows(self, wanted: dict[str, str]) -> None:
        """A broker takes a new configuration first and shows it a little later."""
        async with asyncio.timeout(PATIENCE):
            while True:
                (told,) = await self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, self._topic)])
                if wanted.items() <= {entry[0]: entry[1] for entry in told.resources[0][4]}.items():
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def output_topic(settings: Settings) -> AsyncIterator[Configured]:
    """The topic of output, to configure; afterwards it has its present configuration."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    topic = Configured(admin, settings.prefix + topics.LOGS)
    try:
        try:
            yield topic
        finally:
            await topics.ensure_topics(settings)
            await topic.shows({"max.message.bytes": str(topics.MAX_RECORD_BYTES)})
    finally:
        await admin.close()


async def test_output_that_a_topic_takes_only_in_small_batches_is_whole(platform: Cluster, n0: Node) -> None:
    async with output_topic(platform.settings) as topic:
        await topic.become({"max.message.bytes": "40000"})
        job = await n0.submit("seq", "1", "200000")
        printed = await Printed(platform.settings, job).follow()
        assert printed.streams[0, 1, "stdout"] == b"".join(b"%d\n" % number for number in range(1, 200_001))


async def test_a_topic_of_an_earlier_version_gets_the_present_bound(settings: Settings) -> None:
    old = {"max.message.bytes": "1048576", "segment.bytes": "1048576"}  # what somebody has set besides stays
    await topics.ensure_topics(settings)
    async with output_topic(settings) as topic:
        await topic.become(old)
        await topics.ensure_topics(settings)
        week = str(7 * 24 * 3600 * 1000)
        await topic.shows({**old, "max.message.bytes": str(topics.MAX_RECORD_BYTES), "retention.ms": week})


async def test_what_could_not_be_started_says_so(platform: Cluster, n0: Node) -> None:
    job = await n0.submit("no-such-program")
    exit = await exited(platform, job)
    assert exit.reason is ExitReason.SPAWN_FAILED
    assert "'no-such-program' is not found" in exit.message
    await platform.event(JobFailed, lambda e: e.job_id == job)
    await platform.event(AllocationReleased, lambda e: e.job_id == job)
    printed = await Printed(platform.settings, job).follow()
    assert set(printed.streams.values()) == {b""}


async def test_what_a_task_finds_around_it(platform: Cluster, n0: Node) -> None:
    secrets = n0.folder / "secrets"
    (secrets / "token").write_text("from-a-file\n")
    (secrets / "key").write_text("in-a-file\n")
    names = ["JOB", "TASK", "ATTEMPT", "ARRAY_SIZE", "NODE", "ALLOCATION"]
    show = " ".join(f'"$FORGELOG_{name}"' for name in names)
    job = await n0.submit(
        "sh",
        "-c",
        f'echo {show} "[$CUDA_VISIBLE_DEVICES]" "$OWN" "$TOKEN" "$(cat "$FORGELOG_SECRETS/key")"; pwd; env',
        array={"size": 2},
        environment={
            "variables": {"OWN": "set"},
            "secrets": [{"name": "token", "env": "TOKEN"}, {"name": "key"}],
            "working_directory": str(platform.folder),
        },
    )
    await platform.event(JobCompleted, lambda e: e.job_id == job)
    bound = platform.all(AllocationBound, lambda e: e.job_id == job)[0]
    printed = await Printed(platform.settings, job).follow(4)
    first, folder, *environment = printed.streams[1, 1, "stdout"].decode().splitlines()
    assert first == f"{job} 1 1 2 n0 {bound.allocation_id} [] set from-a-file in-a-file"
    assert folder == str(platform.folder)
    assert not [line for line in environment if line.startswith(("FORGELOG_POSTGRES", "FORGELOG_KAFKA"))]
    everything = b"".join(record.data.model_dump_json().encode() for record in platform.seen)
    assert b"from-a-file" not in everything


async def test_a_missing_secret_is_named(platform: Cluster, n0: Node) -> None:
    job = await n0.submit("true", environment={"secrets": [{"name": "nowhere"}]})
    exit = await exited(platform, job)
    assert exit.reason is ExitReason.SPAWN_FAILED
    assert "secret 'nowhere' can't be read on node n0" in exit.message


async def test_a_task_beyond_its_memory_is_killed(platform: Cluster, n0: Node) -> None:
    # `tail` keeps the last line, and a stream of zeros is one line without an end.
    own = await n0.submit("tail", "/dev/zero")
    child_s = await n0.submit("sh", "-c", "tail /dev/zero & wait; sleep 1000")
    for job in (own, child_s):
        exit = await exited(platform, job)
        assert (exit.reason, exit.signal) == (ExitReason.OUT_OF_MEMORY, signal.SIGKILL)
        assert "its limit is 64 MiB; ask for more memory" in exit.message
        assert exit.usage.max_rss_bytes > 64 << 20


async def test_a_killed_warden_s_task_is_ended_and_fails(platform: Cluster, n0: Node) -> None:
    job = await n0.submit("sh", "-c", "setsid sleep 1000 & sleep 1000")
    task = await started(platform, job)
    process = psutil.Process(task.pid)
    await until(lambda: len(process.children()) == 2, "the tree is not complete")
    tree = [process, *process.children(recursive=True)]
    process.parent().kill()  # type: ignore[union-attr]
    exit = await exited(platform, job)
    assert exit.reason is ExitReason.UNTRACKED
    assert "its warden was ended before it could note" in exit.message
    await platform.event(JobFailed, lambda e: e.job_id == job)
    assert not [one for one in tree if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def test_tasks_that_harm_their_node_end_by_their_policy_and_the_agent_goes_on(
    platform: Cluster, node: Node
) -> None:
    """Each of these once ran again without end, or brought the agent down."""
    process = node.agent
    deep = "import os\nfor _ in range(1100): os.mkdir('folder'); os.chdir('folder')"
    harms = {
        "kill": ("sh", "-c", "kill -9 $PPID; sleep 1000"),
        "terminate": ("sh", "-c", "kill $PPID; exit 3"),
        "remove": ("sh", "-c", 'cd ..; rm -rf ./*; rm -rf "$PWD"; exit 3'),
        "lock": ("sh", "-c", "mkdir -p a/b; touch a/b/c; chmod 000 a/b a . ..; exit 3"),
        "dig": ("python3", "-c", deep),
        "forge": ("sh", "-c", 'for f in exit stop task started; do echo "{" > ../$f.json; done; exit 3'),
    }
    jobs = {what: await node.submit(*command) for what, command in harms.items()}
    ends = {what: (await exited(platform, job)) for what, job in jobs.items()}
    for job in jobs.values():
        await platform.event(AllocationReleased, lambda e, job=job: e.job_id == job)
    assert ends["kill"].reason is ExitReason.UNTRACKED
    codes = {what: end.exit_code for what, end in ends.items() if what != "kill"}
    assert codes == {"terminate": 3, "remove": 3, "lock": 3, "dig": 0, "forge": 3}
    folder = node.folder
    left = [folder / name for name in ("tasks", "scratch", "trash")]
    await until(lambda: not [path for each in left for path in each.iterdir()], "their folders stay")
    assert len(platform.all(JobExited, lambda e: e.job_id in jobs.values())) == len(jobs)
    assert process.is_running()


async def test_a_cancel_reaches_a_task_that_removed_its_folders(platform: Cluster, node: Node) -> None:
    script = 'd=$(dirname "$PWD"); cd /; rm -rf "$d"; echo ready; exec sleep 1000'
    job = await node.submit("sh", "-c", script, scheduling={"grace_seconds": 0.5})
    task = await started(platform, job)
    notes = next((node.folder / "tasks").iterdir())
    await until((notes / "started.json").exists, "its start is not noted")
    remove_in_use(notes)
    process = node.agent
    await platform.publish("jobs", "CancelJob", {"job_id": job}, key=job)
    await platform.event(JobCancelled, lambda e: e.job_id == job)
    await platform.event(AllocationReleased, lambda e: e.job_id == job)
    assert not psutil.pid_exists(task.pid)
    assert process.is_running()


async def test_a_restarted_agent_reports_what_it_has_no_trace_of(platform: Cluster, node: Node) -> None:
    job = await node.submit("sh", "-c", '[ "$FORGELOG_ATTEMPT" -gt 1 ] || sleep 1000')
    task = await started(platform, job)
    position = node.folder / "position.json"
    noted = position.stat().st_mtime_ns if position.exists() else 0
    await until(lambda: position.exists() and position.stat().st_mtime_ns > noted, "how far it read is not noted")
    node.kill_agent()
    for notes in (node.folder / "tasks").iterdir():
        remove_in_use(notes)
    node.start_agent()
    exit = await exited(platform, job)
    assert (exit.reason, exit.message) == (ExitReason.LOST, f"node {node.name} has no trace of it (any more)")
    assert not psutil.pid_exists(task.pid)
    await platform.event(JobCompleted, lambda e: e.job_id == job)


async def test_sigterm_leaves_tasks_running(platform: Cluster, node: Node, tmp_path: Path) -> None:
    job = await node.submit("sh", "-c", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    task = await started(platform, job)
    process = node.agent
    process.terminate()
    process.wait(10)
    assert psutil.pid_exists(task.pid)
    node.start_agent()
    (tmp_path / "go").touch()
    assert (await exited(platform, job)).exit_code == 0


async def test_a_draining_agent_ends_its_tasks_first(platform: Cluster) -> None:
    async with joined(platform, FORGELOG_AGENT_STOP="drain") as node:
        job = await node.submit("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
        task = await started(platform, job)
        process = node.agent
        process.terminate()
        process.wait(10)
        assert not psutil.pid_exists(task.pid)
        exit = await exited(platform, job)
        assert (exit.reason, exit.exit_code) == (ExitReason.STOPPED, 0)
        await platform.event(AllocationReleased, lambda e: e.job_id == job and e.reason is ReleaseReason.ENDED)


async def test_a_lost_node_s_agent_ends_what_it_lost_and_joins_again(settings: Settings, tmp_path: Path) -> None:
    async with cluster(settings, tmp_path, lost_seconds=3) as platform:
        await platform.event(NodeRegistered)
        await lose_and_join(platform)


async def lose_and_join(platform: Cluster) -> None:
    restart = {"mode": "never", "restart_lost": False}
    job = await platform.submit("sleep", "1000", resources=SMALL, scheduling={"restart": restart})
    task = await started(platform, job)
    served = await platform.submit("sleep", "1000", resources=SMALL, service={})
    service = await started(platform, served)
    agent = Node(platform, "n0").agent
    os.kill(agent.pid, signal.SIGSTOP)
    await platform.event(NodeLost)
    assert psutil.pid_exists(task.pid)
    os.kill(agent.pid, signal.SIGCONT)
    await until(lambda: not psutil.pid_exists(task.pid), "a lost task runs on")
    await until(lambda: not psutil.pid_exists(service.pid), "a service runs on whose allocation is released")
    assert (await exited(platform, job)).reason is ExitReason.LOST
    await platform.event(NodeRegistered, lambda _: len(platform.all(NodeRegistered)) > 1)
    again = await platform.submit("true", resources=SMALL)
    await platform.event(JobCompleted, lambda e: e.job_id == again)


async def test_a_second_agent_of_a_name_starts_nothing_until_the_first_is_lost(
    settings: Settings, tmp_path: Path
) -> None:
    async with cluster(settings, tmp_path, nodes=0, lost_seconds=6) as platform:
        platform.start_agent("n0")
        first = await platform.event(NodeRegistered)
        copy_in_use(tmp_path / "n0", tmp_path / "copy")
        for name in ("copy", "own"):
            platform.start_agent("n0", process=name)
        await until(lambda: all(refused(tmp_path / name) for name in ("copy", "own")), "the others are not refused")
        jobs = [
            await platform.submit("sh", "-c", f"echo $FORGELOG_JOB >> {tmp_path}/starts", resources=SMALL)
            for _ in range(10)
        ]
        for job in jobs:
            await platform.event(JobCompleted, lambda e, job=job: e.job_id == job)
        assert sorted((tmp_path / "starts").read_text().split()) == sorted(jobs)
        assert platform.all(NodeRegistered) == [first]
        platform.kill("n0")
        second = await platform.event(NodeRegistered, lambda e: e.instance_id != first.instance_id)
        job = await platform.submit("true", resources=SMALL)
        await platform.event(JobCompleted, lambda e: e.job_id == job)
        (bound,) = platform.all(AllocationBound, lambda e: e.job_id == job)
        assert bound.instance_id == second.instance_id


def refused(folder: Path) -> bool:
    """Whether the agent of a folder says that another one holds its node."""
    path = folder / MEMBERSHIP
    return path.exists() and "is held by agent" in orjson.loads(path.read_bytes())["problem"]


async def test_without_contact_an_agent_fences_itself(platform: Cluster) -> None:
    # The pool would wait 20 s; this agent believes that it has only one, so it must act on its own.
    async with joined(platform, FORGELOG_NODE_LOST_SECONDS="1") as node:
        served = await node.submit("sleep", "1000", service={"drain_seconds": 0})
        await platform.event(JobTaskReady, lambda e: e.job_id == served)
        service = await started(platform, served)
        job = await node.submit("sleep", "1000", scheduling={"restart": {"restart_lost": False}})
        task = await started(platform, job)
        os.kill(node.agent.pid, signal.SIGSTOP)
        await asyncio.sleep(1.2)
        os.kill(node.agent.pid, signal.SIGCONT)
        exit = await exited(platform, job)
        assert exit.reason is ExitReason.LOST
        assert "had no contact with the log" in exit.message
        assert not psutil.pid_exists(task.pid)
        assert not node.all(NodeLost)
        again = await node.submit("true")
        await platform.event(JobCompleted, lambda e: e.job_id == again)
        assert psutil.pid_exists(service.pid), "a service outlives lost contact"
        await platform.publish("jobs", "CancelJob", {"job_id": served})
        await platform.event(JobTaskUnready, lambda e: e.job_id == served)
        assert (await exited(platform, served)).reason is ExitReason.STOPPED


async def test_two_agents_can_t_share_a_folder(platform: Cluster, n0: Node) -> None:
    platform._run("twin", "services.resources.agent", {"FORGELOG_NODE": "twin", "FORGELOG_AGENT_DIR": str(n0.folder)})
    twin = platform._processes["twin"]
    await until(lambda: twin.poll() is not None, "the second agent runs")
    assert twin.returncode == 1
    assert "is in use by another agent" in platform.log("twin")


async def test_folders_of_ended_tasks_are_put_away(platform: Cluster, node: Node) -> None:
    good = await node.submit("true")
    bad = await node.submit("sh", "-c", "touch evidence; exit 1")
    for job in (good, bad):
        await platform.event(AllocationReleased, lambda e, job=job: e.job_id == job)
    folder = node.folder
    await until(lambda: not list((folder / "tasks").iterdir()), "the folders stay")
    kept = list((folder / "ended").iterdir())
    assert [(path / "scratch" / "work" / "evidence").exists() for path in kept] == [True]
