"""What must hold after every round, told from the log and the witness; never from the platform's word.

Each check yields sentences about what does not hold.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from events.language.common import CommandNoted, CommandRejected
from events.language.deployments.enums import DeploymentStatus
from events.language.deployments.events import DeploymentStatusChanged
from events.language.deployments.steering import ReportDemand, ReportTraffic, ReportUsage
from events.language.experiments import RunEnded, RunNotAdmitted
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobExited,
    JobFailed,
    JobQueued,
    JobStarted,
    JobSubmitted,
)
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    HeartbeatNode,
    NodeRegistered,
    total,
)
from events.language.task_ranges import tasks_in
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.envelope import Recorded
from events.log.positions import ReaderPosition
from events.log.reading import read_to_end
from events.log.tail import Tail
from events.log.topics import CONTEXTS, commands, deadletter
from events.log.wire import Cause, Raw
from tests.chaos.arena import Arena
from tests.chaos.workload import Workload

ENDS = (JobCompleted, JobFailed, JobCancelled)
QUIET = {kind.type_name() for kind in (HeartbeatNode, ReportDemand, ReportTraffic, ReportUsage)}
"""Commands that leave no trace where they change nothing."""
SERVICE = "dep."
"""How the ids of jobs begin that are replicas of deployments: their processes tell the witness of no end."""


@dataclass
class Log:
    """The whole valid history, read on from round to round."""

    records: list[Recorded] = field(default_factory=list)
    causes: list[tuple[Recorded, Cause]] = field(default_factory=list)
    positions: dict[tuple[str, int], ReaderPosition] = field(default_factory=dict)
    commands: dict[str, Raw] = field(default_factory=dict)
    """Every record of the command topics, by position."""
    letters: dict[str, Raw] = field(default_factory=dict)
    """Every dead letter, by its origin."""
    _at: dict[TopicPartition, int] = field(default_factory=dict)

    async def read(self, arena: Arena) -> None:
        """Up to what is the end now. After an error the next call goes on where this one stood."""
        settings = arena.settings
        async with Tail(settings, CONTEXTS, start=self.positions) as tail:
            ends = await tail.ends()
            while any(tail.positions[place].offset < end for place, end in ends.items()):
                for raw in await tail.poll_raw(5.0):
                    if raw.is_marker:
                        continue
                    recorded = raw.decode()
                    self.records.append(recorded)
                    if (cause := raw.cause) is not None:
                        self.causes.append((recorded, cause))
                self.positions = dict(tail.positions)
        async with connected(new_consumer(settings, **HASTY)) as consumer:
            names = [name(context) for context in CONTEXTS for name in (commands, deadletter)]
            places = [TopicPartition(name, number) for name in names for number in range(settings.partitions)]
            async for place, records in read_to_end(consumer, {place: self._at.get(place, 0) for place in places}):
                for raw in records:
                    if place.topic.startswith("commands."):
                        self.commands[str(raw.position)] = raw
                    else:
                        self.letters[raw.text("fl_position")] = raw
                self._at[place] = records[-1].offset + 1

    def of(self, *kinds: type) -> Iterator[Recorded]:
        return (record for record in self.records if isinstance(record.data, kinds))

    def ended(self, jobs: Iterable[str]) -> set[str]:
        """Of these jobs, those that have not ended."""
        return set(jobs) - {record.data.job_id for record in self.of(*ENDS)}  # type: ignore[attr-defined]


async def settled(arena: Arena, log: Log, load: Workload, seconds: float) -> list[str]:
    """Wait until every job that was accepted has ended, with its runs, and every resource is free again."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(KafkaError, OSError):
                    await log.read(arena)
                accepted = {record.data.job_id for record in log.of(JobSubmitted)}  # type: ignore[attr-defined]
                open_ = log.ended(accepted | {wanted.job for wanted in load.wanted})
                if not open_ and not live_allocations(log) and not living_runs(log, load) and not serving(log, load):
                    return []
                await asyncio.sleep(0.2)
    except TimeoutError:
        return [
            *(f"job {job} has not ended {seconds:.0f} s after the attack: {story(log, job)}" for job in sorted(open_)),
            *(f"allocation {id} is not released" for id in live_allocations(log)),
            *(f"run {id} has not ended: {story_of_run(log, id)}" for id in living_runs(log, load)),
            *(f"deployment {id} has not ended" for id in serving(log, load)),
        ]


