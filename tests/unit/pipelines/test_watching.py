"""Topics and files that start runs: what watchers are told, what their reports mean, and what each run is given."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.base import Event
from events.language.common import Refused
from events.language.pipelines.arrivals import ArrivedFile, PartitionRange, identity_of
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.commands import ActivatePipeline, DefinePipeline, PausePipeline, RetirePipeline
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import CancelRun, RetryRun
from events.language.pipelines.run_events import RunQueued, StageDispatched, WorkerReleased, WorkerRequested
from events.language.pipelines.watch_messages import (
    ReportFilesArrived,
    ReportTopicAdvanced,
    ReportTriggerTrouble,
    TriggerMended,
    TriggerTroubled,
    TriggerWatched,
    TroubleKind,
)
from events.language.pipelines.windows import StreamState
from forgelog.worker.watch.arrivals import FORGET_FROM, Arrivals, Listed
from forgelog.worker.watch.topics import Batching
from services.pipelines.triggers.batches import ranges_of
from tests.unit.pipelines.desk import ID, RunDesk, kinds

KAFKA = {"url": "here:9092"}
TOPIC: dict[str, Any] = {"name": "stream", "topic": {"topic": "orders", "connection": KAFKA, "max_records": 10}}
FOLDER: dict[str, Any] = {"type": "file_system", "path": "/in/*.csv"}
FILES: dict[str, Any] = {"name": "arrivals", "files": FOLDER}


def described(*triggers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Fields of a pipeline that reads the topic, or the files that arrive."""
    sources: dict[str, Any] = {}
    for each in triggers:
        if "topic" in each:
            topic = each["topic"]
            sources[each["name"]] = {"type": "kafka", "topic": topic["topic"], "connection": topic["connection"]}
        else:
            sources[each["name"]] = {**each["files"], "trigger": each["name"]}
    inputs = {name: {"source": source} for name, source in sources.items()}
    transformations = [{"type": "custom", "custom": {"sql": "SELECT 1"}}] if len(inputs) > 1 else []
    stage = {"id": "load", "inputs": inputs, "transformations": transformations}
    return {"stages": [stage], "triggers": list(triggers), **more}


class WatchDesk(RunDesk):
    """A pipeline with triggers, its watcher among its workers."""

    def __init__(self, *triggers: dict[str, Any], **more: Any) -> None:
        super().__init__("unused")
        self.define_as(*triggers, **more)
        self.send(ActivatePipeline(pipeline_id=ID))

    def define_as(self, *triggers: dict[str, Any], **more: Any) -> list[Event]:
        spec = PipelineSpec.model_validate(described(*triggers, **more))
        return self.send(DefinePipeline(name=ID, spec=spec))

    @property
    def watcher(self) -> str:
        return next(id for id, each in self.state.workers.items() if each.watches and not each.released)

    def told(self, name: str) -> TriggerWatched:
        return [each for each in self.events if isinstance(each, TriggerWatched) and each.trigger == name][-1]

    def topic(self, *ranges: tuple[int, int, int], name: str = "stream", worker: str = "") -> list[Event]:
        given = tuple(PartitionRange(partition=at, start=start, end=end) for at, start, end in ranges)
        watcher = worker or self.watcher
        return self.send(ReportTopicAdvanced(pipeline_id=ID, trigger=name, worker=watcher, ranges=given))

    def files(self, *names: str, **more: Any) -> list[Event]:
        files = tuple(map(file, names))
        return self.send(
            ReportFilesArrived(pipeline_id=ID, trigger="arrivals", worker=self.watcher, files=files, **more)
        )

    def trouble(self, reason: str) -> list[Event]:
        return self.send(ReportTriggerTrouble(pipeline_id=ID, trigger="stream", worker=self.watcher, reason=reason))


def file(name: str, etag: str = "1") -> ArrivedFile:
    return ArrivedFile(url=f"/in/{name}", size=3, etag=etag)


def read(events: list[Event], name: str = "stream") -> list[list[tuple[int, int, int]]]:
    """What each run that was queued reads of a topic."""
    return [
        [(each.partition, each.start, each.end) for each in batch.ranges]
        for event in events
        if isinstance(event, RunQueued)
        for batch in event.topics
        if batch.trigger == name
    ]


