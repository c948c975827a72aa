"""What an executor asks is answered from tables, which may be behind the order that it works on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from events.language.pipelines.run_events import StageDispatched
from forgelog.errors import NotFound
from forgelog.worker.asking import Asking
from forgelog.worker.working import Order
from forgelog_pb.pipelines.v1 import dataset_queries_pb2 as pb
from forgelog_pb.pipelines.v1.types_pb2 import (
    DATA_SOURCE_TYPE_DATASET,
    DATA_VERSION_STATUS_PUBLISHED,
    WRITE_MODE_APPEND,
    WRITE_MODE_OVERWRITE,
)

CLEAN = "clean.abcdef"
ORDER = Order(
    ("daily.7", "report", 1, "run"),
    {},
    None,
    StageDispatched.model_validate(
        {
            "run_id": "daily.7",
            "pipeline_id": "daily",
            "stage_id": "report",
            "attempt": 1,
            "worker": "pipe.daily.w1",
            "pipeline_version": 2,
            "inputs": [{"name": "clean", "output": {"rows": 3, "dataset_id": CLEAN, "dataset_version": 4}}],
        }
    ),
)


class Tables:
    """Tables that know of no dataset at first; of version 3 and later on of version 4, a question later each."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.questions = 0

    def options(self, context: str, at: None) -> None:
        return None

    async def ask(self, method: Any, request: Any, what: str) -> Any:
        if isinstance(request, pb.GetDatasetRequest):
            if not request.dataset_id:
                raise NotFound(f"there is no dataset {request.name}")
            self.questions += 1
            if self.questions == 1:
                raise NotFound(f"there is no dataset {request.dataset_id}")
            answer = pb.GetDatasetResponse()
            answer.dataset.dataset_id, answer.dataset.project, answer.dataset.name = CLEAN, "local/default", "clean"
            answer.dataset.version = self._newest
            answer.dataset.created_at.GetCurrentTime()
            answer.dataset.updated_at.GetCurrentTime()
            return answer
        assert isinstance(request, pb.GetDataVersionRequest)
        if request.version > self._newest:
            raise NotFound(f"there is no {what}")
        found = pb.GetDataVersionResponse()
        found.version.dataset_id, found.version.version, found.version.project = CLEAN, request.version, "local/default"
        found.version.status = DATA_VERSION_STATUS_PUBLISHED
        found.version.committed_at.GetCurrentTime()
        found.version.pipeline_id, found.version.pipeline_version, found.version.stage_id = "daily", 2, "clean"
        found.files.manifest.base = "/data/clean"
        return found

    @property
    def _newest(self) -> int:
        return min(self.questions + 1, 4)


class Versions:
    async def stage(self, pipeline_id: str, version: int, stage_id: str) -> None:
        return None


@pytest.fixture
async def tables() -> AsyncIterator[Tables]:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        yield Tables(channel)


def question(version: int) -> dict[str, Any]:
    return {"ask": "dataset", "name": CLEAN, "version": version}


async def test_a_version_that_the_order_names_is_awaited_where_tables_are_behind(tables: Tables) -> None:
    asking: Any = Asking(tables, "local/default", Versions())  # type: ignore[arg-type]
    answer = (await asking.answer(ORDER, question(4)))["answer"]
    assert (answer["dataset_id"], answer["version"], answer["base"]) == (CLEAN, 4, "/data/clean")
    assert tables.questions == 3


async def test_what_the_order_does_not_name_is_missing_at_once(tables: Tables) -> None:
    asking: Any = Asking(tables, "local/default", Versions())  # type: ignore[arg-type]
    for version in (5, 0):
        tables.questions = 0
        assert "there is no dataset" in (await asking.answer(ORDER, question(version)))["problem"]
        assert tables.questions == 1


async def test_a_version_that_does_not_come_is_missing_in_the_end(tables: Tables) -> None:
    asking: Any = Asking(tables, "local/default", Versions(), behind_seconds=0)  # type: ignore[arg-type]
    assert "there is no dataset" in (await asking.answer(ORDER, question(4)))["problem"]


async def test_the_newest_version_is_at_least_the_one_that_the_run_was_started_for(tables: Tables) -> None:
    event = ORDER.event.model_copy(update={"inputs": (), "datasets": {CLEAN: 4}})
    asking: Any = Asking(tables, "local/default", Versions())  # type: ignore[arg-type]
    answer = (await asking.answer(Order(ORDER.key, {}, None, event), question(0)))["answer"]
    assert (answer["version"], tables.questions) == (4, 3)
    tables.questions = 1
    asking = Asking(tables, "local/default", Versions(), behind_seconds=0)  # type: ignore[arg-type]
    problem = (await asking.answer(Order(ORDER.key, {}, None, event), question(0)))["problem"]
    assert problem == f"version 4 of the dataset {CLEAN!r} is not in the platform's tables yet"


class Versioned:
    """Tables in which versions 1 to 4 of a dataset are, and rows were set aside from the second."""

    def __init__(self, channel: grpc.aio.Channel, mode: Any) -> None:
        self.channel, self._mode = channel, mode

    def options(self, context: str, at: None) -> None:
        return None

    async def ask(self, method: Any, request: Any, what: str) -> Any:
        if isinstance(request, pb.GetDatasetRequest):
            answer = pb.GetDatasetResponse()
            answer.dataset.dataset_id, answer.dataset.project, answer.dataset.name = CLEAN, "local/default", "clean"
            answer.dataset.version = 4
            answer.dataset.created_at.GetCurrentTime()
            answer.dataset.updated_at.GetCurrentTime()
            return answer
        number = 2 if request.quarantined else request.version
        if request.version < number:
            raise NotFound(f"there is no {what}")
        found = pb.GetDataVersionResponse()
        found.version.dataset_id, found.version.version, found.version.project = CLEAN, number, "local/default"
        found.version.status = DATA_VERSION_STATUS_PUBLISHED
        found.version.committed_at.GetCurrentTime()
        found.version.columns.add(name="fare", type="DOUBLE")
        found.files.dataset_id, found.files.version = CLEAN, number
        for manifest in (found.files.manifest, found.files.quarantine):
            manifest.attempt, manifest.base, manifest.mode = f"daily.{number}", "/data/clean", self._mode
            manifest.type, manifest.aside = DATA_SOURCE_TYPE_DATASET, "/data/clean/1"
        found.files.quarantine.base += ".quarantine"
        return found


@pytest.mark.parametrize(
    ("mode", "version", "stored"),
    [
        (WRITE_MODE_APPEND, 1, 0),
        (WRITE_MODE_APPEND, 2, 2),
        (WRITE_MODE_APPEND, 0, 2),  # the fourth has what was set aside so far
        (WRITE_MODE_OVERWRITE, 1, 0),
        (WRITE_MODE_OVERWRITE, 2, 2),
        (WRITE_MODE_OVERWRITE, 0, 0),  # from the fourth no row was
    ],
)
async def test_the_quarantine_of_a_version_is_what_was_set_aside_from_it(mode: Any, version: int, stored: int) -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        asking: Any = Asking(Versioned(channel, mode), "local/default", Versions())  # type: ignore[arg-type]
        asked = {"ask": "dataset", "name": "clean.quarantine", "version": version}
        answer = (await asking.answer(ORDER, asked))["answer"]
    assert (answer["dataset_id"], answer["version"]) == (CLEAN, version or 4)
    assert answer.get("stored", 0) == stored
    assert answer["base"] == ("/data/clean.quarantine" if stored else "")
    assert [each["name"] for each in answer.get("empty", ())] == ([] if stored else ["fare"])