def story(log: Log, job: str) -> str:
    """A job's events in order, in short."""
    return _story(record for record in log.records if getattr(record.data, "job_id", None) == job)


def story_of_run(log: Log, run: str) -> str:
    """A run's events in order, in short, and those of its job."""
    own = [record for record in log.records if getattr(record.data, "run_id", None) == run]
    process = next((found for record in own if (found := getattr(record.data, "process", None))), None)
    return _story(own) + (f"; its job: {story(log, process.job_id)}" if process is not None else "")


def _story(records: Iterable[Recorded]) -> str:
    return ", ".join(f"{type(record.data).__name__}@{record.position}" for record in records)


def outcomes(log: Log, load: Workload) -> Iterator[str]:
    """Each command has exactly one outcome, whole; a repeat is noted or refused."""
    parts: dict[str, list[int]] = defaultdict(list)
    sizes: dict[str, int] = {}
    decided: dict[str, set[str]] = defaultdict(set)
    for recorded, cause in log.causes:
        if not cause.position.topic.startswith("commands."):
            # An event may concern several keys: one unit for each partition of the context that it concerned.
            place = f"{cause.position} in {recorded.position.topic}/{recorded.position.partition}"
        else:
            place = str(cause.position)
            if isinstance(recorded.data, CommandNoted):
                repeat = recorded.data.repeat
            elif isinstance(recorded.data, CommandRejected):
                repeat = place not in log.commands or log.commands[place].get("ce_id") is None
            else:
                repeat = False
            if isinstance(recorded.data, CommandRejected) and place in load.poisoned:
                repeat = True  # what can't be read is refused as often as it comes
            if not repeat and recorded.meta.causation:
                decided[recorded.meta.causation].add(place)
        parts[place].append(cause.part)
        sizes[place] = cause.parts
    for place, found in parts.items():
        if sorted(found) != list(range(sizes[place])):
            yield f"the records of {place} are parts {sorted(found)} of {sizes[place]}"
    for id, places in decided.items():
        if len(places) > 1:
            yield f"command {id} was decided more than once: at {sorted(places)}"
    forwarded = {raw.get("fl_forwarded") for raw in log.commands.values()}
    for place, raw in log.commands.items():
        if place in parts or (raw.get("ce_type") or b"").decode("utf-8", "replace") in QUIET:
            continue
        if place in log.letters:
            continue  # with nobody to answer
        if place.encode() in forwarded:
            continue  # decided where it was sent on to
        yield f"command {raw.get('ce_id')!r} at {place} has no outcome"
    stored = Counter(raw.get("ce_id") for raw in log.commands.values())
    for id, times in load.commands.items():
        if stored[id.encode()] < times:
            yield f"Kafka took command {id} {times} times and has it {stored[id.encode()]} times"


