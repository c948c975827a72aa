"""A pipeline's clock: given these events, when this command or this time, then these events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.language.base import Command, Event
from events.language.common import Refused
from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.clock import ticks
from events.language.pipelines.clock.zones import UnknownZone
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    PausePipeline,
    ResumePipeline,
)
from events.language.pipelines.dataset_messages import SubscriberNotified
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.parameters import ParameterSpec
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import RunPipeline
from events.language.pipelines.run_events import (
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunQueued,
    RunRetried,
    RunStarted,
)
from events.language.pipelines.schedule import CatchUp, Schedule
from events.language.pipelines.schedule_messages import (
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillStarted,
    CancelBackfill,
    ScheduleBroken,
    ScheduleFired,
    SlaMissed,
    StartBackfill,
    TicksSkipped,
)
from events.language.pipelines.sla import Sla, SlaKind
from events.language.pipelines.stages import StageSpec
from events.writer.decider import DecisionContext
from services.pipelines.clock import waking
from services.pipelines.clock.waking import MOST_WAITING
from services.pipelines.pipeline.decide import Pipelines
from tests.unit.pipelines.desk import ID as WHOLE
from tests.unit.pipelines.desk import NOON, PROJECT
from tests.unit.pipelines.desk import Desk as WholeDesk

ID = "nightly"
STAGES = (StageSpec.model_validate({"id": "load", "for_each": {"count": 1}}),)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spec(**fields: Any) -> PipelineSpec:
    return PipelineSpec(stages=STAGES, **fields)


HOURLY = Schedule(cron="0 * * * *")


class Desk:
    """A pipeline and its clock in memory: time passes, and runs are told to begin and end as a test says."""

    def __init__(self, spec: PipelineSpec, now: str = "2026-05-09 08:30") -> None:
        self.decider = Pipelines()
        self.state = self.decider.initial(ID)
        self.now = at(now)
        self.send(DefinePipeline(pipeline_id=ID, name=ID, spec=spec))

    def send(self, command: Command) -> list[Event]:
        context = DecisionContext(self.now, "c1", "owner", PROJECT, ID)
        return self.take(self.decider.decide(self.state, command, context))

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Events, and the runs of backfills that follow from them."""
        found = list(events)
        for event in found:
            self.state = self.decider.evolve(self.state, event, self.now)
        more = waking.backfilled(self.state, ID)
        return [*found, *self.take(more)] if more else found

    def pass_to(self, now: str) -> list[Event]:
        """All that the time up to then leads to, if nobody wakes it before."""
        self.now = at(now)
        found: list[Event] = []
        while (due := waking.due(self.state)) is not None and due <= self.now:
            events = waking.woken(self.state, ID, self.now)
            assert events, "what was due has come to nothing"
            found += self.take(events)
        return found

    def run(self, number: int, *kinds: Any) -> list[Event]:
        return self.take(kind(pipeline_id=ID, run_id=f"{ID}.{number}") for kind in kinds)


def active(**fields: Any) -> Desk:
    desk = Desk(spec(**fields))
    desk.send(ActivatePipeline(pipeline_id=ID))
    return desk


def queued(events: Iterable[Event]) -> list[str]:
    """The runs, as ``number: interval``."""
    return [
        f"{event.number}: {event.interval_start:%d %H}-{event.interval_end:%d %H}"
        for event in events
        if isinstance(event, RunQueued)
        if event.interval_start is not None and event.interval_end is not None
    ]


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_tick_queues_a_run_of_the_interval_before_it() -> None:
    fired, run = active(schedule=HOURLY).pass_to("2026-05-09 09:00")
    assert isinstance(fired, ScheduleFired)
    assert (fired.at, fired.interval_start) == (at("2026-05-09 09:00"), at("2026-05-09 08:00"))
    assert fired.tzdata_version
    assert isinstance(run, RunQueued)
    assert (run.trigger, run.trigger_id) == (RunTrigger.SCHEDULE, "2026-05-09T09:00:00+00:00")
    assert (run.interval_start, run.interval_end) == (at("2026-05-09 08:00"), at("2026-05-09 09:00"))


