"""The answers' types are those of the messages, and every method that users call says what it does."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest

from forgelog.client import rows
from forgelog.client.aio import AsyncClient, AsyncJob
from forgelog.client.plain import plain
from forgelog.client.rows import JobRow
from forgelog.client.sync import Client, Job
from forgelog_pb.jobs.v1 import queries_pb2, types_pb2
from proto import rows as generated
from proto.rows import CLASSES


def test_an_answer_has_the_class_of_its_message_and_is_a_dict_still() -> None:
    job = plain(
        queries_pb2.Job(
            job_id="j1",
            status=types_pb2.JobStatus.JOB_STATUS_RUNNING,
            submitted_at=datetime(2026, 5, 9, tzinfo=UTC),
            tasks=queries_pb2.TaskTally(total=3),
        )
    )
    assert isinstance(job, JobRow)
    assert (job.status, job["status"], job.tasks.total, job.exit_code) == ("running", "running", 3, None)


@pytest.mark.parametrize("name", CLASSES.values())
def test_every_key_is_typed(name: str) -> None:
    """`make proto` writes the classes; this says that what it wrote can be read."""
    hints = get_type_hints(getattr(rows, name))
    assert hints
    assert not {"keys", "values", "items", "get", "pop", "update"} & set(hints), "a dict's methods must be reachable"


def methods(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_") and callable(value)}


@pytest.mark.parametrize("kind", [Client, Job, AsyncClient, AsyncJob])
def test_every_public_method_has_a_docstring(kind: type) -> None:
    properties = {name: value for name, value in vars(kind).items() if isinstance(value, property)}
    assert [name for name, value in {**methods(kind), **properties}.items() if not value.__doc__] == []


@pytest.mark.parametrize(("plain", "coroutines"), [(Client, AsyncClient), (Job, AsyncJob)])
def test_the_plain_client_has_the_same_methods(plain: type, coroutines: type) -> None:
    assert set(methods(plain)) == set(methods(coroutines))


def test_the_rows_of_a_list_are_found() -> None:
    files = generated._files()
    messages = {f"{file.package}.{each.name}": each for file in files for each in file.message_type}
    assert generated._rows(files, messages) == {
        "forgelog.common.v1.NoticeDelivery": "NoticeDeliveryRow",
        "forgelog.deployments.v1.Deployment": "DeploymentRow",
        "forgelog.deployments.v1.DeploymentRevision": "DeploymentRevisionRow",
        "forgelog.deployments.v1.Replica": "ReplicaRow",
        "forgelog.deployments.v1.Routing": "RoutingRow",
        "forgelog.deployments.v1.EndpointKey": "EndpointKeyRow",
        "forgelog.deployments.v1.InferenceRequest": "InferenceRequestRow",
        "forgelog.pipelines.v1.Pipeline": "PipelineRow",
        "forgelog.pipelines.v1.PipelineVersion": "PipelineVersionRow",
        "forgelog.pipelines.v1.DataSchema": "DataSchemaRow",
        "forgelog.pipelines.v1.DataVersion": "DataVersionRow",
        "forgelog.pipelines.v1.Dataset": "DatasetRow",
        "forgelog.pipelines.v1.QualityCheck": "QualityCheckRow",
        "forgelog.pipelines.v1.RuleRecord": "RuleRecordRow",
        "forgelog.pipelines.v1.Backfill": "BackfillRow",
        "forgelog.pipelines.v1.SlaMiss": "SlaMissRow",
        "forgelog.pipelines.v1.PipelineRun": "PipelineRunRow",
        "forgelog.pipelines.v1.PipelineWorker": "PipelineWorkerRow",
        "forgelog.pipelines.v1.StageRun": "StageRunRow",
        "forgelog.pipelines.v1.PipelineTemplate": "PipelineTemplateRow",
        "forgelog.pipelines.v1.PipelineTemplateRating": "PipelineTemplateRatingRow",
        "forgelog.experiments.v1.DatasetVersion": "DatasetVersionRow",
        "forgelog.experiments.v1.Experiment": "ExperimentRow",
        "forgelog.experiments.v1.ExperimentInput": "ExperimentInputRow",
        "forgelog.experiments.v1.ExperimentTemplate": "ExperimentTemplateRow",
        "forgelog.experiments.v1.TemplateRating": "TemplateRatingRow",
        "forgelog.experiments.v1.LiveVersion": "LiveVersionRow",
        "forgelog.experiments.v1.ModelVersion": "ModelVersionRow",
        "forgelog.experiments.v1.Promotion": "PromotionRow",
        "forgelog.experiments.v1.RegisteredModel": "RegisteredModelRow",
        "forgelog.experiments.v1.RunArtifact": "RunArtifactRow",
        "forgelog.experiments.v1.ExperimentRun": "ExperimentRunRow",
        "forgelog.experiments.v1.HyperparameterTuningJob": "HyperparameterTuningJobRow",
        "forgelog.experiments.v1.Metric": "MetricRow",
        "forgelog.experiments.v1.Point": "PointRow",
        "forgelog.experiments.v1.Trial": "TrialRow",
        "forgelog.log.v1.DeadLetter": "DeadLetterRow",
    }
    (log,) = (file for file in files if file.package == "forgelog.log.v1" and file.service)
    log.package = "forgelog.notes.v1"
    twice = {name.replace(".log.", ".notes."): message for name, message in messages.items()}
    for method in log.service[0].method:
        method.output_type = method.output_type.replace(".log.", ".notes.")
    for message in log.message_type:
        for field in message.field:
            field.type_name = field.type_name.replace("log.v1.DeadLetter", "jobs.v1.Task.Job")
    assert generated._rows([log], twice) == {"forgelog.jobs.v1.Task.Job": "JobsJobRow"}
