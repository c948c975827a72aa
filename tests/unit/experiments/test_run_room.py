"""When more is logged to a run than one answer holds, then that is refused with what to do, and the rest goes on."""

from __future__ import annotations

import pytest

from events.language.common import ErrorCode
from events.language.experiments import CreateExperiment, CreateRun, LogRunData
from events.language.experiments.datasets import LogInputs
from events.language.experiments.models import RunInput
from services.experiments.run import room
from services.experiments.run.room import MAX_BYTES, MAX_TAGS
from tests.unit.experiments.desk import Desk, names, refusal

LARGE = "x" * 6_000


def running() -> Desk:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id="e1", name="digits"))
    desk.send(CreateRun(run_id="r1", experiment_id="e1"))
    return desk


def full_of(kind: str) -> Desk:
    """A run that has room for no other large value."""
    desk = running()
    count = MAX_BYTES // (len(LARGE) + 5)
    for first in range(0, count, 100):
        data = {f"{number:05}": LARGE for number in range(first, min(first + 100, count))}
        desk.send(LogRunData.model_validate({"run_id": "r1", kind: data}))
    return desk


@pytest.mark.parametrize("kind", ["params", "tags"])
def test_what_a_run_holds_is_bounded_in_bytes(kind: str) -> None:
    desk = full_of(kind)
    refused = refusal(desk, LogRunData.model_validate({"run_id": "r1", kind: {"more": LARGE}}))
    assert refused.code is ErrorCode.RESOURCE_EXHAUSTED
    assert refused.errors[0].field == kind
    assert "at most 8388608 are kept; log what is larger as an artifact" in refused.message
    assert names(desk.send(LogRunData(run_id="r1", params={"small": "1"}))) == ["RunDataLogged"]


def test_bytes_are_counted_not_characters() -> None:
    desk = running()
    desk.send(LogRunData(run_id="r1", tags={"ä": "€" * 1_000}))
    assert desk.state("run", "r1").size == 3_002


def test_a_tag_that_is_replaced_or_taken_away_makes_room() -> None:
    desk = full_of("tags")
    assert names(desk.send(LogRunData(run_id="r1", tags={"00000": "y" * 6_000}))) == ["RunDataLogged"]
    desk.send(LogRunData(run_id="r1", tags={"00000": None}))
    assert names(desk.send(LogRunData(run_id="r1", tags={"other": "z" * 5_000}))) == ["RunDataLogged"]


def test_inputs_count_too() -> None:
    desk = running()
    described = dict.fromkeys(("source", "columns", "profile"), "x" * 60000) | {"tags": {"a": "x" * 8_000}}
    inputs = [RunInput(name="mnist", digest=f"{number:02}", **described) for number in range(60)]
    size = 3 * 60_000 + 8_001 + len("mnist01")
    for first in range(0, MAX_BYTES // size, 4):
        desk.send(LogInputs(run_id="r1", inputs=tuple(inputs[first : first + 4])))
    assert desk.state("run", "r1").size == MAX_BYTES // size * size
    refused = refusal(desk, LogInputs(run_id="r1", inputs=(inputs[-1],)))
    assert refused.code is ErrorCode.RESOURCE_EXHAUSTED
    assert "shorter sources, columns and profiles" in refused.message


def test_tags_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TAGS == 10_000
    monkeypatch.setattr(room, "MAX_TAGS", 3)
    desk = running()
    desk.send(LogRunData(run_id="r1", tags={"a": "1", "b": "2", "c": "3"}))
    refused = refusal(desk, LogRunData(run_id="r1", tags={"d": "4"}))
    assert refused.message == "the run would have more than 3 tags; take others away first: give them null"
    assert names(desk.send(LogRunData(run_id="r1", tags={"d": "4", "a": None}))) == ["RunDataLogged"]