def test_a_draft_and_a_pipeline_without_a_schedule_are_never_due() -> None:
    assert Desk(spec(schedule=HOURLY)).pass_to("2026-05-10 09:00") == []
    assert active().pass_to("2026-05-10 09:00") == []


@pytest.mark.parametrize(
    ("catch_up", "events", "runs"),
    [
        (CatchUp.LATEST, ["TicksSkipped", "ScheduleFired", "RunQueued"], ["1: 09 11-09 12"]),
        (CatchUp.ALL, ["ScheduleFired", "RunQueued"] * 4,
         ["1: 09 08-09 09", "2: 09 09-09 10", "3: 09 10-09 11", "4: 09 11-09 12"]),
        (CatchUp.NONE, ["TicksSkipped"], []),
    ],
)  # fmt: skip
def test_after_a_pause_ticks_are_caught_up_with(catch_up: CatchUp, events: list[str], runs: list[str]) -> None:
    desk = active(schedule=HOURLY.model_copy(update={"catch_up": catch_up}))
    desk.send(PausePipeline(pipeline_id=ID))
    assert desk.pass_to("2026-05-09 12:30") == []
    desk.send(ResumePipeline(pipeline_id=ID))
    found = desk.pass_to("2026-05-09 12:30")
    assert kinds(found) == events
    assert queued(found) == runs
    assert desk.pass_to("2026-05-09 12:59") == []


def test_a_new_schedule_counts_from_its_definition_and_the_same_one_goes_on() -> None:
    desk = active(schedule=HOURLY)
    desk.now = at("2026-05-09 09:20")
    desk.send(DefinePipeline(pipeline_id=ID, name=ID, spec=spec(schedule=HOURLY, tags=("a",))))
    assert queued(desk.pass_to("2026-05-09 09:25")) == ["1: 09 08-09 09"]
    other = Schedule(cron="*/30 * * * *")
    desk.send(DefinePipeline(pipeline_id=ID, name=ID, spec=spec(schedule=other)))
    assert queued(desk.pass_to("2026-05-09 09:30")) == ["2: 09 09-09 09"]


def test_too_many_waiting_runs_hold_further_ticks_up() -> None:
    desk = active(schedule=Schedule(cron="* * * * *", catch_up=CatchUp.ALL))
    desk.pass_to("2026-05-09 12:30")
    assert desk.state.clock.waiting() == MOST_WAITING
    assert kinds(desk.run(1, RunStarted)) == ["RunStarted"]
    assert kinds(desk.pass_to("2026-05-09 12:30")) == ["ScheduleFired", "RunQueued"]


def test_without_catching_up_too_many_waiting_runs_make_ticks_be_skipped() -> None:
    desk = active(schedule=Schedule(cron="* * * * *"))
    for minute in range(1, MOST_WAITING + 1):
        desk.pass_to(str(at("2026-05-09 08:30") + timedelta(minutes=minute))[:16])
    assert desk.state.clock.waiting() == MOST_WAITING
    (skipped,) = desk.pass_to("2026-05-09 10:12")
    assert isinstance(skipped, TicksSkipped)
    assert skipped.ticks == 2


def test_a_schedule_that_can_not_be_computed_breaks_its_pipeline_alone_until_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = active(schedule=Schedule(cron="7 * * * *", timezone="Europe/Zurich"))

    def no_zone(name: str) -> Any:
        raise UnknownZone(f"{name!r} is no time zone of this release")

    with monkeypatch.context() as patch:
        patch.setattr(ticks, "zone_of", no_zone)
        (broken,) = desk.pass_to("2026-05-09 09:00")
        assert isinstance(broken, ScheduleBroken)
        assert "'Europe/Zurich' is no time zone of this release" in broken.reason
        assert desk.pass_to("2026-05-09 10:00") == []
    desk.send(PausePipeline(pipeline_id=ID))
    desk.send(ResumePipeline(pipeline_id=ID))
    assert kinds(desk.pass_to("2026-05-09 10:00")) == ["ScheduleFired", "RunQueued"]


def missed(events: Iterable[Event]) -> list[tuple[str, str, str]]:
    return [
        (str(event.kind), event.run_id, event.deadline.strftime("%d %H:%M"))
        for event in events
        if isinstance(event, SlaMissed)
    ]