def lives(log: Log, load: Workload, disk_was_full: bool) -> Iterator[str]:
    """Each job came to the end it had to come to, with just the restarts its policy allows."""
    last: dict[str, str] = {}
    counted: Counter[tuple[str, int]] = Counter()
    uncounted: Counter[tuple[str, int]] = Counter()
    interruptions: Counter[tuple[str, int]] = Counter()
    failures: Counter[tuple[str, int]] = Counter()
    spawn_failed: set[str] = set()
    exits: dict[tuple[str, int, int], ExitReason] = {}
    for recorded in log.records:
        event = recorded.data
        if isinstance(event, ENDS):
            if event.job_id in last:
                yield f"job {event.job_id} ended twice: {last[event.job_id]}, {type(event).__name__}"
            last[event.job_id] = type(event).__name__
        elif isinstance(event, JobQueued) and event.attempt > 1:
            (counted if event.counted else uncounted).update((event.job_id, task) for task in tasks_in(event.tasks))
        elif isinstance(event, JobExited):
            for exit in event.tasks:
                key = (event.job_id, exit.task, exit.attempt)
                if key in exits:
                    yield f"attempt {key} exited twice: {exits[key]}, {exit.reason}"
                exits[key] = exit.reason
                if exit.reason is ExitReason.SPAWN_FAILED:
                    spawn_failed.add(event.job_id)
                if (exit.reason is ExitReason.EXITED and exit.exit_code) or exit.reason is ExitReason.UNTRACKED:
                    failures[(event.job_id, exit.task)] += 1
                elif exit.reason in (ExitReason.LOST, ExitReason.STOPPED):
                    interruptions[(event.job_id, exit.task)] += 1
    for wanted in load.wanted:
        end = last.get(wanted.job)
        excused = disk_was_full and wanted.job in spawn_failed and end == "JobFailed"
        if end is not None and end not in wanted.ends and not excused:
            yield f"job {wanted.job} ended as {end}, not as {' or '.join(wanted.ends)}: {story(log, wanted.job)}"
        for task in range(wanted.tasks):
            key2 = (wanted.job, task)
            if counted[key2] > wanted.restarts:
                yield f"task {task} of {wanted.job} was restarted {counted[key2]} times; {wanted.restarts} are allowed"
            if uncounted[key2] > interruptions[key2]:
                again = f"{uncounted[key2]} times for {interruptions[key2]} interruptions"
                yield f"task {task} of {wanted.job} ran again {again}"
            if end == "JobFailed" and not excused and failures[key2] != wanted.restarts + 1:
                yield f"task {task} of {wanted.job} failed for good after {failures[key2]} failures"


def processes(log: Log, witness: Path) -> Iterator[str]:
    """No attempt ran twice, no two processes of a task ran at once, and what the log says ran to its end did."""
    said = witness / "said"
    lines = [line.split() for line in said.read_text().splitlines()] if said.exists() else []
    starts = Counter(tuple(words[1:]) for words in lines if words[0] == "start")
    ends = {tuple(words[1:]) for words in lines if words[0] == "end"}
    for words in lines:
        if words[0] == "overlap":
            yield f"attempt {words[3]} of task {words[2]} of {words[1]} ran beside an earlier one"
    exited = {
        (record.data.job_id, str(task.task), str(task.attempt))  # type: ignore[attr-defined]
        for record in log.of(JobExited)
        for task in record.data.tasks  # type: ignore[attr-defined]
        if task.reason is ExitReason.EXITED
    }
    bound = {
        (record.data.job_id, str(task), str(record.data.attempt))  # type: ignore[attr-defined]
        for record in log.of(AllocationBound)
        for task in tasks_in(record.data.tasks)  # type: ignore[attr-defined]
    }
    told = {
        (record.data.job_id, str(task.task), str(task.attempt))  # type: ignore[attr-defined]
        for record in log.of(JobStarted, JobExited)
        for task in record.data.tasks  # type: ignore[attr-defined]
    }
    cancelled = {record.data.job_id for record in log.of(JobCancelRequested, JobCancelled)}  # type: ignore[attr-defined]
    for key in set(starts) - bound:
        yield f"{key} was started; the log never ordered it"
    for key in set(starts) - told:
        if key[0] not in cancelled:
            yield f"{key} was started; the log never heard of it"
    for key, times in starts.items():
        if times > 1:
            yield f"attempt {key} was started {times} times"
    for key in exited - set(starts):
        yield f"the log says that {key} ran to its end; no process was seen"
    for key in exited - ends:
        if key in starts and not key[0].startswith(SERVICE):
            yield f"the log says that {key} ran to its end; its process did not say so"


def living_runs(log: Log, load: Workload) -> list[str]:
    """Runs of the users that have not ended, or are not known."""
    return sorted(load.runs - {record.data.run_id for record in log.of(RunEnded, RunNotAdmitted)})  # type: ignore[attr-defined]


