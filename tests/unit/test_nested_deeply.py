"""What is nested as deeply as Python can just read, or deeper, is refused in words wherever it comes in.

Python's own bound counts the calls that are under way, so what one place reads another one can't.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.language.common import Refused
from events.language.problems import decode_command
from events.log.envelope import Position
from events.log.wire import Undecodable, decode_event
from forgelog import AsyncClient
from forgelog.client import inference, predicting
from forgelog.errors import InvalidInput
from forgelog.pipelines.engine.sql import expression, query, type_name
from forgelog.pipelines.problems import StageError
from forgelog.tuning_space import dimension
from services.experiments.tuning import distributions
from services.gateway.errors import DoorError
from services.gateway.http_bodies import json_of
from tests.unit.pipelines.test_stage_functions import python, staged

DEPTHS = [260, 900, 5_000]

LEVELS = [("[", "]"), ('{"a":', "}")]


def nested(depth: int, left: str = '{"a":', right: str = "}") -> str:
    return left * depth + "1" + right * depth


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("left", "right"), LEVELS)
def test_a_body_of_http_or_of_a_command(depth: int, left: str, right: str) -> None:
    body = f'{{"spec":{nested(depth, left, right)}}}'.encode()
    with pytest.raises(DoorError, match="recursion limit exceeded"):
        json_of(body)
    with pytest.raises(Refused, match="recursion limit exceeded"):
        decode_command("forgelog.jobs.v1.SubmitJob", body)


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_event(depth: int) -> None:
    with pytest.raises(Undecodable, match="does not decode: Invalid JSON: recursion limit exceeded"):
        decode_event("forgelog.jobs.v1.JobQueued", nested(depth).encode(), Position("events.jobs", 0, 0))


async def test_a_command_of_a_client() -> None:
    async with AsyncClient("127.0.0.1:1", token="flk_key") as client:
        with pytest.raises(InvalidInput, match=r"v1\.SubmitJob: can't be written as JSON: Recursion limit reached"):
            await client.publish(("forgelog.jobs.v1.SubmitJob", json.loads(nested(900))))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("left", "right"), LEVELS)
def test_an_input_of_a_deployment(depth: int, left: str, right: str) -> None:
    with pytest.raises(InvalidInput):
        inference.request(predicting.read_pairs([f"x={nested(depth, left, right)}"], "INPUT"))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_choice_of_a_tuning_is_a_text(depth: int) -> None:
    text = nested(depth, "[", "]")
    assert dimension(f"x={text}")["choices"] == [json.dumps(text)]


@pytest.mark.parametrize(("left", "right"), LEVELS)
def test_an_attribute_of_a_tuning(left: str, right: str) -> None:
    assert distributions.no_json(nested(100, left, right)) == ""
    assert distributions.no_json(json.dumps({"text": nested(5_000, left, right) + '"\\'})) == ""
    for depth in (101, *DEPTHS):
        assert distributions.no_json(nested(depth, left, right)) == "is nested deeper than 100 levels"


@pytest.mark.parametrize("text", ["abs(" * 400 + "n" + ")" * 400, nested(400, "[", "]")])
def test_a_pipelines_sql(text: str) -> None:
    for read, written in ((expression, text), (query, f"SELECT {text} AS x FROM numbers")):
        with pytest.raises(StageError, match="is nested too deeply; write it flatter"):
            read(written, "sql")
    with pytest.raises(StageError, match="is nested too deeply; write it flatter"):
        type_name("STRUCT(a " * 300 + "INTEGER" + ")" * 300, "columns")


@pytest.mark.parametrize(("left", "right"), LEVELS)
def test_rows_that_a_pipelines_function_gives(tmp_path: Path, left: str, right: str) -> None:
    def deep(numbers: Any) -> list[dict[str, Any]]:
        assert numbers is not None
        return [{"x": json.loads(nested(260, left, right))}]

    with pytest.raises(StageError, match="is nested too deeply"):
        staged(tmp_path, deep=deep).rows(python("deep"))