def taken(events: list[Event]) -> list[list[str]]:
    """The files that each run takes."""
    return [
        [each.url for given in event.files for each in given.files] for event in events if isinstance(event, RunQueued)
    ]


def test_an_active_pipeline_whose_triggers_name_topics_or_files_has_one_watcher() -> None:
    desk = WatchDesk(TOPIC, FILES)
    (requested,) = [each for each in desk.events if isinstance(each, WorkerRequested) and each.watches]
    assert '"watches":true' in requested.job.environment.variables["FORGELOG_WORKER"]
    assert requested.job.resources.cpus < 1
    assert [each.trigger for each in desk.events if isinstance(each, TriggerWatched)] == ["stream", "arrivals"]
    assert desk.told("stream").since == desk.now
    assert desk.wait(3_600) == [], "it is not released for having no stage"
    desk.send(PausePipeline(pipeline_id=ID))
    assert desk.watcher, "what comes in a pause is found all the same"
    assert "WorkerReleased" in kinds(desk.send(RetirePipeline(pipeline_id=ID)))


def test_a_watcher_is_replaced_when_it_is_lost_and_goes_on_where_it_was() -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 5, 5))
    desk.topic((0, 5, 7))
    first = desk.watcher
    assert "WorkerRequested" not in kinds(desk.lose(first)), "not at once: it may be lost again and again"
    assert "WorkerRequested" in kinds(desk.wait(5))
    assert desk.watcher != first
    assert desk.told("stream").ranges == (PartitionRange(partition=0, start=7, end=7),)
    with pytest.raises(Refused, match="does not watch trigger 'stream' now"):
        desk.topic((0, 7, 9), worker=first)


def test_a_watcher_that_never_gets_ready_fails_no_stage() -> None:
    desk = WatchDesk(TOPIC)
    desk.serves = False
    desk.run()
    for _ in range(5):
        desk.lose(desk.watcher)
        desk.wait(61)
    assert desk.state.runs[f"{ID}.1"].status is PipelineStatus.RUNNING


def test_another_description_has_another_watcher_and_a_trigger_that_is_the_same_goes_on() -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 5, 5))
    first = desk.watcher
    changed = {"name": "stream", "topic": {**TOPIC["topic"], "max_records": 20}}
    events = desk.define_as(changed)
    assert [each.worker for each in events if isinstance(each, WorkerReleased)] == [first]
    assert desk.told("stream").ranges == (PartitionRange(partition=0, start=5, end=5),)
    other = {"name": "stream", "topic": {**TOPIC["topic"], "topic": "sales"}}
    desk.define_as(other)
    assert desk.told("stream").ranges == (), "it is another topic"


def test_each_record_is_given_to_one_run_and_batches_have_no_gaps() -> None:
    desk = WatchDesk(TOPIC)
    assert read(desk.topic((0, 100, 100), (1, 7, 7))) == [], "where it begins is nothing to read"
    assert read(desk.topic((0, 100, 104), (1, 7, 9))) == [[(0, 100, 104), (1, 7, 9)]]
    assert read(desk.topic((0, 104, 120))) == [], "the run that has the last batch has not ended"
    ended = desk.complete("load")
    assert read(ended) == [[(0, 104, 114)]], "no more than max_records"
    assert read(desk.complete("load")) == [[(0, 114, 120)]]
    assert read(desk.complete("load")) == []


def test_all_attempts_read_what_the_run_was_given() -> None:
    stage = {"retry": {"max": 1, "backoff_seconds": 0}}
    fields = described(TOPIC)
    desk = WatchDesk(TOPIC, stages=[{**fields["stages"][0], **stage}])
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 3))
    first = desk.order("load")
    desk.topic((0, 3, 9))
    desk.fail("load")
    desk.wait(1)
    again = desk.order("load")
    assert (first.attempt, again.attempt) == (1, 2)
    assert first.topics == again.topics
    assert [(each.start, each.end) for each in again.topics[0].ranges] == [(0, 3)]


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (6, 8, "partition 0 is known up to 5: it leaves out offsets"),
        (4, 8, "partition 0 is known up to 5: it has offsets again that are known"),
    ],
)
def test_a_gap_or_an_overlap_is_refused(start: int, end: int, problem: str) -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 5, 5))
    with pytest.raises(Refused) as refused:
        desk.topic((0, start, end))
    (error,) = refused.value.errors
    assert error.field == "ranges[0].start"
    assert problem in error.problem


