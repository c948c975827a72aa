"""What users do while the platform is attacked, and an independent witness of every process that ran.

Each task writes to the witness file that it began and ended, and holds a lock of its own task meanwhile: a second
process of the same task finds it taken. Neither asks the platform anything.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.log.ids import derived_id
from events.log.topics import CONTEXTS
from forgelog.client.aio import AsyncClient
from forgelog.errors import ForgelogError, Refused
from tests.chaos.arena import Arena

SCRIPT = """
exec 9>>"$WITNESS/$FORGELOG_JOB.$FORGELOG_TASK.lock"
flock -n 9 || echo "overlap $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
echo "start $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
sleep $2
echo "end $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
[ "$FORGELOG_ATTEMPT" -gt "$1" ]
"""
"""``sh -c SCRIPT sh FAILURES SECONDS``: fails in its first FAILURES attempts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job and how it must end, whatever happens to the platform."""

    job: str
    ends: tuple[str, ...]
    """Event names, one of which must be its last: a cancel may come too late."""
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
    wanted: list[Wanted] = field(default_factory=list)
    commands: dict[str, int] = field(default_factory=dict)
    """Id of each command published to Kafka directly → how often, once Kafka said so."""
    answers: list[Answer] = field(default_factory=list)
    poison: int = 0
    """Records that are no commands."""

    # Publishing, as a program in any language would

    async def publish(
        self, name: str, body: dict[str, Any], *, key: str, id: str, context: str = "jobs", times: int = 1
    ) -> None:
        """Publish until Kafka has said `times` that it has it. Tries that failed may be in the log as well."""
        headers = [("ce_id", id.encode()), ("ce_type", f"forgelog.{context}.v1.{name}".encode())]
        await self._send(context, orjson.dumps(body), headers, key, times)
        self.commands[id] = self.commands.get(id, 0) + times

    async def _send(
        self, context: str, value: bytes, headers: list[tuple[str, bytes]], key: str, times: int = 1
    ) -> None:
        left = times
        while left:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.arena.settings.kafka_required, acks="all", request_timeout_ms=5000
            )
            try:
                await asyncio.wait_for(producer.start(), 10)
                while left:
                    sent = producer.send_and_wait(f"commands.{context}", value, key=key.encode(), headers=headers)
                    await asyncio.wait_for(sent, 10)
                    left -= 1
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(0.2)  # the broker is one of the victims
            finally:
                with suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(producer.stop(), 10)

    def spec(self, name: str, *, failures: int = 0, seconds: float = 0.05, **more: Any) -> dict[str, Any]:
        environment = {"variables": {"WITNESS": str(self.witness)}}
        return {
            "metadata": {"name": name},
            "command": "sh",
            "args": ["-c", SCRIPT, "sh", str(failures), str(seconds)],
            "environment": environment,
            "resources": {"cpus": 0.25, "memory_bytes": 8 << 20},
            **more,
        }

    async def submit(self, spec: dict[str, Any], **wanted: Any) -> str:
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
        ]
        self.random.shuffle(users)
        await asyncio.gather(*(self._later(user) for user in users))

    async def _later(self, user: Callable[[], Any]) -> None:
        await asyncio.sleep(self.random.uniform(0, 2))
        await user()

    async def singles(self) -> None:
        for number in range(self.random.randint(2, 5)):
            seconds = self.random.choice([0.0, 0.05, 0.5, 2.0])
            await self.submit(self.spec(f"single-{number}", seconds=seconds), ends=("JobCompleted",))

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
        for context in CONTEXTS:
            garbage: list[tuple[bytes, list[tuple[str, bytes]]]] = [
                (b"{", [("ce_id", self.new_id().encode()), ("ce_type", b"forgelog.jobs.v1.SubmitJob")]),
                (b"\xff\xfe", [("ce_id", self.new_id().encode()), ("ce_type", b"forgelog.nowhere.v9.Nothing")]),
                (b"", []),
                (b"{}", [("ce_id", b"\xff\xff"), ("ce_type", b"\xff")]),
            ]
            value, headers = self.random.choice(garbage)
            await self._send(context, value, headers, key=self.new_id())
            self.poison += 1

    async def waiting(self) -> None:
        """Clients at the gateway that wait for their answer, and say what they were told."""
        async with AsyncClient(self.arena.gateway, timeout=60) as client:
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
