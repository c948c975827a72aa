"""What users do while the platform is attacked, and an independent witness of every process that ran.

Each task writes to the witness file that it began and ended, and holds a lock of its own task meanwhile: a second
process of the same task finds it taken. Neither asks the platform anything.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.log.access import client_options
from events.log.envelope import Position
from events.log.ids import derived_id
from events.log.partitioner import partition_of
from events.log.topics import CONTEXTS
from forgelog.client.aio import AsyncClient
from forgelog.errors import ForgelogError, Refused
from tests.chaos.arena import Arena
from tests.chaos.hostile import HARMS, WITNESSED
from tests.chaos.poison import Poison, poisons

SCRIPT = """
exec 9>>"$WITNESS/$FORGELOG_JOB.$FORGELOG_TASK.lock"
flock -n 9 || echo "overlap $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
echo "start $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
[ -z "$PRINT" ] || seq 1 "$PRINT"
sleep $2
echo "end $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
[ "$FORGELOG_ATTEMPT" -gt "$1" ]
"""
"""``sh -c SCRIPT sh FAILURES SECONDS``: fails in its first FAILURES attempts. Prints numbers up to PRINT."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job and how it must end, with any faults of the platform."""

    job: str
    ends: tuple[str, ...]
    """Event names; its last event must be one of them: a cancel may come too late."""
    tasks: int = 1
    restarts: int = 0
    """Counted restarts that its policy allows each task."""


@dataclass(slots=True)
class Answer:
    """What a client that waited was told."""

    command: str
    job: str
    told: str
    """``accepted``, ``refused`` or ``unknown`` (an error that says so)."""
    text: str = ""


