"""Tells the log what happened to attempts: started, exited, resources free. Repeats each report until it is answered.

Reports that come up while others are under way are sent together: one command per job, one for the pool. A command's
id follows from its body, so a repeat - also by a restarted agent - is the same command. A refusal means that the
other side knows better (the job is gone, the attempt is over): it is logged, and the report counts as settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError
from blake3 import blake3

from events.language.base import Command
from events.language.common import DEFAULT_PROJECT, ErrorCode, format_ranges
from events.language.jobs import ReportJobExited, ReportJobStarted
from events.language.resources import EndedTasks, ReportAllocationsEnded
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Outgoing, Publisher
from events.log.wire import Undecodable, value_of
from services.resources.agent.attempts import Attempt

log = logging.getLogger("forgelog.agent.reports")

TASKS = 400
"""Most tasks in one command: with the longest messages it stays below the log's limit."""
PATIENCE = 5.0
"""Seconds to wait for an answer before the command is published again."""
TRIES = 5
"""How often a command is sent anew that failed by a defect on the other side (`internal`, `aborted`)."""

STARTED, EXITED, FREED = "started", "exited", "freed"

Settled = Callable[[Attempt, str], None]


@dataclass(slots=True)
class Report:
    """One command and the attempts it speaks of."""

    kind: str
    command: Command
    attempts: Sequence[Attempt]
    tries: int = 0
    id: str = field(init=False)

    def __post_init__(self) -> None:
        body = type(self.command).type_name().encode() + b"\0" + value_of(self.command)
        self.id = f"agent-{blake3(body).hexdigest(12)}" + (f"-{self.tries}" if self.tries else "")


class Reports:
    """`settled` is called for each attempt and kind of report, once, when the log has answered."""

    def __init__(self, publisher: Publisher, outcomes: Outcomes, pool: str, node: str, settled: Settled) -> None:
        self._publisher = publisher
        self._outcomes = outcomes
        self._pool = pool
        self._node = node
        self._settled = settled
        self._new: list[tuple[str, Attempt]] = []
        self._some = asyncio.Event()
        self._waiting: set[asyncio.Task[None]] = set()

    def add(self, kind: str, attempt: Attempt) -> None:
        """Report soon. Reports of a job are sent in the order they were added."""
        self._new.append((kind, attempt))
        self._some.set()

    async def run(self) -> None:
        """Send what is added, until cancelled."""
        try:
            while True:
                await self._some.wait()
                self._some.clear()
                new, self._new = self._new, []
                await self._send(list(self._commands(new)))
        finally:
            for task in self._waiting:
                task.cancel()

    def _commands(self, new: Sequence[tuple[str, Attempt]]) -> Iterable[Report]:
        for kind in (STARTED, EXITED):
            by_job: dict[str, list[Attempt]] = {}
            for each, attempt in new:
                if each == kind:
                    by_job.setdefault(attempt.task.job_id, []).append(attempt)
            for attempts in by_job.values():
                for at in range(0, len(attempts), TASKS):
                    yield self._of_job(kind, attempts[at : at + TASKS])
        freed = [attempt for each, attempt in new if each == FREED]
        for at in range(0, len(freed), TASKS):
            yield self._of_pool(freed[at : at + TASKS])

    def _of_job(self, kind: str, attempts: Sequence[Attempt], tries: int = 0) -> Report:
        job = attempts[0].task.job_id
        command: Command
        if kind == STARTED:
            starts = tuple(attempt.start() for attempt in attempts)
            command = ReportJobStarted(job_id=job, node_id=self._node, tasks=starts)
        else:
            ends = tuple(attempt.end() for attempt in attempts)
            command = ReportJobExited(job_id=job, node_id=self._node, tasks=ends)
        return Report(kind, command, attempts, tries)

    def _of_pool(self, attempts: Sequence[Attempt], tries: int = 0) -> Report:
        by_allocation: dict[str, list[int]] = {}
        for attempt in attempts:
            by_allocation.setdefault(attempt.task.allocation_id, []).append(attempt.task.task)
        ended = tuple(EndedTasks(allocation_id=id, tasks=format_ranges(tasks)) for id, tasks in by_allocation.items())
        command = ReportAllocationsEnded(pool=self._pool, node_id=self._node, ended=ended)
        return Report(FREED, command, attempts, tries)

    async def _send(self, reports: list[Report]) -> None:
        for report in reports:
            # Expected before it is published: the answer may be there before Kafka's own.
            answer = self._outcomes.expect(report.id)
            waiting = asyncio.create_task(self._see_through(report, answer))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)
        await self._publish(reports)

    async def _publish(self, reports: Sequence[Report]) -> None:
        try:
            await self._publisher.publish_many([self._outgoing(report) for report in reports])
        except (KafkaError, OSError) as error:
            log.warning("reports could not be published (%s); they will be again", error or type(error).__name__)

    def _outgoing(self, report: Report) -> Outgoing:
        task = report.attempts[0].task
        return Outgoing(
            report.command,
            report.id,
            project=task.project if report.kind != FREED else DEFAULT_PROJECT,
            actor=f"node:{self._node}",
            correlation=task.correlation,
            causation=task.causation,
            traceparent=task.traceparent,
            source=f"agent/{self._node}",
        )

    async def _see_through(self, report: Report, answer: asyncio.Future[Outcome]) -> None:
        while True:
            try:
                outcome = await asyncio.wait_for(asyncio.shield(answer), PATIENCE)
            except TimeoutError:
                log.info("no answer yet to %s (%s); publishing it again", type(report.command).__name__, report.id)
                await self._publish([report])
                continue
            except (OSError, Undecodable) as error:
                log.warning("the answer to %s can't be read: %s", report.id, error)
                answer = self._outcomes.expect(report.id)
                await self._publish([report])
                continue
            break
        rejected = outcome.rejected
        if rejected is None:
            self._settle(report)
        elif len(report.attempts) > 1:
            # One attempt that isn't known must not speak for the others.
            again = [self._again([attempt], report) for attempt in report.attempts]
            await self._send(again)
        elif rejected.code in (ErrorCode.INTERNAL, ErrorCode.ABORTED) and report.tries < TRIES:
            await asyncio.sleep(min(30.0, 0.5 * 2**report.tries))
            await self._send([self._again(report.attempts, report, report.tries + 1)])
        else:
            name = type(report.command).__name__
            log.warning("%s of %s: %s; dropped", name, report.attempts[0].key, rejected.message)
            self._settle(report)

    def _again(self, attempts: Sequence[Attempt], report: Report, tries: int = 0) -> Report:
        if report.kind == FREED:
            return self._of_pool(attempts, tries)
        return self._of_job(report.kind, attempts, tries)

    def _settle(self, report: Report) -> None:
        for attempt in report.attempts:
            self._settled(attempt, report.kind)
