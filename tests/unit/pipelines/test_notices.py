"""Given who a pipeline and a dataset say is told, then each thing that goes wrong is told once, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from events.language.deployments.alerts import AlertChannel
from events.language.pipelines.commands import ActivatePipeline
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.contracts import DatasetContract, FreshnessPolicy
from events.language.pipelines.dataset_messages import DatasetDefined, DatasetStale, SetContract, VolumeAnomaly
from events.language.pipelines.notifications import PipelineNotification
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import ReportStagePrepared
from events.language.pipelines.schedule_messages import ScheduleBroken
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sla import Sla
from events.language.pipelines.stages import StageInput, StageSpec
from events.language.pipelines.work import FailureKind, StageFailure
from events.log.envelope import Meta, Position, Recorded
from events.notices import messages
from events.process.instants import instant
from services.pipelines.projections import PROJECTION
from tests.rows import HeldRows
from tests.unit.pipelines.dataset import desk as datasets
from tests.unit.pipelines.dataset.desk import outcome
from tests.unit.pipelines.desk import ID, NOON, Desk, RunDesk
from tests.unit.pipelines.test_clock_rows import HOURLY
from tests.unit.pipelines.test_runs import MANIFEST

ALL = ({"name": "team", "kind": "email", "target": "team@example.org"},)
LOG = AlertChannel.model_validate({"name": "log", "kind": "log"})


def told(events: list[Any], project: str = "local/default") -> list[dict[str, Any]]:
    """The notices of a history, in its order."""
    rows = HeldRows(PROJECTION)
    for number, event in enumerate(events):
        meta = Meta(f"e{number}", type(event).type_name(), event.subject(), NOON, project, "owner")
        PROJECTION.project(Recorded(event, meta, ID, Position("events.pipelines", 0, number)), rows)
    return [dict(row) for row in rows.tables["notices"].values()]


def notified(*channels: dict[str, Any]) -> tuple[PipelineNotification, ...]:
    return tuple(PipelineNotification.model_validate(each) for each in channels)


def test_a_run_that_failed_is_told_and_one_that_is_completed_only_to_who_wants_it() -> None:
    happy = {"name": "happy", "kind": "log", "when": ["run_completed"]}
    desk = RunDesk("load", notifications=notified(*ALL, happy))
    desk.run()
    desk.complete("load")
    desk.run()
    desk.fail("load")
    done, failed = told(desk.events)
    assert (done["type"], [each["name"] for each in done["channels"]]) == ("run.completed", ["happy"])
    assert (failed["type"], [each["name"] for each in failed["channels"]]) == ("run.failed", ["team"])
    assert (failed["severity"], failed["summary"]) == ("critical", "stage load failed")
    assert failed["details"] == {"run_id": f"{ID}.2"}
    assert failed["command"] == f"forgelog pipeline status {ID} 2"


def test_the_body_of_a_webhook_names_the_pipeline_and_the_run() -> None:
    desk = RunDesk("load", notifications=notified(*ALL))
    desk.run()
    desk.fail("load")
    (failed,) = told(desk.events)
    said = orjson.loads(messages.body(failed))
    assert said | {"id": "e"} == {
        "id": "e",
        "type": "run.failed",
        "time": instant(NOON),
        "project": "local/default",
        "pipeline": ID,
        "pipeline_id": ID,
        "run_id": f"{ID}.1",
        "severity": "critical",
        "summary": "stage load failed",
    }
    mail = messages.mail(failed, "forgelog@example.org", "team@example.org")
    assert mail["Subject"] == f"[forgelog] {ID}: run 1 failed"
    assert f"forgelog pipeline status {ID} 1" in mail.get_content()


def test_a_promise_that_was_not_kept_is_told_with_its_deadline() -> None:
    desk = Desk()
    desk.define("load", schedule=HOURLY, sla=Sla(finish_within_seconds=600), notifications=notified(*ALL))
    desk.send(ActivatePipeline(pipeline_id=ID))
    desk.wait(3600 + 601)
    (missed,) = told(desk.events)
    deadline = instant(NOON + timedelta(hours=1, minutes=10))
    assert (missed["type"], missed["severity"]) == ("sla.missed", "warning")
    assert missed["summary"] == f"run 1 is not completed by {deadline}, as finish_within promises"
    assert missed["details"] == {"sla": "finish_within", "deadline": deadline, "run_id": f"{ID}.1"}


def test_a_broken_schedule_is_told() -> None:
    desk = Desk()
    desk.define("load", schedule=HOURLY, notifications=notified(*ALL))
    (broken,) = told([*desk.events, ScheduleBroken(pipeline_id=ID, reason="there is no zone Mars/Olympus")])
    assert (broken["type"], broken["summary"]) == ("schedule.broken", "there is no zone Mars/Olympus")
    assert broken["details"] == {}


def writing(*outcomes: Any) -> RunDesk:
    """A run whose stage asks for a version, with what came of rules."""
    sink = DataSink(type=DataSourceType.DATASET, dataset="clean-sales")
    stage = StageSpec(id="clean", inputs={"raw": StageInput(stage="load")}, sink=sink)
    desk = RunDesk("load", stage, notifications=notified(*ALL))
    desk.run()
    desk.complete("load")
    desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST, outcomes=tuple(outcomes)))
    return desk


def test_a_breached_rule_is_told_once_for_an_attempt() -> None:
    desk = writing(outcome("known", failed=3), outcome("fine"), outcome("noted", failed=9, severity="info"))
    (breach,) = told(desk.events)
    assert (breach["type"], breach["severity"]) == ("quality.breached", "warning")
    assert breach["summary"] == "rule known is breached: 3 of 100 rows fail"
    assert breach["details"] == {
        "stage": "clean",
        "rules": ["known"],
        "dataset_id": "clean-sales",
        "run_id": f"{ID}.1",
    }
    assert told(writing(outcome("fine"), outcome("noted", failed=9, severity="info")).events) == []


def test_a_rule_that_stops_a_stage_is_told_beside_the_run_s_end() -> None:
    desk = RunDesk("load", notifications=notified(*ALL))
    desk.run()
    desk.fail("load", "rule known is breached", FailureKind.RULE)
    assert [each["type"] for each in told(desk.events)] == ["run.failed"], "it names no rule"
    (failed,) = [event for event in desk.events if type(event).__name__ == "StageFailed"]
    stops = outcome("known", failed=3, severity="critical", stops=True)
    stopped = failed.model_copy(update={"outcomes": (stops,)})
    events = [stopped if event is failed else event for event in desk.events]
    breach, run = told(events)
    assert (breach["type"], breach["severity"], run["type"]) == ("quality.breached", "critical", "run.failed")
    refused = failed.model_copy(
        update={"failure": StageFailure(kind=FailureKind.COMMIT, problem="no"), "outcomes": (stops,)}
    )
    events = [refused if event is failed else event for event in desk.events]
    assert [each["type"] for each in told(events)] == ["run.failed"], "the request for a version has told of the rule"


def test_a_dataset_tells_by_its_contract() -> None:
    contract = DatasetContract(freshness=FreshnessPolicy(within_seconds=60), notifications=(LOG,))
    desk = datasets.Desk()
    desk.told(SetContract(dataset_id=datasets.ID, contract=contract))
    desk.asked(datasets.request())
    desk.published(1)
    desk.later(61)
    (stale,) = told(desk.events)
    assert (stale["type"], stale["aggregate"], stale["subject"]) == ("dataset.stale", "dataset", datasets.ID)
    assert stale["summary"].startswith("version 1 was published at ")
    odd = VolumeAnomaly(dataset_id=datasets.ID, dataset_version=1, rows=2, median=100.0, deviation=1.0)
    assert [each["type"] for each in told([*desk.events, odd])] == ["dataset.stale", "dataset.volume"]
    nobody = [event for event in desk.events if not isinstance(event, DatasetStale)]
    assert told(nobody) == []
    assert isinstance(desk.events[0], DatasetDefined)


def test_nobody_is_told_where_no_channel_is_set() -> None:
    desk = RunDesk("load")
    desk.run()
    desk.fail("load")
    assert told(desk.events) == []


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="notifications has the name 'team' twice; give each channel its own"):
        PipelineSpec(stages=(StageSpec(id="a"),), notifications=notified(*ALL, *ALL))
    with pytest.raises(ValidationError, match="notifications has the name 'log' twice"):
        DatasetContract(notifications=(LOG, LOG))


@pytest.mark.parametrize("target", ["example.org", "https://me:password@example.org/hook"])
def test_a_target_that_can_not_be_is_refused(target: str) -> None:
    with pytest.raises(ValidationError, match="target "):
        notified({"name": "hook", "kind": "webhook", "target": target})
