"""What becomes of an attempt whose report the log refuses. The log is played by hand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from events.language.common import CommandRejected, ErrorCode
from events.language.jobs import ReportJobOutputs, TaskOutputs
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Publisher
from services.resources.agent.attempts import Attempt, Task
from services.resources.agent.reports import KEPT, Reports


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