def serving(log: Log, load: Workload) -> list[str]:
    """Deployments of the users that have not ended, or are not known."""
    ended = {
        record.data.deployment_id  # type: ignore[attr-defined]
        for record in log.of(DeploymentStatusChanged)
        if record.data.status is DeploymentStatus.TERMINATED  # type: ignore[attr-defined]
    }
    return sorted(load.deployments - ended)


def live_allocations(log: Log) -> list[str]:
    """Allocations that hold something."""
    live: dict[str, None] = {}
    for record in log.of(AllocationBound, AllocationReleased):
        event = record.data
        if isinstance(event, AllocationBound):
            live[event.allocation_id] = None
        elif isinstance(event, AllocationReleased) and event.rest is None:
            live.pop(event.allocation_id, None)
    return list(live)


def allocations(log: Log) -> Iterator[str]:
    """At no moment was more of a node taken than it has."""
    capacity: dict[str, tuple[float, int]] = {}
    held: dict[str, tuple[str, float, int]] = {}
    size: dict[str, AllocationBound] = {}
    for recorded in log.records:
        event = recorded.data
        if isinstance(event, NodeRegistered):
            capacity[event.node_id] = (event.spec.capacity.cpus, event.spec.capacity.memory_bytes)
        elif isinstance(event, AllocationBound):
            if event.allocation_id in size:
                yield f"allocation {event.allocation_id} was bound twice"
            size[event.allocation_id] = event
            whole = total(event.resources, sum(1 for _ in tasks_in(event.tasks)))
            held[event.allocation_id] = (event.node_id, whole.cpus, whole.memory_bytes)
            node = event.node_id
            cpus = sum(cpus for where, cpus, _ in held.values() if where == node)
            memory = sum(memory for where, _, memory in held.values() if where == node)
            most = capacity.get(node, (float("inf"), 1 << 62))
            if cpus > most[0] + 1e-6 or memory > most[1]:
                yield f"{recorded.position}: node {node} has {most}, {cpus} CPUs and {memory} bytes are allocated"
        elif isinstance(event, AllocationReleased):
            if event.rest is None:
                held.pop(event.allocation_id, None)
            elif event.allocation_id in held:
                node = held[event.allocation_id][0]
                left = total(size[event.allocation_id].resources, sum(1 for _ in tasks_in(event.rest)))
                held[event.allocation_id] = (node, left.cpus, left.memory_bytes)


def answers(log: Log, load: Workload) -> Iterator[str]:
    """A client that waited got its answer or a clear error, never a wrong one."""
    submitted = {record.data.job_id for record in log.of(JobSubmitted)}  # type: ignore[attr-defined]
    refused = {record.data.command_id for record in log.of(CommandRejected)}  # type: ignore[attr-defined]
    for answer in load.answers:
        if answer.told == "accepted" and answer.job not in submitted:
            yield f"a client was told that {answer.command} was accepted; the log has no such job"
        if answer.told == "refused" and answer.command not in refused and answer.job in submitted:
            yield f"a client was told that {answer.command} was refused ({answer.text}); the log accepted it"
        if answer.told == "unknown" and not answer.text:
            yield f"a client got an error without words for {answer.command}"


def dead_letters(log: Log, load: Workload) -> Iterator[str]:
    """What was no command is kept, with its reason."""
    for origin, letter in log.letters.items():
        if not letter.get("fl_reason"):
            yield f"dead letter {origin} has no reason"
    answered = {str(cause.position) for recorded, cause in log.causes if isinstance(recorded.data, CommandRejected)}
    sent_on = {place: raw.get("fl_forwarded") for place, raw in log.commands.items()}
    answered |= {origin.decode() for place, origin in sent_on.items() if origin is not None and place in answered}
    for origin, poison in load.poisoned.items():
        if poison.dead and origin not in log.letters:
            yield f"{poison.name} at {origin} is not among the dead letters"
        if poison.answered and origin not in answered:
            yield f"{poison.name} at {origin} was not refused"