def test_a_run_that_waits_and_runs_too_long_misses_each_promise_once() -> None:
    desk = active(schedule=HOURLY, sla=Sla(start_within_seconds=600, finish_within_seconds=1800))
    desk.pass_to("2026-05-09 09:00")
    assert missed(desk.pass_to("2026-05-09 09:10")) == [("start_within", "nightly.1", "09 09:10")]
    desk.run(1, RunStarted)
    assert missed(desk.pass_to("2026-05-09 09:40")) == [("finish_within", "nightly.1", "09 09:30")]
    assert missed(desk.pass_to("2026-05-09 09:59")) == []


def test_a_run_in_time_misses_nothing() -> None:
    desk = active(schedule=HOURLY, sla=Sla(start_within_seconds=600, finish_within_seconds=1800))
    desk.pass_to("2026-05-09 09:00")
    desk.run(1, RunStarted, RunCompleted)
    assert kinds(desk.pass_to("2026-05-09 10:00")) == ["ScheduleFired", "RunQueued"]


NIGHTLY: dict[str, Any] = {"schedule": Schedule(cron="30 1 * * *"), "sla": Sla(finish_by="06:00")}


def test_a_tick_that_is_completed_by_its_time_of_day_misses_nothing() -> None:
    desk = active(**NIGHTLY)
    desk.pass_to("2026-05-10 01:30")
    desk.run(1, RunStarted, RunCompleted)
    assert missed(desk.pass_to("2026-05-10 12:00")) == []


def test_a_tick_is_missed_while_its_run_is_under_way_and_once() -> None:
    desk = active(**NIGHTLY)
    desk.pass_to("2026-05-10 01:30")
    desk.run(1, RunStarted)
    assert missed(desk.pass_to("2026-05-10 06:00")) == [("finish_by", "nightly.1", "10 06:00")]
    desk.run(1, RunFailed)
    assert missed(desk.pass_to("2026-05-10 23:00")) == []


def test_a_tick_is_missed_though_no_run_began() -> None:
    desk = active(schedule=Schedule(cron="30 1 * * *", catch_up=CatchUp.NONE), sla=Sla(finish_by="06:00"))
    found = desk.pass_to("2026-05-10 07:00")
    assert kinds(found) == ["SlaMissed", "TicksSkipped"]
    assert missed(found) == [("finish_by", "", "10 06:00")]


def test_nothing_is_promised_of_a_pause() -> None:
    desk = active(**NIGHTLY)
    desk.send(PausePipeline(pipeline_id=ID))
    desk.pass_to("2026-05-12 12:00")
    desk.send(ResumePipeline(pipeline_id=ID))
    assert missed(desk.pass_to("2026-05-12 12:00")) == []


DAILY = Schedule(cron="0 0 * * *")


def backfill(**fields: Any) -> StartBackfill:
    return StartBackfill(pipeline_id=ID, **{"range_start": at("2026-05-01"), "range_end": at("2026-05-06"), **fields})


def test_a_backfill_runs_its_intervals_as_many_at_a_time_as_it_may_and_ends_with_the_last_one() -> None:
    desk = Desk(spec(schedule=DAILY))
    started, *rest = desk.send(backfill(max_parallel=2))
    assert isinstance(started, BackfillStarted)
    assert (started.number, started.intervals) == (1, 5)
    assert queued(rest) == ["1: 01 00-02 00", "2: 02 00-03 00"]
    assert queued(desk.run(2, RunStarted, RunCompleted)) == ["3: 03 00-04 00"]
    assert queued(desk.run(1, RunStarted, RunFailed)) == ["4: 04 00-05 00"]
    last = desk.run(3, RunStarted, RunCompleted)
    assert queued(last) == ["5: 05 00-06 00"]
    assert kinds(desk.run(4, RunStarted, RunCompleted)) == ["RunStarted", "RunCompleted"]
    assert kinds(desk.run(5, RunStarted, RunCompleted)) == ["RunStarted", "RunCompleted", "BackfillCompleted"]


