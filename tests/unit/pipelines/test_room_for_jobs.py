"""A pipeline that its jobs have no room for is refused: an event could not say what they are told."""

from __future__ import annotations

from typing import Any

from events.language.jobs.spec import JobEnvironment, JobMetadata, JobSpec, SecretRef
from events.language.pipelines.checks import MAX_LABELS, MAX_SECRETS, MAX_VARIABLES, spec_errors
from events.language.pipelines.connections import Connection, DataSourceType
from events.language.pipelines.parameters import ParameterSpec
from events.language.pipelines.pipeline import Execution, PipelineSpec
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import StageInput, StageSpec
from services.pipelines.pipeline import launching
from services.pipelines.pipeline.state import Pipeline
from tests.unit.pipelines.desk import ID, RunDesk, stages


def told(*made: StageSpec, **fields: Any) -> list[str]:
    return [error.field for error in spec_errors(PipelineSpec(stages=made, **fields))]


def reading(secret: str) -> StageSpec:
    connection = Connection(url="s3://raw", secret=SecretRef(name=secret))
    source = DataSource(type=DataSourceType.S3, path="day.csv", connection=connection)
    return StageSpec(id=secret, inputs={"raw": StageInput(source=source)})


def test_workers_have_the_secrets_of_all_stages() -> None:
    own = Execution(secrets=(SecretRef(name="s0"), SecretRef(name="mine")))
    enough = [reading(f"s{number}") for number in range(MAX_SECRETS - 1)]
    assert told(*enough, execution=own) == []
    assert told(*enough, reading("one-more"), execution=own) == ["spec.execution.secrets"]
    spec = PipelineSpec(stages=tuple(enough), execution=own)
    state = Pipeline(name=ID, version=1, spec=spec, specs={1: spec})
    asked = launching.shared_worker(state, ID, "local/default", 1, 1, "")
    assert len(asked.job.environment.secrets) == MAX_SECRETS


def a_job(variables: int, labels: int) -> StageSpec:
    metadata = JobMetadata(name="load", labels={f"l{number}": "x" for number in range(labels)})
    environment = JobEnvironment(variables={f"V{number}": "x" for number in range(variables)})
    return StageSpec(id="load", job=JobSpec(metadata=metadata, command="true", environment=environment))


def test_a_job_of_a_stage_has_room_for_what_tells_it_of_its_run() -> None:
    parameters = {"day": ParameterSpec(default="1")}
    assert told(a_job(MAX_VARIABLES - 6, MAX_LABELS - 2), parameters=parameters) == []
    assert told(a_job(MAX_VARIABLES - 5, MAX_LABELS - 1), parameters=parameters) == [
        "spec.stages[0].job.environment.variables",
        "spec.stages[0].job.metadata.labels",
    ]
    desk = RunDesk(a_job(MAX_VARIABLES - 6, MAX_LABELS - 2), parameters=parameters)
    desk.run()
    order = desk.order("load")
    assert type(order).model_validate_json(order.to_json()) == order, "what is recorded can be read again"


def test_stages_whose_jobs_would_have_one_id_are_refused() -> None:
    assert told(*stages("load-all", "load_all")) == ["spec.stages[1].id"]
