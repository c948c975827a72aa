"""Orders that are many or long: none is too long for the log, and they are looked through once."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from events.language.base import Event
from events.language.pipelines.parameters import ParameterSpec
from events.language.pipelines.pipeline import Execution
from events.language.pipelines.run_events import StageFailed
from events.language.pipelines.stages import StageInput, StageRetry, StageSpec
from events.language.pipelines.work import StageOutput
from services.pipelines.pipeline import dispatching, stepping
from tests.unit.pipelines.desk import RunDesk, begun


class Measured(RunDesk):
    """A desk that notes how many bytes each decision has."""

    def __init__(self, *written: str | StageSpec, **fields: object) -> None:
        self.sizes: list[int] = []
        super().__init__(*written, **fields)  # type: ignore[arg-type]

    def _fold(self, decided: Iterable[Event]) -> list[Event]:
        found = super()._fold(decided)
        self.sizes.append(sum(len(event.to_json()) for event in found))
        return found


def test_orders_that_are_too_long_together_are_given_one_after_another() -> None:
    names = [f"stage-{number}" for number in range(12)]
    parameters = {f"p{number}": ParameterSpec(default="x" * 6_000) for number in range(50)}
    desk = Measured(*names, parameters=parameters, execution=Execution(max_workers=12))
    desk.run()
    assert sorted(begun(desk.events)) == sorted(names)
    assert max(desk.sizes) < stepping.MOST_BYTES_AT_ONCE + 400_000


def test_a_stage_whose_inputs_are_too_many_for_an_order_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "MOST_INPUT_BYTES", 1_000)
    desk = RunDesk("load", StageSpec(id="report", inputs={"rows": StageInput(stage="load")}))
    desk.run()
    desk.complete("load", output=StageOutput(rows=3, inline="A" * 1_000))
    (failed,) = (each for each in desk.events if isinstance(each, StageFailed))
    assert (failed.stage_id, failed.failure.field) == ("report", "inputs")
    assert "needs 1,200 bytes in its order, which has at most 1,000" in failed.failure.problem
    assert desk.state.runs["sales.1"].status.value == "failed"


def test_what_waits_for_a_worker_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    retry = StageRetry(max=1, backoff_seconds=100, jitter=1)
    names = [f"stage-{number}" for number in range(30)]
    desk = RunDesk(*(StageSpec(id=name, retry=retry) for name in names), execution=Execution(max_workers=30))
    desk.run()
    for name in names[1:]:
        desk.fail(name)
    for id, worker in desk.state.workers.items():
        worker.released = id != desk.order(names[0]).worker
    desk.state.worker_retry_at = None
    calls = 0
    original = dispatching.dispatched

    def counted(*given: object, **named: object) -> list[Event]:
        nonlocal calls
        calls += 1
        return original(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(dispatching, "dispatched", counted)
    monkeypatch.setattr(dispatching, "_requested", lambda *_: [])
    desk.decider.due(desk.state)
    assert calls == 1
