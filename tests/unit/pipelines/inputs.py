"""Commands and events for `tests/unit/writer/test_any_order.py`: of two pipelines, few of them sensible."""

from __future__ import annotations

from hypothesis import strategies as st

from events.language.common import DEFAULT_PROJECT, utc
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    TaskCounts,
    TaskExit,
    TaskStart,
)
from events.language.pipelines.arrivals import ArrivedFile, PartitionRange
from events.language.pipelines.columns import Column
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.dataset_messages import (
    CommitRefused,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from events.language.pipelines.enums import RunWhen, StageCache, StageOutcome
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.pipeline import Execution, PipelineSpec
from events.language.pipelines.run_commands import (
    CancelRun,
    PauseRun,
    ReleaseWorker,
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    ReportWorkerReady,
    ResumeRun,
    RetryRun,
    RunPipeline,
)
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import ForEach, StageInput, StageRetry, StageSpec
from events.language.pipelines.templates import (
    DefinePipelineTemplate,
    DeletePipelineTemplate,
    PipelineTemplateSpec,
    PipelineTemplateUsed,
    RatePipelineTemplate,
    RequiredSource,
    TemplateInput,
    UsePipelineTemplate,
)
from events.language.pipelines.watch_messages import ReportFilesArrived, ReportTopicAdvanced, ReportTriggerTrouble
from events.language.pipelines.work import FailureKind, StageFailure, StageMetrics
from tests.unit.pipelines import time_inputs

AT = utc(1_760_000_000)
IDS = st.sampled_from(["sales", "stock"])
STAGES = ("load", "clean", "report")

_stages = st.builds(
    lambda id, after, run_when, retries, skip, limit, each, cache, writes: StageSpec(
        id=id,
        after=tuple(after),
        run_when=run_when if after else RunWhen.ALL_OK,
        retry=StageRetry(max=retries, backoff_seconds=3),
        skip_on_failure=skip,
        timeout_seconds=limit,
        for_each=ForEach(count=40) if each else None,
        cache=StageCache.NONE if each else cache,
        inputs={"raw": StageInput(stage="load")} if writes and not each and id != "load" else {},
        sink=DataSink(type=DataSourceType.DATASET, dataset="clean-sales")
        if writes and not each and id != "load"
        else None,
        condition="stages.load.status == 'completed'" if "load" in after and skip else "",
    ),
    st.sampled_from(STAGES),
    st.lists(st.sampled_from(STAGES), max_size=2),
    st.sampled_from(RunWhen),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([None, 20.0]),
    st.booleans(),
    st.sampled_from(StageCache),
    st.booleans(),
)
_executions = st.builds(
    Execution,
    max_active_runs=st.integers(1, 2),
    fail_fast=st.booleans(),
    max_workers=st.integers(1, 3),
    keep_warm_seconds=st.sampled_from([0.0, 30.0]),
)
_specs = st.builds(
    lambda stages, execution, timed: PipelineSpec(stages=tuple(stages), execution=execution, **timed),
    st.lists(_stages, min_size=1, max_size=3, unique_by=lambda stage: stage.id),
    _executions,
    time_inputs.fields,
)
_of = {"pipeline_id": IDS}
_run = {**_of, "number": st.integers(1, 3)}
_workers = st.builds(lambda id, number: f"pipe.{id}.w{number}", IDS, st.integers(1, 4))


@st.composite
def _about(draw: st.DrawFn) -> dict[str, object]:
    id = draw(IDS)
    return {
        "run_id": f"{id}.{draw(st.integers(1, 3))}",
        "pipeline_id": id,
        "stage_id": draw(st.sampled_from(STAGES)),
        "attempt": draw(st.integers(1, 3)),
        "worker": f"pipe.{id}.w{draw(st.integers(1, 4))}",
    }


def _ended(about: dict[str, object], outcome: StageOutcome, kind: FailureKind, first: int | None) -> ReportStageEnded:
    failure = StageFailure(kind=kind, problem="it broke") if outcome is StageOutcome.FAILED else None
    return ReportStageEnded(
        **about,  # type: ignore[arg-type]
        outcome=outcome,
        failure=failure,
        first_task=first,
        metrics=StageMetrics(seconds=0.1),
    )


def _exited(worker: str, reason: ExitReason) -> JobExited:
    return JobExited(job_id=worker, node_id="n1", tasks=(TaskExit(task=0, attempt=1, reason=reason, ended_at=AT),))


def _began(worker: str) -> JobStarted:
    start = TaskStart(task=0, attempt=1, allocation_id="a", pid=1, started_at=AT)
    return JobStarted(job_id=worker, node_id="n1", tasks=(start,))


@st.composite
def _of_stage(draw: st.DrawFn) -> dict[str, object]:
    about = draw(_about())
    return {"dataset_id": "clean-sales", **{name: value for name, value in about.items() if name != "worker"}}


def _request(of: dict[str, object]) -> CommitRequest:
    return CommitRequest(**of, pipeline_version=1, manifest=MANIFEST)  # type: ignore[arg-type]


_watched = {**_of, "worker": _workers, "trigger": st.just("arrived")}
_ranges = st.builds(
    lambda start, count: (PartitionRange(partition=0, start=start, end=start + count),),
    st.integers(0, 9),
    st.integers(1, 9),
)
_arrived = st.builds(
    ArrivedFile, url=st.sampled_from(["/data/a.csv", "/data/b.csv"]), size=st.just(9), etag=st.just("1")
)

MANIFEST = CommitManifest(
    attempt="sales.1.clean.1",
    type=DataSourceType.DATASET,
    mode=WriteMode.OVERWRITE,
    base="file:///data/datasets/clean",
    aside="file:///data/datasets/clean/_forgelog/1",
    columns=(Column(name="day", type="DATE"),),
    rows=3,
    bytes=100,
)

_job_ended = {
    "exit_code": st.just(1),
    "project": st.just(DEFAULT_PROJECT),
    "counts": st.just(TaskCounts(total=1, cancelled=1)),
}

pipelines = st.one_of(
    st.builds(lambda name, spec: DefinePipeline(pipeline_id=name, name=name, spec=spec), IDS, _specs),
    st.builds(ActivatePipeline, **_of),
    st.builds(PausePipeline, **_of),
    st.builds(ResumePipeline, **_of),
    st.builds(RetirePipeline, **_of),
    st.builds(RunPipeline, **_of),
    st.builds(RunPipeline, **_of),
    st.builds(CancelRun, **_run),
    st.builds(PauseRun, **_run),
    st.builds(ResumeRun, **_run),
    st.builds(RetryRun, **_run),
    st.builds(
        lambda id, number: ReportWorkerReady(pipeline_id=id, worker=f"pipe.{id}.w{number}"), IDS, st.integers(1, 3)
    ),
    st.builds(lambda id, number: ReleaseWorker(pipeline_id=id, worker=f"pipe.{id}.w{number}"), IDS, st.integers(1, 3)),
    _about().map(lambda about: ReportStageStarted(**about)),
    _about().map(lambda about: ReportStageResolved(**about, cache_key="4f" * 32)),
    _about().map(lambda about: ReportStageProgress(**about, metrics=StageMetrics(rows_read=1))),
    st.builds(_ended, _about(), st.sampled_from(StageOutcome), st.sampled_from(FailureKind), st.just(None)),
    st.builds(
        _ended, _about(), st.sampled_from(StageOutcome), st.sampled_from(FailureKind), st.sampled_from([0, 16, 20, 32])
    ),
    st.builds(_exited, _workers, st.sampled_from(ExitReason)),
    st.builds(_began, _workers),
    *(st.builds(kind, job_id=_workers, **_job_ended) for kind in (JobCancelled, JobCompleted, JobFailed)),
    _about().map(lambda about: ReportStagePrepared(**about, manifest=MANIFEST)),
    _about().map(lambda about: ReportStagePublished(**about, dataset_version=1)),
    _of_stage().map(lambda of: VersionCommitted(**of, dataset_version=1, request=_request(of))),
    _of_stage().map(lambda of: CommitRefused(**of, cause="rules", reason="they are others now")),
    _of_stage().map(lambda of: VersionPublished(**of, dataset_version=1)),
    _of_stage().map(lambda of: VersionAbandoned(**of, dataset_version=1)),
    st.builds(ReportTopicAdvanced, **_watched, ranges=_ranges),
    st.builds(ReportFilesArrived, **_watched, files=st.tuples(_arrived), looked=st.booleans()),
    st.builds(ReportTriggerTrouble, **_watched, reason=st.sampled_from(["", "there is no such topic"])),
    st.builds(
        PipelineTemplateUsed,
        use_id=st.just("tu1"),
        template_id=st.just("files"),
        revision=st.integers(1, 2),
        pipeline_id=st.just("sales"),
        project=st.just(DEFAULT_PROJECT),
        name=st.just("sales"),
        spec=_specs,
        first=st.booleans(),
    ),
    *time_inputs.inputs(IDS),
    st.floats(0, 100),
)

_of_template = {"template_id": st.just("files")}

templates = st.one_of(
    st.builds(
        lambda definition, feeds: DefinePipelineTemplate(
            template_id="files",
            name="files",
            spec=PipelineTemplateSpec(
                definition=definition,
                sources={"raw": RequiredSource(feeds=(TemplateInput(stage=feeds, input="raw"),))} if feeds else {},
            ),
        ),
        _specs,
        st.sampled_from(["", *STAGES]),
    ),
    st.builds(
        UsePipelineTemplate,
        **_of_template,
        use_id=st.sampled_from(["tu1", "tu2"]),
        name=IDS,
        revision=st.integers(0, 2),
        sources=st.sampled_from([{}, {"raw": DataSource(type=DataSourceType.DATASET, dataset="orders")}]),
    ),
    st.builds(RatePipelineTemplate, **_of_template, stars=st.integers(1, 5)),
    st.builds(DeletePipelineTemplate, **_of_template),
)