def test_a_report_that_comes_twice_changes_nothing() -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 5, 5))
    desk.topic((0, 5, 6))
    assert desk.topic((0, 5, 6)) == []


def test_records_wait_for_a_run_that_failed_until_it_is_retried_or_cancelled() -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 2))
    (troubled,) = [each for each in desk.fail("load") if isinstance(each, TriggerTroubled)]
    assert troubled.kind is TroubleKind.RUN
    assert troubled.reason.startswith("run 1 has failed, and later records wait for it: retry it, or cancel it")
    assert read(desk.topic((0, 2, 4))) == []
    retried = desk.send(RetryRun(pipeline_id=ID, number=1))
    assert TriggerMended(pipeline_id=ID, trigger="stream", kind=TroubleKind.RUN) in retried
    assert [(each.start, each.end) for each in desk.order("load").topics[0].ranges] == [(0, 2)]
    desk.fail("load")
    assert read(desk.send(CancelRun(pipeline_id=ID, number=1))) == [[(0, 2, 4)]], "its records are given up"
    assert read(desk.complete("load")) == []
    assert desk.state.triggers.troubles == {"stream": {}}


def test_a_failed_run_that_records_wait_for_is_kept_however_many_others_fail() -> None:
    desk = WatchDesk(TOPIC)
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 2))
    desk.fail("load")
    for _ in range(12):
        assert read(desk.run()) == [[]], "a run by hand has nothing of a topic that another one holds"
        desk.fail("load")
    assert desk.state.triggers.holds(f"{ID}.1")
    assert "RunRetried" in kinds(desk.send(RetryRun(pipeline_id=ID, number=1)))


def test_a_run_by_hand_takes_what_waits() -> None:
    desk = WatchDesk(TOPIC)
    desk.send(PausePipeline(pipeline_id=ID))
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 2))
    assert read(desk.run()) == [[(0, 0, 2)]]


def windowed(**more: Any) -> dict[str, Any]:
    """A stage that has windows over the topic."""
    (stage,) = described(TOPIC)["stages"]
    source = {**stage["inputs"]["stream"]["source"], "streaming": {"windows": {"size_seconds": 60}, **more}}
    return {**stage, "inputs": {"stream": {"source": source}}}


def test_what_a_batch_leaves_of_its_windows_is_given_to_the_next_one_once_it_is_completed() -> None:
    desk = WatchDesk(TOPIC, stages=[windowed()])
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 3))
    assert desk.order("load").streams == ()
    left = StreamState(input="stream", late_rows=2)
    desk.complete("load", streams=(left,))
    desk.topic((0, 3, 5))
    assert desk.order("load").streams == (left,)
    desk.fail("load")
    desk.send(CancelRun(pipeline_id=ID, number=2))
    desk.topic((0, 5, 6))
    assert desk.order("load").streams == (left,), "a run that has not completed leaves nothing"
    desk.complete("load", streams=(StreamState(input="stream", batch=2),))
    desk.run()
    assert desk.order("load").streams == (), "it has no records, so it changes no window"
    desk.complete("load")
    desk.topic((0, 6, 7))
    assert [each.batch for each in desk.order("load").streams] == [2]


@pytest.mark.parametrize(
    ("stage", "field", "problem"),
    [
        ({}, "windows", "no trigger watches"),
        ({"late": "update"}, "late", "the stage's sink is none that puts a window in its earlier one's place"),
        ({"late": "side"}, "late", "the stage has no sink"),
        ({"event_time": "when"}, "event_time", "is 'when', which is none of the source's columns: "),
        ({"windows": None, "delay_seconds": 5}, "delay_seconds", "nothing without windows"),
    ],
)
def test_windows_need_a_trigger_and_a_sink_that_fits(stage: dict[str, Any], field: str, problem: str) -> None:
    triggers = [TOPIC] if stage else []
    written = windowed(**stage)
    written["inputs"]["stream"]["source"]["columns"] = [{"name": "at", "type": "TIMESTAMPTZ"}]
    errors = spec_errors(PipelineSpec.model_validate({"stages": [written], "triggers": triggers}))
    (error,) = [each for each in errors if each.field == f"spec.stages[0].inputs.stream.source.streaming.{field}"]
    assert problem in error.problem