@dataclass
class Workload:
    """One round's users. `random` decides everything, so that a seed repeats it."""

    arena: Arena
    witness: Path
    random: random.Random
    others: Sequence[Callable[[Workload], Awaitable[None]]] = ()
    """Users beside its own."""
    wanted: list[Wanted] = field(default_factory=list)
    commands: dict[str, int] = field(default_factory=dict)
    """Id of each command published to Kafka directly → how often, once Kafka said so."""
    answers: list[Answer] = field(default_factory=list)
    poisoned: dict[str, Poison] = field(default_factory=dict)
    """Position of each record that is no good command."""
    printed: dict[str, int] = field(default_factory=dict)
    """Job that prints → the number up to which it does."""
    cut_short: set[str] = field(default_factory=set)
    """Jobs of whose output an operator passed over a part."""
    runs: set[str] = field(default_factory=set)
    """Runs that programs have begun; the platform ends those that their programs leave."""
    deployments: set[str] = field(default_factory=set)
    """Deployments that users have begun, each of which they end."""
    working: list[asyncio.Task[None]] = field(default_factory=list)
    """Users that an attack called in."""
    busy: set[str] = field(default_factory=set)
    """Names of the others that have begun and are not done."""

    # Publishing, as a program in any language would

    async def publish(
        self, name: str, body: dict[str, Any], *, key: str, id: str, context: str = "jobs", times: int = 1
    ) -> None:
        """Publish until Kafka has said `times` that it has it. Tries that failed may be in the log as well."""
        headers = [("ce_id", id.encode()), ("ce_type", f"forgelog.{context}.v1.{name}".encode())]
        await self._send(context, orjson.dumps(body), headers, key, times=times)
        self.commands[id] = self.commands.get(id, 0) + times

    async def _send(
        self,
        context: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        key: str,
        *,
        times: int = 1,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        packed: str | None = None,
    ) -> str:
        """The position where the last of them lies."""
        left = times
        at = ""
        while left:
            producer = AIOKafkaProducer(
                **client_options(self.arena.settings),
                acks="all",
                request_timeout_ms=5000,
                max_request_size=8 << 20,
                compression_type=packed,
            )
            try:
                await asyncio.wait_for(producer.start(), 10)
                while left:
                    sent = producer.send_and_wait(
                        f"commands.{context}",
                        value,
                        key=key.encode(),
                        headers=headers,
                        partition=partition,
                        timestamp_ms=timestamp_ms,
                    )
                    stored = await asyncio.wait_for(sent, 10)
                    at = str(Position(stored.topic, stored.partition, stored.offset))
                    left -= 1
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(0.2)  # the broker is one of the victims
            finally:
                with suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(producer.stop(), 10)
        return at

    def spec(
        self, name: str, *, failures: int = 0, seconds: float = 0.05, lines: int = 0, **more: Any
    ) -> dict[str, Any]:
        environment = {"variables": {"WITNESS": str(self.witness), **({"PRINT": str(lines)} if lines else {})}}
        return {
            "metadata": {"name": name},
            "command": "sh",
            "args": ["-c", SCRIPT, "sh", str(failures), str(seconds)],
            "environment": environment,
            "resources": {"cpus": 0.25, "memory_bytes": 8 << 20},
            **more,
        }

    async def submit(self, spec: dict[str, Any], *, partition: int | None = None, **wanted: Any) -> str:
        """`partition`: of the topics of jobs; any when left out."""
        id = self.new_id()
        while partition not in (None, partition_of(derived_id("j", id), self.arena.settings.partitions)):
            id = self.new_id()
        job = derived_id("j", id)
        self.wanted.append(Wanted(job, **wanted))
        await self.publish("SubmitJob", {"job_id": job, "spec": spec}, key=job, id=id)
        return job

    def new_id(self) -> str:
        return uuid.UUID(int=self.random.getrandbits(128), version=4).hex

    # The round

    async def run(self) -> None:
        """All users at once."""
        users: list[Callable[[], Any]] = [
            *(partial(user, self) for user in self.others),
            self.singles,
            self.array,
            self.flaky,
            self.hopeless,
            self.chain,
            self.cancelled,
            self.hasty,
            self.repeated,
            self.poisoner,
            self.waiting,
            self.tracked,
        ]
        self.random.shuffle(users)
        await asyncio.gather(*(self._later(user) for user in users))

    async def _later(self, user: Callable[[], Any]) -> None:
        await asyncio.sleep(self.random.uniform(0, 2))
        name = getattr(user, "func", user).__name__
        self.busy.add(name)
        await user()
        self.busy.discard(name)

    async def singles(self) -> None:
        for number in range(self.random.randint(2, 5)):
            seconds = self.random.choice([0.0, 0.05, 0.5, 2.0])
            await self.submit(self.spec(f"single-{number}", seconds=seconds), ends=("JobCompleted",))

    async def tracked(self) -> None:
        """Runs of jobs: begun before their job is known, and while it runs; one in two is ended by its program."""
        for number in range(4):
            id = self.new_id()
            job = derived_id("j", id)
            if number % 2:
                await self.begin_run(job)
            self.wanted.append(Wanted(job, ("JobCompleted",)))
            body = {"job_id": job, "spec": self.spec("tracked", seconds=0.3)}
            await self.publish("SubmitJob", body, key=job, id=id)
            run = await self.begin_run(job)
            params = {"run_id": run, "params": {"learning_rate": "0.1"}, "tags": {"kind": "chaos"}}
            await self.publish("LogRunData", params, key=run, id=self.new_id(), context="experiments")
            if number < 2:
                await self.publish("EndRun", {"run_id": run}, key=run, id=self.new_id(), context="experiments", times=2)

    async def begin_run(self, job: str) -> str:
        """A run that is a process of this job."""
        id = self.new_id()
        run = derived_id("r", id)
        body = {"run_id": run, "process": {"job_id": job}, "experiment": "chaos"}
        await self.publish("CreateRun", body, key=run, id=id, context="experiments")
        self.runs.add(run)
        return run

    async def array(self) -> None:
        size = self.random.randint(4, 12)
        spec = self.spec("array", seconds=0.2, array={"size": size, "max_parallel": 4})
        await self.submit(spec, ends=("JobCompleted",), tasks=size)

    async def flaky(self) -> None:
        """Fails at first, and its policy allows another try."""
        restart = {"mode": "on_failure", "max_restarts": 2, "backoff_seconds": 0.2}
        spec = self.spec("flaky", failures=1, scheduling={"restart": restart})
        # A lost attempt is not counted, and a failing attempt may be the lost one: so one of two ends in fewer tries.
        await self.submit(spec, ends=("JobCompleted",), restarts=2)

    async def hopeless(self) -> None:
        restart = {"mode": "on_failure", "max_restarts": 1, "backoff_seconds": 0.1}
        spec = self.spec("hopeless", failures=1000, scheduling={"restart": restart})
        await self.submit(spec, ends=("JobFailed",), restarts=1)

    async def chain(self) -> None:
        first = await self.submit(self.spec("first", seconds=0.5), ends=("JobCompleted",))
        spec = self.spec("second", depends_on=[{"job_id": first, "kind": "after_ok"}])
        await self.submit(spec, ends=("JobCompleted",))

    async def cancelled(self) -> None:
        job = await self.submit(self.spec("long", seconds=600), ends=("JobCancelled",))
        await asyncio.sleep(self.random.uniform(0, 4))
        await self.publish("CancelJob", {"job_id": job, "reason": "chaos"}, key=job, id=self.new_id())

    async def hasty(self) -> None:
        """A cancel that overtook its submit is refused; the submit stands."""
        id = self.new_id()
        job = derived_id("j", id)
        await self.publish("CancelJob", {"job_id": job}, key=job, id=self.new_id())
        self.wanted.append(Wanted(job, ("JobCompleted",)))
        await self.publish("SubmitJob", {"job_id": job, "spec": self.spec("hasty")}, key=job, id=id)

    async def repeated(self) -> None:
        """A producer that says everything two or three times, the last time late."""
        id = self.new_id()
        job = derived_id("j", id)
        self.wanted.append(Wanted(job, ("JobCompleted",)))
        body = {"job_id": job, "spec": self.spec("repeated", seconds=0.3)}
        await self.publish("SubmitJob", body, key=job, id=id, times=self.random.randint(2, 3))
        await asyncio.sleep(self.random.uniform(0, 3))
        await self.publish("SubmitJob", body, key=job, id=id)

    async def poisoner(self) -> None:
        """Records that are no commands, to every context."""
        await self.poison(1)

    # What attacks call for

    async def poison(self, each: int) -> int:
        """So many poisoned records for each context; how many in all."""
        for context in CONTEXTS:
            for poison in self.random.sample(poisons(context, self.new_id), each):
                at = await self._send(
                    context,
                    poison.value,
                    poison.headers,
                    self.new_id(),
                    timestamp_ms=poison.timestamp_ms,
                    packed=poison.packed,
                )
                self.poisoned[at] = poison
        return each * len(CONTEXTS)

    async def pump(self, jobs: int = 3, pause: float = 0.0, partition: int | None = None) -> None:
        """Quick jobs, one after the other, and an array that takes more than a node; of one partition, or of all."""
        for _ in range(jobs):
            job = await self.submit(self.spec("pumped"), partition=partition, ends=("JobCompleted",))
            if partition is None:
                await self.begin_run(job)
            await asyncio.sleep(pause)
        if not pause:
            spec = self.spec("pumped array", array={"size": 10})
            await self.submit(spec, partition=partition, ends=("JobCompleted",), tasks=10)

    async def hostile(self) -> list[str]:
        """Tasks that harm their warden, their notes and their folder, some with a policy; their jobs."""
        jobs = []
        for harm in HARMS:
            restarts = self.random.choice([0, 0, 1])
            restart = {"mode": "on_failure" if restarts else "never", "max_restarts": restarts, "backoff_seconds": 0.2}
            spec = self.spec(harm.name, scheduling={"restart": restart, "grace_seconds": 0.5})
            spec["args"] = ["-c", WITNESSED + harm.script]
            jobs.append(await self.submit(spec, ends=harm.ends, restarts=restarts))
        return jobs

    async def print_much(self, jobs: int) -> None:
        """Jobs that each print megabytes at once."""
        await self.print(jobs, (200_000, 400_000, 800_000))

    async def print(self, jobs: int, sizes: Sequence[int]) -> None:
        """Jobs that each print so many lines at once."""
        for _ in range(jobs):
            lines = self.random.choice(sizes)
            job = await self.submit(self.spec("printer", lines=lines), ends=("JobCompleted",))
            self.printed[job] = lines

    async def unruly(self) -> int:
        """Commands that come late, again, in another order and in any partition; how many records."""
        records: list[tuple[str, dict[str, Any], str, str]] = []
        for number in range(8):
            id = self.new_id()
            job = derived_id("j", id)
            records.append(("SubmitJob", {"job_id": job, "spec": self.spec("unruly", seconds=0.2)}, job, id))
            ends: tuple[str, ...] = ("JobCompleted",)
            if number < 3:
                records.append(("CancelJob", {"job_id": job, "reason": "unruly"}, job, self.new_id()))
                ends = ("JobCompleted", "JobCancelled")  # as the cancel comes first, amid or last
            self.wanted.append(Wanted(job, ends))
        copies = [record for record in records for _ in range(self.random.randint(1, 3))]
        self.random.shuffle(copies)
        held = copies[: len(copies) // 3]

        async def send(batch: list[tuple[str, dict[str, Any], str, str]], wait: float) -> None:
            await asyncio.sleep(wait)
            for name, body, key, id in batch:
                headers = [("ce_id", id.encode()), ("ce_type", f"forgelog.jobs.v1.{name}".encode())]
                partition = self.random.choice([None, 0, 1, 2, 3])
                await self._send("jobs", orjson.dumps(body), headers, key, partition=partition)
                self.commands[id] = self.commands.get(id, 0) + 1

        rest = copies[len(held) :]
        await asyncio.gather(send(rest[::2], 0), send(rest[1::2], 0.3), send(held, self.random.uniform(1, 4)))
        return len(copies)

    async def interrupted(self, number: signal.Signals, seconds: float) -> None:
        """A producer, a process of its own, that is stopped amid its sends; one that was killed says all again."""
        records = []
        for _ in range(30):
            id = self.new_id()
            job = derived_id("j", id)
            self.wanted.append(Wanted(job, ("JobCompleted",)))
            body = orjson.dumps({"job_id": job, "spec": self.spec("interrupted")}).decode()
            records.append({"id": id, "type": "forgelog.jobs.v1.SubmitJob", "key": job, "value": body})
        stops = self.random.randint(1, 25)
        done = 0
        while done < len(records):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.sender", "commands.jobs"),
                env=self.arena.environment("sender"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"".join(orjson.dumps(record) + b"\n" for record in records))
            process.stdin.write_eof()
            done = 0
            while await process.stdout.readline():
                done += 1
                if done == stops:
                    stops = 0
                    process.send_signal(number)
                    if number is signal.SIGSTOP:
                        await asyncio.sleep(seconds)
                        process.send_signal(signal.SIGCONT)
            await process.wait()
        for record in records:
            self.commands[record["id"]] = self.commands.get(record["id"], 0) + 1

    async def waiting(self) -> None:
        """Clients at the gateway that wait for their answer, and say what they were told."""
        async with AsyncClient(self.arena.gateway, token=self.arena.platform.key, timeout=60) as client:
            for _ in range(self.random.randint(2, 4)):
                id = self.new_id()
                job = derived_id("j", id)
                command = ("forgelog.jobs.v1.SubmitJob", {"job_id": job, "spec": self.spec("waited")})
                try:
                    outcome = await client.publish(command, id=id)
                except Refused as error:
                    self.answers.append(Answer(id, job, "refused", str(error)))
                except ForgelogError as error:
                    self.answers.append(Answer(id, job, "unknown", str(error)))
                else:
                    self.answers.append(Answer(id, job, "accepted", str(outcome["result"])))
                    self.wanted.append(Wanted(job, ("JobCompleted",)))
                await asyncio.sleep(self.random.uniform(0, 0.5))
