"""What a service makes of another one's answers.

Kafka is left out; `tests/integration/test_dispatch.py` has all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiokafka.errors import KafkaConnectionError

from events.language.common import ErrorCode, Refused
from events.process.settings import Settings
from events.queries.asking import Asking
from events.writer.decider import Question
from events.writer.questions import Unanswered
from forgelog_pb.jobs.v1.queries_pb2 import GetJobRequest, GetJobResponse
from forgelog_pb.jobs.v1.queries_pb2_grpc import JobQueriesServicer, JobQueriesStub, add_JobQueriesServicer_to_server

QUESTION = Question("jobs", JobQueriesStub, "GetJob", GetJobRequest(job_id="tea"))
NEWEST = ["events.jobs/0@6", "events.jobs/3@9"]


class Behind(JobQueriesServicer):
    """A service whose tables lack what the log has, until they are told to wait for it."""

    def __init__(self) -> None:
        self.there = True
        """Whether the log has it."""
        self.asked: list[list[str]] = []

    async def GetJob(self, request: GetJobRequest, context: Any) -> GetJobResponse:
        self.asked.append(list(request.options.at_least))
        if not self.there or request.options.at_least != NEWEST:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no job tea")
        return GetJobResponse()


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[tuple[Behind, Asking]]:
    service, server = Behind(), grpc.aio.server()
    add_JobQueriesServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asking = Asking(Settings(kafka="nowhere:1", data=tmp_path, services=f"jobs=127.0.0.1:{port}"))
    yield service, asking
    await asking.close()
    await server.stop(None)


async def newest(*_: object) -> list[str]:
    return NEWEST


async def test_what_tables_lack_that_are_behind_is_no_answer(
    behind: tuple[Behind, Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, asking = behind
    monkeypatch.setattr(Asking, "_newest", newest)
    assert isinstance(await asking.ask(QUESTION, ["events.jobs/0@2"]), GetJobResponse)
    assert service.asked == [["events.jobs/0@2"], NEWEST]


async def test_what_the_whole_log_lacks_is_not_there(
    behind: tuple[Behind, Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, asking = behind
    service.there = False
    monkeypatch.setattr(Asking, "_newest", newest)
    refused = await asking.ask(QUESTION, [])
    assert isinstance(refused, Refused)
    assert (refused.code, refused.message) == (ErrorCode.NOT_FOUND, "there is no job tea")
    assert service.asked == [[], NEWEST]


async def test_without_the_log_nothing_is_known_not_to_be_there(
    behind: tuple[Behind, Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise KafkaConnectionError("nowhere")

    monkeypatch.setattr("aiokafka.AIOKafkaConsumer.start", away)
    _, asking = behind
    with pytest.raises(Unanswered, match="whether the tables of jobs are behind is not known"):
        await asking.ask(QUESTION, [])
