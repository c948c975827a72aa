"""Runs that are cancelled, retired or fail amid the way of a version: no dataset waits for them for ever."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import Refused
from events.language.pipelines.commands import DefinePipeline, RetirePipeline
from events.language.pipelines.dataset_messages import VersionAbandoned, VersionCommitted, VersionPublished
from events.language.pipelines.pipeline import Execution
from events.language.pipelines.run_commands import (
    CancelRun,
    PauseRun,
    ReportStageEnded,
    ReportStagePrepared,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    RetryRun,
)
from events.language.pipelines.run_events import CommitWithdrawn, StageFailed, WorkerReleased
from events.language.pipelines.stages import StageRetry, StageSpec
from services.pipelines.pipeline.failures import PUBLISHING_RETRIES
from services.pipelines.pipeline.stepping import LEAST_PUBLISH_SECONDS
from tests.unit.pipelines.desk import ID, RunDesk, kinds
from tests.unit.pipelines.test_runs import MANIFEST, OF_STAGE, RUN, committed, writing

CANCEL = CancelRun(pipeline_id=ID, number=1, reason="wrong files")


def alone(**fields: Any) -> StageSpec:
    """A stage that writes, and waits for no other."""
    raw = {"source": {"type": "file_system", "path": "/data/raw.csv"}}
    sink = {"type": "dataset", "dataset": "clean-sales"}
    return StageSpec.model_validate({"id": "clean", "inputs": {"raw": raw}, "sink": sink, **fields})


def publish(desk: RunDesk) -> list[Any]:
    """The worker has published, and the dataset says so."""
    return [
        *desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4)),
        *desk.hear(VersionPublished(**OF_STAGE, dataset_version=4)),
    ]


@pytest.mark.parametrize("decided", [False, True])
def test_what_nobody_was_told_to_publish_is_withdrawn(decided: bool) -> None:
    desk = writing()
    if decided:
        for worker in desk.state.workers.values():
            worker.released = True  # nobody is there to publish it
        desk.serves = False
        assert kinds(committed(desk)) == ["StageCommitted", "WorkerRequested"]
    found = desk.send(CANCEL)
    assert kinds(found)[:3] == ["CommitWithdrawn", "StageSkipped", "RunCancelled"]
    assert isinstance(found[0], CommitWithdrawn)
    assert found[0].dataset_id == "clean-sales"


def test_a_cancelled_run_ends_once_what_it_has_begun_to_publish_is_in_its_place() -> None:
    desk = writing()
    committed(desk)
    assert kinds(desk.send(CANCEL)) == ["RunStopping"]
    assert desk.send(CANCEL) == []
    with pytest.raises(Refused, match="run 1 is ending, and waits only for what it has begun to publish"):
        desk.send(PauseRun(pipeline_id=ID, number=1))
    desk.lose(desk.order("clean").worker)
    assert desk.order("clean").phase == "publish", "another worker publishes it"
    found = publish(desk)
    assert kinds(found)[:3] == ["StagePublished", "StageCompleted", "RunCancelled"]
    assert found[2].reason == "wrong files"
    assert not [each for each in found if getattr(each, "stage_id", "") == "report"], "nothing else begins"


def test_a_publication_that_fails_amid_a_cancellation_is_tried_again() -> None:
    desk = writing()
    committed(desk)
    desk.send(CANCEL)
    for _ in range(PUBLISHING_RETRIES):
        assert "RunCancelled" not in kinds(desk.fail("clean"))
        while desk.statuses()["clean"] == "retrying":
            desk.wait(10)
    assert "RunCancelled" in kinds(desk.fail("clean")), "an operator gives the version up"


def test_a_version_that_is_abandoned_ends_a_run_that_waits_for_it() -> None:
    desk = writing()
    committed(desk)
    desk.send(CANCEL)
    assert kinds(desk.hear(VersionAbandoned(**OF_STAGE, dataset_version=4)))[:2] == ["StageFailed", "RunCancelled"]


def test_a_retired_pipeline_publishes_what_it_has_begun_and_its_name_is_free_meanwhile() -> None:
    desk = writing()
    committed(desk)
    assert kinds(desk.send(RetirePipeline(pipeline_id=ID))) == ["RunStopping", "PipelineRetired"]
    desk.lose(desk.order("clean").worker)
    assert desk.order("clean").phase == "publish"
    spec = desk.state.spec
    assert spec is not None
    desk.send(DefinePipeline(name=ID, spec=spec))
    assert kinds(publish(desk))[:3] == ["StagePublished", "StageCompleted", "RunCancelled"]
    assert (desk.state.runs, desk.state.last_run) == ({}, 1)


def test_a_run_that_fails_fast_waits_for_what_it_has_begun_to_publish_and_can_be_retried() -> None:
    desk = RunDesk(alone(), "other", "last: clean other", execution=Execution(fail_fast=True))
    desk.run()
    desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    committed(desk)
    assert kinds(desk.fail("other"))[:3] == ["StageFailed", "StageSkipped", "RunStopping"]
    assert kinds(publish(desk))[:3] == ["StagePublished", "StageCompleted", "RunFailed"]
    desk.send(RetryRun(pipeline_id=ID, number=1))
    desk.complete("other")
    assert "RunCompleted" in kinds(desk.complete("last"))


def test_what_is_withdrawn_when_a_run_fails_fast_is_done_again_when_it_is_retried() -> None:
    desk = RunDesk(alone(), "other", execution=Execution(fail_fast=True))
    desk.run()
    desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    request = desk.state.runs[RUN].stages["clean"].commit
    assert kinds(desk.fail("other"))[:4] == ["StageFailed", "CommitWithdrawn", "StageSkipped", "RunFailed"]
    desk.send(RetryRun(pipeline_id=ID, number=1))
    order = desk.order("clean")
    assert (order.phase, order.attempt) == ("run", 2)
    late = VersionCommitted(**OF_STAGE, dataset_version=4, request=request)
    assert desk.hear(late) == [], "it was on its way when the request was withdrawn"


@pytest.mark.parametrize("what", ["prepared", "published", "ended"])
def test_a_last_report_that_comes_when_its_attempt_was_stopped_frees_the_worker(what: str) -> None:
    """It has nothing to stop any more, so no other answer follows."""
    desk = writing(timeout_seconds=90, retry=StageRetry(max=1, backoff_seconds=1))
    if what == "published":
        committed(desk)
    else:
        desk = RunDesk(alone(timeout_seconds=90, retry=StageRetry(max=1, backoff_seconds=1)))
        desk.run()
        desk.send(ReportStageStarted(**desk.about("clean")))
    about = desk.about("clean")
    assert "StageStopRequested" in kinds(desk.wait(90))
    report: Any = {
        "prepared": lambda: ReportStagePrepared(**about, manifest=MANIFEST),
        "published": lambda: ReportStagePublished(**about, dataset_version=4),
        "ended": lambda: ReportStageEnded(**about, outcome="cancelled"),
    }[what]()
    assert kinds(desk.send(report))[:1] == ["StageStopped"]
    assert not [each for each in desk.wait(50) if isinstance(each, WorkerReleased) and each.worker == about["worker"]]


def test_a_publication_has_time_also_where_the_stage_has_little() -> None:
    desk = writing(timeout_seconds=1)
    committed(desk)
    assert desk.wait(LEAST_PUBLISH_SECONDS - 1) == []
    assert "StageStopRequested" in kinds(desk.wait(2))


def test_a_stage_that_waits_amid_its_work_fails_if_no_worker_starts() -> None:
    desk = RunDesk(
        StageSpec.model_validate({"id": "load", "cache": "content"}),
        execution=Execution(max_workers=1, keep_warm_seconds=0),
    )
    desk.run()
    worker = desk.order("load").worker
    desk.serves = False
    desk.state.workers[worker].released = True
    desk.send(ReportStageResolved(**desk.about("load"), cache_key="00" * 32))
    for _ in range(3):
        desk.lose(max(desk.state.workers, key=lambda id: desk.state.workers[id].number))
        desk.wait(10)
    (failed,) = (each for each in desk.events if isinstance(each, StageFailed))
    assert failed.failure.problem.startswith("its worker did not start")
    assert desk.state.runs[RUN].status.value == "failed"