@pytest.mark.parametrize(
    ("rerun", "days"),
    [
        (BackfillRerun.MISSING, ["03 00-04 00", "04 00-05 00", "05 00-06 00"]),
        (BackfillRerun.FAILED, ["02 00-03 00", "03 00-04 00", "04 00-05 00", "05 00-06 00"]),
        (BackfillRerun.ALL, ["01 00-02 00", "02 00-03 00", "03 00-04 00", "04 00-05 00", "05 00-06 00"]),
    ],
)
def test_a_backfill_runs_what_is_missing_what_failed_or_all(rerun: BackfillRerun, days: list[str]) -> None:
    desk = Desk(spec(schedule=DAILY))
    desk.send(backfill(range_end=at("2026-05-03"), max_parallel=2))
    desk.run(1, RunStarted, RunCompleted)
    desk.run(2, RunStarted, RunFailed)
    found = desk.send(backfill(max_parallel=9, rerun=rerun))
    assert [each.split(": ")[1] for each in queued(found)] == days
    passed = [event.passed for event in found if isinstance(event, BackfillAdvanced)]
    assert passed == [5 - len(days)]


def test_a_failed_run_that_is_retried_and_completes_is_missing_no_more() -> None:
    desk = Desk(spec(schedule=DAILY))
    desk.send(backfill(range_end=at("2026-05-02")))
    desk.run(1, RunStarted, RunFailed)
    desk.run(1, RunRetried, RunCompleted)
    assert queued(desk.send(backfill(range_end=at("2026-05-02"), rerun=BackfillRerun.FAILED))) == []


def test_runs_of_a_backfill_have_its_parameters_and_rank_below_others() -> None:
    desk = Desk(spec(schedule=DAILY, parameters={"mode": ParameterSpec(default="fast"), "day": ParameterSpec()}))
    _, run = desk.send(backfill(parameters={"mode": "exact"}))
    assert isinstance(run, RunQueued)
    assert (run.trigger, run.trigger_id, run.parameters) == (RunTrigger.BACKFILL, "1", {"mode": "exact"})
    assert run.rank > 0


def test_a_backfill_waits_while_its_pipeline_is_paused() -> None:
    desk = active(schedule=DAILY)
    desk.send(PausePipeline(pipeline_id=ID))
    assert kinds(desk.send(backfill())) == ["BackfillStarted"]
    assert queued(desk.send(ResumePipeline(pipeline_id=ID))) == ["1: 01 00-02 00"]


def test_a_backfill_ends_with_the_schedule() -> None:
    desk = Desk(spec(schedule=DAILY))
    desk.send(backfill())
    changed = desk.send(DefinePipeline(pipeline_id=ID, name=ID, spec=spec()))
    assert kinds(changed) == ["PipelineDefined", "BackfillCancelled"]


def test_a_backfill_is_cancelled_once() -> None:
    desk = Desk(spec(schedule=DAILY))
    desk.send(backfill())
    found = desk.send(CancelBackfill(pipeline_id=ID, number=1, reason="wrong days"))
    assert kinds(found) == ["BackfillCancelled", "RunCancelled"]
    assert isinstance(found[0], BackfillCancelled)
    assert found[0].reason == "wrong days"
    with pytest.raises(Refused, match="backfill 1 of nightly has ended"):
        desk.send(CancelBackfill(pipeline_id=ID, number=1))
    with pytest.raises(Refused, match="pipeline nightly has no backfill 2"):
        desk.send(CancelBackfill(pipeline_id=ID, number=2))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"range_end": at("2026-05-10")}, "range_end: 2026-05-10T00:00:00Z has not come yet"),
        ({"range_end": at("2026-05-01 12:00")}, "range_end: no whole interval of the schedule lies before it"),
        ({"parameters": {"day": "x"}}, "parameters.day is no parameter of this pipeline"),
    ],
)
def test_a_backfill_that_can_not_be_done_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        Desk(spec(schedule=DAILY)).send(backfill(**fields))


def test_a_backfill_of_too_many_intervals_or_without_a_schedule_is_refused() -> None:
    with pytest.raises(Refused, match="more than 100,000 intervals lie between range_start and range_end"):
        Desk(spec(schedule=Schedule(every_seconds=1))).send(backfill())
    with pytest.raises(Refused, match="pipeline nightly has no schedule; give it one"):
        Desk(spec()).send(backfill())


