"""Runs that versions of datasets start: given what was told, then these events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from events.language.base import Command, Event
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import RunCompleted, RunQueued, RunStarted
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.trigger_messages import (
    DatasetAdvanced,
    DatasetSubscribed,
    DatasetUnsubscribed,
    DatasetVersions,
    TriggerFired,
)
from events.language.pipelines.triggers import DatasetRule, DatasetTrigger, Trigger
from events.log.ids import named_id
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.triggers import firing

ID = "report"
NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"


def spec(*datasets: str, rule: DatasetRule = DatasetRule.ANY) -> PipelineSpec:
    triggers = (Trigger(name="fresh", dataset=DatasetTrigger(datasets=datasets, rule=rule)),) if datasets else ()
    return PipelineSpec(stages=(StageSpec.model_validate({"id": "load", "for_each": {"count": 1}}),), triggers=triggers)


class Desk:
    """A pipeline's triggers in memory: datasets tell, and runs begin and end as a test says."""

    def __init__(self, spec: PipelineSpec, project: str = PROJECT) -> None:
        self.decider, self.project = Pipelines(), project
        self.id = named_id(ID, project)
        self.state = self.decider.initial(self.id)
        self.define(spec)

    def define(self, spec: PipelineSpec) -> list[Event]:
        return self.send(DefinePipeline(pipeline_id=self.id, name=ID, spec=spec))

    def send(self, command: Command) -> list[Event]:
        return self.take(
            self.decider.decide(self.state, command, DecisionContext(NOON, "c", "ada", self.project, self.id))
        )

    def told(self, dataset: str, *versions: int) -> list[Event]:
        found: list[Event] = []
        for version in versions:
            found += self.take(firing.advanced(self.state, self.id, dataset, version))
        return found

    def run(self, number: int, *kinds: Any) -> list[Event]:
        return self.take(kind(pipeline_id=self.id, run_id=f"{self.id}.{number}") for kind in kinds)

    def take(self, events: Iterable[Event]) -> list[Event]:
        found = list(events)
        for event in found:
            self.state = self.decider.evolve(self.state, event, NOON)
        more = firing.fired(self.state, self.id)
        return [*found, *self.take(more)] if more else found


def active(*datasets: str, rule: DatasetRule = DatasetRule.ANY) -> Desk:
    desk = Desk(spec(*datasets, rule=rule))
    desk.send(ActivatePipeline(pipeline_id=desk.id))
    return desk


def taken(events: Iterable[Event]) -> list[dict[str, tuple[int, int]]]:
    """What each run that was started is about."""
    return [
        {each.dataset_id: (each.first, each.last) for each in event.versions}
        for event in events
        if isinstance(event, TriggerFired)
    ]


def test_a_pipeline_subscribes_while_it_is_active_and_as_its_triggers_say() -> None:
    desk = Desk(spec("orders"))
    assert DatasetSubscribed(pipeline_id=ID, dataset_id="orders") in desk.send(ActivatePipeline(pipeline_id=ID))
    changed = desk.define(spec("orders", "stock"))
    assert changed[1:] == [DatasetSubscribed(pipeline_id=ID, dataset_id="stock")]
    changed = desk.define(spec("stock"))
    assert changed[1:] == [DatasetUnsubscribed(pipeline_id=ID, dataset_id="orders")]
    retired = desk.send(RetirePipeline(pipeline_id=ID))
    assert DatasetUnsubscribed(pipeline_id=ID, dataset_id="stock") in retired


def test_a_pipeline_that_is_to_subscribe_does_not_rest() -> None:
    desk = Desk(spec("orders"))
    decided = desk.decider.decide(
        desk.state, ActivatePipeline(pipeline_id=ID), DecisionContext(NOON, "c", "ada", PROJECT, ID)
    )
    for event in decided:
        desk.state = desk.decider.evolve(desk.state, event, NOON)
    assert not desk.decider.may_passivate(desk.state), "the writer asks no state that rests what it does"
    desk.take(firing.fired(desk.state, ID))
    assert desk.decider.may_passivate(desk.state)


def test_a_name_is_a_dataset_of_the_pipelines_own_project() -> None:
    desk = Desk(spec("orders", "stock.abc23"), project="acme/shop")
    subscribed = desk.send(ActivatePipeline(pipeline_id=desk.id))
    names = {event.dataset_id for event in subscribed if isinstance(event, DatasetSubscribed)}
    assert names == {named_id("orders", "acme/shop"), "stock.abc23"}
    assert named_id("orders", "acme/shop") != "orders"


def test_a_new_version_starts_a_run_which_names_what_it_is_about() -> None:
    advanced, fired, run = active("orders").told("orders", 7)
    assert advanced == DatasetAdvanced(pipeline_id=ID, dataset_id="orders", dataset_version=7)
    versions = (DatasetVersions(dataset_id="orders", first=7, last=7),)
    assert fired == TriggerFired(pipeline_id=ID, trigger="fresh", run_id=f"{ID}.1", versions=versions)
    assert isinstance(run, RunQueued)
    assert (run.trigger, run.trigger_id, run.number) == (RunTrigger.EVENT, "fresh", 1)


def test_five_versions_while_a_run_is_active_are_all_taken_once() -> None:
    desk = active("orders")
    assert taken(desk.told("orders", 1)) == [{"orders": (1, 1)}]
    assert taken(desk.told("orders", 2, 3, 4, 5, 6)) == []
    desk.run(1, RunStarted)
    assert taken(desk.run(1, RunCompleted)) == [{"orders": (2, 6)}]
    assert taken(desk.run(2, RunStarted, RunCompleted)) == []


def test_a_version_that_is_told_twice_or_was_not_asked_for_starts_nothing() -> None:
    desk = active("orders")
    desk.told("orders", 3)
    assert desk.told("orders", 3, 2) == []
    assert desk.told("stock", 1) == []


def test_with_the_rule_all_each_dataset_needs_a_version_since_the_last_run() -> None:
    desk = active("orders", "stock", rule=DatasetRule.ALL)
    assert taken(desk.told("orders", 1, 2)) == []
    assert taken(desk.told("stock", 8)) == [{"orders": (1, 2), "stock": (8, 8)}]
    desk.run(1, RunStarted, RunCompleted)
    assert taken(desk.told("stock", 9)) == []
    assert taken(desk.told("orders", 3)) == [{"stock": (9, 9), "orders": (3, 3)}]


def test_what_comes_during_a_pause_is_taken_after_it() -> None:
    desk = active("orders")
    desk.send(PausePipeline(pipeline_id=ID))
    assert taken(desk.told("orders", 1, 2)) == []
    assert taken(desk.send(ResumePipeline(pipeline_id=ID))) == [{"orders": (1, 2)}]


def test_a_run_knows_the_versions_that_it_was_started_for() -> None:
    """Its stages read the newest one, and tables may be behind."""
    desk = active("orders")
    desk.told("orders", 1)
    desk.told("orders", 2, 3)
    desk.run(1, RunStarted, RunCompleted)
    assert desk.state.runs[f"{ID}.2"].datasets == {"orders": 3}
    assert desk.state.triggers.taken == {}
