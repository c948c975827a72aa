"""Tells the log what happened to attempts: started, exited, resources free, files kept. Repeats each report
until it is answered.

Reports that come up while others are under way are sent together: one command per job, one for the pool. A command's
id follows from its body, so a repeat - also by a restarted agent - is the same command. A refusal means that the
other side knows better (the job is gone, the attempt is over): it is logged, and the report counts as settled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aiokafka.errors import KafkaError
from blake3 import blake3

from events.language.base import Command
from events.language.common import DEFAULT_PROJECT, NODE_ACTOR, ErrorCode
from events.language.jobs import ReportJobExited, ReportJobOutputs, ReportJobStarted, ReportTaskReadiness
from events.language.resources import EndedTasks, ReportAllocationsEnded
from events.language.task_ranges import format_ranges
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Outgoing, Publisher
from events.log.wire import value_of
from services.resources.agent.attempts import Attempt

log = logging.getLogger("forgelog.agent.reports")

TASKS = 400
"""Most tasks in one command: with the longest messages it stays below the log's limit."""
PATIENCE = 5.0
"""Seconds to wait for an answer before the command is published again; twice as long after each time, at most
`LONGEST_PATIENCE`: repeats must not add to what keeps the answer away."""
LONGEST_PATIENCE = 60.0
TRIES = 5
"""How often a command is sent anew that failed by a defect on the other side (`internal`, `aborted`)."""

STARTED, READINESS, EXITED, FREED, KEPT = "started", "readiness", "exited", "freed", "kept"

Settled = Callable[[Attempt, str], None]


@dataclass(slots=True)
class Report:
    """One command and the attempts it speaks of."""

    kind: str
    command: Command
    attempts: Sequence[Attempt]
    tries: int = 0
    patience: float = PATIENCE
    id: str = field(init=False)

    def __post_init__(self) -> None:
        body = type(self.command).type_name().encode() + b"\0" + value_of(self.command)
        self.id = f"agent-{blake3(body).hexdigest(12)}" + (f"-{self.tries}" if self.tries else "")


class Reports:
    """`settled` is called for each attempt and kind of report, once, when the log has answered."""

    def __init__(
        self, publisher: Publisher, outcomes: Outcomes, pool: str, node: str, instance: str, settled: Settled
    ) -> None:
        self._publisher = publisher
        self._outcomes = outcomes
        self._pool = pool
        self._node = node
        self._instance = instance
        self._settled = settled
        self._new: list[tuple[str, Attempt]] = []
        self._again: list[Report] = []
        """To be sent as they are."""
        self._some = asyncio.Event()
        self._open: dict[str, tuple[Report, asyncio.Future[Outcome], float]] = {}
        """By id: those that are not answered yet, and when they are published again (monotonic seconds)."""
        self._due = math.inf
        """When the first of them may be; nothing is due before it."""

    def add(self, kind: str, attempt: Attempt) -> None:
        """Report soon. Reports of a job are sent in the order they were added."""
        self._new.append((kind, attempt))
        self._some.set()

    async def run(self) -> None:
        """Send what is added, until cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._due - time.monotonic()) if self._open else None):
                        await self._some.wait()
                self._some.clear()
                new, self._new = self._new, []
                again, self._again = self._again, []
                await self._send([*self._commands(new), *again])
                if self._due <= time.monotonic():
                    await self._repeat()
        finally:
            for _, answer, _ in list(self._open.values()):
                answer.cancel()

    def _commands(self, new: Sequence[tuple[str, Attempt]]) -> Iterable[Report]:
        for kind in (STARTED, READINESS, EXITED, KEPT):
            by_job: dict[str, list[Attempt]] = {}
            for each, attempt in dict.fromkeys(new):
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
        elif kind == READINESS:
            told = tuple(attempt.readiness_report() for attempt in attempts)
            command = ReportTaskReadiness(job_id=job, node_id=self._node, tasks=told)
        elif kind == KEPT:
            outputs = tuple(attempt.outputs for attempt in attempts if attempt.outputs is not None)
            command = ReportJobOutputs(job_id=job, node_id=self._node, tasks=outputs)
        else:
            ends = tuple(attempt.end() for attempt in attempts)
            command = ReportJobExited(job_id=job, node_id=self._node, tasks=ends)
        return Report(kind, command, attempts, tries)

    def _of_pool(self, attempts: Sequence[Attempt], tries: int = 0) -> Report:
        by_allocation: dict[str, list[int]] = {}
        for attempt in attempts:
            by_allocation.setdefault(attempt.task.allocation_id, []).append(attempt.task.task)
        ended = tuple(EndedTasks(allocation_id=id, tasks=format_ranges(tasks)) for id, tasks in by_allocation.items())
        command = ReportAllocationsEnded(pool=self._pool, node_id=self._node, ended=ended, instance_id=self._instance)
        return Report(FREED, command, attempts, tries)

    async def _send(self, reports: list[Report]) -> None:
        for report in reports:
            # Expected before it is published: the answer may be there before Kafka's own.
            answer = self._outcomes.expect(report.id, bare=True)
            due = time.monotonic() + report.patience
            self._open[report.id] = report, answer, due
            self._due = min(self._due, due)
            answer.add_done_callback(partial(self._answered, report))
        if reports:
            await self._publish(reports)

    async def _repeat(self) -> None:
        """Publish again what has waited too long."""
        now = time.monotonic()
        late = [report for report, _, due in self._open.values() if due <= now]
        for report in late:
            log.info("no answer yet to %s (%s); publishing it again", type(report.command).__name__, report.id)
            report.patience = min(2 * report.patience, LONGEST_PATIENCE)
            self._open[report.id] = report, self._open[report.id][1], now + report.patience
        self._due = min((due for _, _, due in self._open.values()), default=math.inf)
        if late:
            await self._publish(late)

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
            actor=f"{NODE_ACTOR}{self._node}",
            correlation=task.correlation,
            causation=task.causation,
            traceparent=task.traceparent,
            source=f"agent/{self._node}",
        )

    def _answered(self, report: Report, answer: asyncio.Future[Outcome]) -> None:
        self._open.pop(report.id, None)
        if answer.cancelled():
            return
        if (error := answer.exception()) is not None:
            log.warning("the answer to %s can't be read: %s", report.id, error)
            self._send_soon([report])
            return
        rejected = answer.result().rejected
        if rejected is None:
            self._settle(report)
        elif len(report.attempts) > 1:
            # One attempt that isn't known must not speak for the others.
            self._send_soon([self._anew([attempt], report) for attempt in report.attempts])
        elif rejected.code in (ErrorCode.INTERNAL, ErrorCode.ABORTED) and report.tries < TRIES:
            wait = min(30.0, 0.5 * 2**report.tries)
            anew = self._anew(report.attempts, report, report.tries + 1)
            asyncio.get_running_loop().call_later(wait, self._send_soon, [anew])
        else:
            name = type(report.command).__name__
            log.warning("%s of %s: %s; dropped", name, report.attempts[0].key, rejected.message)
            if report.kind == KEPT:
                report.attempts[0].incomplete = True  # nobody else knows of its files, so its folders stay for a while
            self._settle(report)

    def _send_soon(self, reports: list[Report]) -> None:
        self._again += reports
        self._some.set()

    def _anew(self, attempts: Sequence[Attempt], report: Report, tries: int = 0) -> Report:
        if report.kind == FREED:
            return self._of_pool(attempts, tries)
        return self._of_job(report.kind, attempts, tries)

    def _settle(self, report: Report) -> None:
        for attempt in report.attempts:
            self._settled(attempt, report.kind)
