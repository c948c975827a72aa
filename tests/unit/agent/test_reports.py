"""What becomes of an attempt whose report the log refuses. The log is played by hand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from events.language.common import CommandRejected, ErrorCode
from events.language.jobs import ReportJobOutputs, ReportTaskReadiness, TaskOutputs
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Publisher
from services.resources.agent.attempts import Attempt, Readiness, Task
from services.resources.agent.reports import KEPT, READINESS, Reports


class Log:
    """Refuses what it is told."""

    async def publish_many(self, items: Any) -> None:
        assert items

    def expect(self, id: str, *, bare: bool) -> asyncio.Future[Outcome]:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        rejected = CommandRejected(
            command_id=id,
            command_type=ReportJobOutputs.type_name(),
            subject_id="j-1",
            code=ErrorCode.NOT_FOUND,
            message="there is no such attempt",
        )
        answer.set_result(Outcome(id, "j-1", rejected=rejected))
        return answer


@pytest.mark.asyncio
async def test_of_files_that_the_log_refuses_to_know_the_folders_stay() -> None:
    attempt = Attempt(Task("a-1", "j-1", 0, 1, "local/default", "boot", 0.0, 0, keep=("*",)))
    attempt.outputs = TaskOutputs(task=0, attempt=1, message="no file fits *")
    told: asyncio.Queue[tuple[Attempt, str]] = asyncio.Queue()
    log = Log()
    reports = Reports(
        cast(Publisher, log), cast(Outcomes, log), "default", "n1", "i", lambda *settled: told.put_nowait(settled)
    )
    running = asyncio.create_task(reports.run())
    reports.add(KEPT, attempt)
    assert await told.get() == (attempt, KEPT)
    assert attempt.incomplete
    running.cancel()


@pytest.mark.asyncio
async def test_each_change_of_readiness_is_a_command_of_its_own() -> None:
    published: asyncio.Queue[Any] = asyncio.Queue()

    class Kafka(Log):
        async def publish_many(self, items: Any) -> None:
            for item in items:
                published.put_nowait(item)

        def expect(self, id: str, *, bare: bool) -> asyncio.Future[Outcome]:
            return asyncio.get_running_loop().create_future()

    attempt = Attempt(Task("a-1", "j-1", 0, 1, "local/default", "boot", 0.0, 0))
    log = Kafka()
    reports = Reports(cast(Publisher, log), cast(Outcomes, log), "default", "n1", "i", lambda *_: None)
    running = asyncio.create_task(reports.run())
    ids = set()
    for told in (Readiness(True, 10.0), Readiness(False, 11.0, "status 503"), Readiness(True, 12.0)):
        attempt.readiness = told
        reports.add(READINESS, attempt)
        reports.add(READINESS, attempt)
        sent = await published.get()
        ids.add(sent.id)
        assert isinstance(sent.command, ReportTaskReadiness)
        (task,) = sent.command.tasks
        assert (task.ready, task.changed_at.timestamp(), task.reason) == (told.ready, told.changed_at, told.reason)
    assert len(ids) == 3
    assert published.empty()
    running.cancel()