def test_a_backfill_that_finds_nothing_to_do_is_completed_at_once() -> None:
    desk = Desk(spec(schedule=DAILY))
    desk.send(backfill(range_end=at("2026-05-02")))
    desk.run(1, RunStarted, RunCompleted)
    found = desk.send(backfill(range_end=at("2026-05-02")))
    assert kinds(found) == ["BackfillStarted", "BackfillAdvanced", "BackfillCompleted"]
    assert isinstance(found[-1], BackfillCompleted)


def test_the_clock_survives_a_snapshot() -> None:
    desk = active(schedule=DAILY, sla=Sla(start_within_seconds=60))
    desk.send(backfill(max_parallel=2))
    desk.run(1, RunStarted, RunFailed)
    desk.pass_to("2026-05-10 00:30")
    loaded = desk.decider.load(ID, desk.decider.dump(desk.state))
    assert loaded.clock == desk.state.clock
    assert waking.due(loaded) == waking.due(desk.state)
    assert loaded.clock.runs["nightly.4"].missed == {SlaKind.START_WITHIN}


def test_the_whole_pipeline_wakes_by_its_clock_and_starts_what_was_queued() -> None:
    desk = WholeDesk()
    desk.define("load", schedule=HOURLY, execution={"max_active_runs": 2})
    desk.send(ActivatePipeline(pipeline_id=WHOLE))
    assert kinds(desk.wait(3600))[:3] == ["ScheduleFired", "RunQueued", "RunStarted"]


def test_runs_of_a_backfill_start_beside_the_active_runs() -> None:
    desk = WholeDesk()
    desk.define("load", schedule=HOURLY)
    desk.send(RunPipeline(pipeline_id=WHOLE))
    started = desk.send(
        StartBackfill(pipeline_id=WHOLE, range_start=NOON - timedelta(hours=5), range_end=NOON, max_parallel=2)
    )
    assert [event.run_id for event in started if isinstance(event, RunStarted)] == ["sales.2", "sales.3"]
    cancelled = desk.send(CancelBackfill(pipeline_id=WHOLE, number=1))
    assert [event.run_id for event in cancelled if isinstance(event, RunCancelled)] == ["sales.2", "sales.3"]


def test_a_run_by_hand_is_about_the_latest_interval_that_is_over_or_about_the_one_it_names() -> None:
    desk = WholeDesk()
    desk.define("load", schedule=DAILY, execution={"max_active_runs": 3})
    assert queued(desk.send(RunPipeline(pipeline_id=WHOLE))) == ["1: 08 00-09 00"]
    named = {"interval_start": at("2026-05-01"), "interval_end": at("2026-05-02")}
    assert queued(desk.send(RunPipeline(pipeline_id=WHOLE, **named))) == ["2: 01 00-02 00"]
    other = WholeDesk()
    other.define("load")
    assert queued(other.send(RunPipeline(pipeline_id=WHOLE))) == []


def test_a_version_that_a_dataset_tells_of_starts_a_run_of_the_whole_pipeline() -> None:
    desk = WholeDesk()
    desk.define("load", triggers=({"name": "fresh", "dataset": {"datasets": ["orders"]}},))
    desk.send(ActivatePipeline(pipeline_id=WHOLE))
    told = SubscriberNotified(dataset_id="orders", pipeline_id=WHOLE, dataset_version=4)
    assert kinds(desk.hear(told))[:4] == ["DatasetAdvanced", "TriggerFired", "RunQueued", "RunStarted"]
    assert desk.hear(told) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"schedule": {"cron": "0 25 * * *"}}, "spec.schedule.cron"),
        ({"sla": {"finish_by": "06:00"}}, "spec.sla.finish_by"),
        ({"schedule": {"cron": "0 1 * * *"}, "parameters": {"day": {"required": True}}}, "spec.parameters.day.default"),
        ({"triggers": [{"name": "a", "dataset": {"datasets": ["x"]}}] * 2}, "spec.triggers[1].name"),
    ],
)
def test_a_pipeline_that_could_not_run_by_itself_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        WholeDesk().define("load", **PipelineSpec(stages=STAGES, **fields).model_dump(exclude={"stages"}))
    assert [error.field for error in refused.value.errors] == [field]
