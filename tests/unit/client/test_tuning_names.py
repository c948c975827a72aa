"""Given some tunings, when one is called by its id, its name or the beginning of its id, then that one is meant."""

from __future__ import annotations

from typing import Any

import pytest

from forgelog import AsyncClient, NotFound
from forgelog.errors import InvalidInput
from forgelog_pb.experiments.v1 import tunings_pb2 as pb
from forgelog_pb.experiments.v1 import types_pb2 as types

ROWS = [("tabc1", "digits", False), ("tabc2", "old", True), ("txyz9", "old", True), ("tnew3", "sweep", False)]
TUNINGS = [types.HyperparameterTuningJob(tuning_id=id, name=name) for id, name, _ in ROWS]
for row, (_, _, gone) in zip(TUNINGS, ROWS, strict=True):
    if gone:
        row.deleted_at.FromSeconds(1_760_000_000)


async def found(text: str) -> str:
    asked: list[Any] = []

    async def call(_method: Any, request: Any, **_more: Any) -> Any:
        asked.append(request)
        if isinstance(request, pb.ListTuningsRequest):
            return pb.ListTuningsResponse(tunings=TUNINGS)
        for each in TUNINGS:
            if each.tuning_id == request.tuning_id or (each.name == request.name and not each.HasField("deleted_at")):
                return pb.GetTuningResponse(tuning=each)
        raise NotFound("there is none")

    async with AsyncClient("localhost:1", project="lab/vision", token="none") as client:
        client._core.connection.call = call  # type: ignore[method-assign]
        try:
            return await client.tunings.find(text)
        finally:
            assert {each.project for each in asked} <= {"", "lab/vision"}


@pytest.mark.parametrize(
    ("text", "id"), [("tabc2", "tabc2"), ("digits", "tabc1"), ("tx", "txyz9"), ("tn", "tnew3"), ("sweep", "tnew3")]
)
async def test_one_is_meant(text: str, id: str) -> None:
    assert await found(text) == id


async def test_of_several_none_is_guessed() -> None:
    with pytest.raises(InvalidInput, match="2 tunings have an id that begins with 'tabc'; write more of it"):
        await found("tabc")
    with pytest.raises(InvalidInput, match="2 tunings are called 'old'; say which by its id"):
        await found("old")


@pytest.mark.parametrize("text", ["", "none"])
async def test_none_is_meant(text: str) -> None:
    with pytest.raises(NotFound, match=f"there is no tuning '{text}'; 'forgelog tune list' lists them"):
        await found(text)