def test_a_draft_reads_its_topics_by_itself() -> None:
    desk = RunDesk("unused")
    desk.send(DefinePipeline(name=ID, spec=PipelineSpec.model_validate(described(TOPIC))))
    (queued,) = [each for each in desk.run() if isinstance(each, RunQueued)]
    assert queued.topics == ()


def test_of_several_triggers_the_trouble_of_one_stops_no_other() -> None:
    other = {"name": "sales", "topic": {"topic": "sales", "connection": KAFKA}}
    desk = WatchDesk(TOPIC, other)
    assert desk.trouble("topic: there is no topic 'orders'") == [
        TriggerTroubled(
            pipeline_id=ID, trigger="stream", kind=TroubleKind.SOURCE, reason="topic: there is no topic 'orders'"
        )
    ]
    assert desk.trouble("topic: there is no topic 'orders'") == [], "it is told once"
    desk.topic((0, 0, 0), name="sales")
    assert read(desk.topic((0, 0, 1), name="sales"), "sales") == [[(0, 0, 1)]]
    assert kinds(desk.trouble("")) == ["TriggerMended"]


@pytest.mark.parametrize(
    ("ends", "most", "given"),
    [
        ({0: 3, 1: 2}, 10, {0: 3, 1: 2}),
        ({0: 100, 1: 100}, 10, {0: 5, 1: 5}),
        ({0: 100, 1: 2}, 10, {0: 8, 1: 2}),
        ({0: 100, 1: 0, 2: 1}, 4, {0: 3, 2: 1}),
        ({0: 5, 1: 5, 2: 5}, 2, {0: 1, 1: 1}),
        ({0: 0}, 5, {}),
    ],
)
def test_partitions_share_what_a_run_may_read(ends: dict[int, int], most: int, given: dict[int, int]) -> None:
    found = ranges_of(dict.fromkeys(ends, 0), ends, most)
    assert {each.partition: each.end for each in found} == given
    assert sum(given.values()) == min(most, sum(ends.values()))


# -- files


def test_files_that_arrive_start_a_run_which_reads_them_alone() -> None:
    desk = WatchDesk(FILES)
    assert taken(desk.files(existing=(identity_of(file("old.csv")),), looked=True)) == []
    assert taken(desk.files("old.csv", "a.csv", "b.csv")) == [["/in/a.csv", "/in/b.csv"]]
    order = desk.order("load")
    assert [each.url for each in order.files[0].files] == ["/in/a.csv", "/in/b.csv"]
    assert taken(desk.files("b.csv", "c.csv")) == [], "a run of the trigger is under way"
    assert taken(desk.complete("load")) == [["/in/c.csv"]]


def test_a_run_that_failed_keeps_its_files_and_later_ones_go_on() -> None:
    desk = WatchDesk(FILES)
    desk.files("a.csv")
    desk.fail("load")
    assert taken(desk.files("b.csv")) == [["/in/b.csv"]]
    desk.complete("load")
    desk.send(RetryRun(pipeline_id=ID, number=1))
    assert [each.url for each in desk.order("load").files[0].files] == ["/in/a.csv"]


def test_a_watcher_is_told_of_the_files_that_are_known() -> None:
    desk = WatchDesk(FILES)
    desk.files("a.csv", "b.csv", looked=True)
    desk.files(gone=(identity_of(file("a.csv")),))
    desk.lose(desk.watcher)
    desk.wait(5)
    told = desk.told("arrivals")
    assert told.looked
    assert told.known == (identity_of(file("b.csv")),)


def test_more_files_than_a_run_takes_are_left_to_the_next_one() -> None:
    desk = WatchDesk(FILES)
    desk.files(*(f"{number}.csv" for number in range(1_000)))
    desk.files("last.csv", "more.csv")
    assert taken(desk.complete("load")) == [["/in/last.csv", "/in/more.csv"]]


# -- what watchers find


def listing(**files: tuple[str, float]) -> list[Listed]:
    """Files by name: etag, and when they were written."""
    return [Listed(file(name, etag), modified) for name, (etag, modified) in files.items()]


def test_a_file_that_grows_is_waited_for() -> None:
    arrivals = Arrivals((), settle=30, existing_before=None)
    assert arrivals.look(listing(a=("1", 0)), now=0) == ([], [], [], 30)
    assert arrivals.look(listing(a=("2", 0)), now=20) == ([], [], [], 30), "it has grown"
    assert arrivals.look(listing(a=("2", 0)), now=40) == ([], [], [], 10)
    assert arrivals.look(listing(a=("2", 0)), now=50).arrived == [file("a", "2")]
    assert arrivals.look(listing(a=("2", 0)), now=90).arrived == [], "once"
    assert arrivals.look(listing(a=("3", 0)), now=91).next_after == 30, "with another content it is another file"


def test_files_that_were_there_before_do_not_count() -> None:
    arrivals = Arrivals((), settle=0, existing_before=100.0)
    found = arrivals.look(listing(old=("1", 99.0), new=("1", 101.0)), now=0)
    assert (found.existing, found.arrived) == ([identity_of(file("old"))], [file("new")])
    moved = arrivals.look(listing(old=("1", 99.0), new=("1", 101.0), moved=("1", 50.0)), now=1)
    assert moved.arrived == [file("moved")], "it was written before, and has arrived since the first look"


def test_files_that_are_gone_are_forgotten_once_they_are_many() -> None:
    few = Arrivals(["00" * 8], settle=0, existing_before=None)
    assert few.look([], now=0).gone == []
    many = Arrivals([f"{number:016x}" for number in range(FORGET_FROM + 1)], settle=0, existing_before=None)
    assert len(many.look([], now=0).gone) == FORGET_FROM + 1


def test_records_are_a_batch_by_their_count_or_by_their_age() -> None:
    batching = Batching({0: 5, 1: 0}, most=10, every=60)
    assert batching.look({0: 5, 1: 0}, now=0) == ()
    assert batching.look({0: 8, 1: 1}, now=10) == ()
    assert batching.look({0: 9, 1: 1}, now=69) == ()
    assert [(each.start, each.end) for each in batching.look({0: 9, 1: 1}, now=70)] == [(5, 9), (0, 1)]
    assert [(each.start, each.end) for each in batching.look({0: 19, 1: 1}, now=71)] == [(9, 19)]
    assert batching.look({0: 20, 1: 1}, now=100) == (), "its age counts from when it was seen"
    assert len(batching.look({0: 20, 1: 1}, now=160)) == 1


# -- what descriptions can't be


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"stages": [{"id": "a"}]}, "spec.triggers[0].topic.topic", "no stage has a source of this topic"),
        (
            {"triggers": [TOPIC, {**TOPIC, "name": "again"}]},
            "spec.triggers[1].topic.topic",
            "which trigger stream watches",
        ),
        (
            {"stages": [{"id": "a", "inputs": {"raw": {"source": {**FOLDER, "trigger": "nothing"}}}}], "triggers": []},
            "spec.stages[0].inputs.raw.source.trigger",
            "no trigger of files",
        ),
        (
            {
                "stages": [
                    {"id": "a", "inputs": {"raw": {"source": {**FOLDER, "path": "/x/*.csv", "trigger": "arrivals"}}}}
                ],
                "triggers": [FILES],
            },
            "spec.stages[0].inputs.raw.source.trigger",
            "watches another place",
        ),
    ],
)
def test_a_source_and_its_trigger_have_to_fit(change: dict[str, Any], field: str, problem: str) -> None:
    (error,) = spec_errors(PipelineSpec.model_validate({**described(TOPIC), **change}))
    assert error.field == field
    assert problem in error.problem


def test_secrets_of_triggers_are_those_of_the_pipelines_jobs() -> None:
    topic = {**TOPIC["topic"], "connection": {**KAFKA, "secret": {"name": "broker"}}}
    desk = WatchDesk({"name": "stream", "topic": topic})
    (requested,) = [each for each in desk.events if isinstance(each, WorkerRequested)]
    assert [each.name for each in requested.job.environment.secrets] == ["broker"]


def test_an_order_has_nothing_of_what_its_stage_does_not_read() -> None:
    fields = described(TOPIC, FILES)
    desk = WatchDesk(TOPIC, FILES, stages=[*fields["stages"], {"id": "other"}])
    desk.files("a.csv")
    orders = {each.stage_id: each for each in desk.events if isinstance(each, StageDispatched)}
    assert (len(orders["load"].topics), len(orders["load"].files)) == (1, 1)
    assert (orders["other"].topics, orders["other"].files) == ((), ())
