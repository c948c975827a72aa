"""Templates of pipelines that are kept: given what they require, what a use of one becomes, or why it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language import ratings
from events.language.base import Command, Event
from events.language.common import ErrorCode, Refused
from events.language.pipelines.commands import DefinePipeline, RetirePipeline
from events.language.pipelines.events import PipelineDefined
from events.language.pipelines.pipeline import PipelineSpec, TemplateRef
from events.language.pipelines.templates import (
    DefinePipelineTemplate,
    DeletePipelineTemplate,
    PipelineTemplateApplied,
    PipelineTemplateDefined,
    PipelineTemplateDeleted,
    PipelineTemplateRated,
    PipelineTemplateSpec,
    PipelineTemplateUsed,
    RatePipelineTemplate,
    UsePipelineTemplate,
)
from events.log.envelope import Meta, Position, Recorded
from events.log.ids import with_assigned_id
from events.writer.decider import DecisionContext
from services.pipelines.projections import PROJECTION
from services.pipelines.template.decide import Template, Templates
from tests.rows import HeldRows
from tests.unit.pipelines.desk import ID, NOON, PROJECT, Desk

SPEC: dict[str, Any] = {
    "description": "Files as a dataset",
    "category": "ingestion",
    "definition": {
        "parameters": {"least": {"type": "integer", "default": "0", "minimum": "0"}, "day": {"required": True}},
        "stages": [
            {
                "id": "load",
                "transformations": [{"id": "kept", "type": "filter", "filter": {"where": "amount >= $least"}}],
            },
            {"id": "told", "inputs": {"rows": {"stage": "load"}}, "sink": {"type": "dataset", "dataset": "told"}},
        ],
        "execution": {"max_workers": 9, "max_active_runs": 2},
    },
    "sources": {
        "raw": {
            "type": "s3",
            "format": "csv",
            "columns": [{"name": "amount", "type": "BIGINT", "nullable": False}, {"name": "shop", "type": "VARCHAR"}],
            "feeds": [{"stage": "load", "input": "raw"}],
        }
    },
    "sinks": {"out": {"type": "dataset", "mode": "append", "stage": "load"}},
    "practices": {
        "parallelism": {"max_workers": 2, "max_parallel_stages": 5},
        "worker": {"cpus": 2},
        "notes": "Partition by day.",
    },
}
RAW = {"type": "s3", "path": "s3://shop/*.csv"}
OUT = {"type": "dataset", "dataset": "orders", "mode": "append"}


def spec(**changed: Any) -> PipelineTemplateSpec:
    return PipelineTemplateSpec.model_validate({**SPEC, **changed})


def use(**fields: Any) -> UsePipelineTemplate:
    said = {
        "use_id": "tu1",
        "template_id": "files",
        "name": ID,
        "sources": {"raw": RAW},
        "sinks": {"out": OUT},
        **fields,
    }
    return UsePipelineTemplate.model_validate(said)


class TemplateDesk:
    """Decides on one template as its writer does."""

    def __init__(self) -> None:
        self.decider, self.state, self.ids = Templates(), Template(), 0

    def send(self, command: Command, actor: str = "owner", project: str = PROJECT) -> list[Event]:
        self.ids += 1
        command = with_assigned_id(command, f"c{self.ids}", project)
        context = DecisionContext(NOON, f"i{self.ids}", actor, project, command.subject())
        found = list(self.decider.decide(self.state, command, context))
        for event in found:
            self.state = self.decider.evolve(self.state, event, NOON)
        return found


def defined() -> TemplateDesk:
    desk = TemplateDesk()
    desk.send(DefinePipelineTemplate(name="files", spec=spec()))
    return desk


def used(desk: TemplateDesk, **fields: Any) -> PipelineTemplateUsed:
    (event,) = desk.send(use(**fields))
    assert isinstance(event, PipelineTemplateUsed)
    return event


def test_a_template_is_defined_by_its_name_and_anew_as_its_next_revision() -> None:
    desk = TemplateDesk()
    assert desk.send(DefinePipelineTemplate(name="files", spec=spec())) == [
        PipelineTemplateDefined(template_id="files", project=PROJECT, name="files", revision=1, spec=spec())
    ]
    assert desk.send(DefinePipelineTemplate(name="files", spec=spec())) == []
    (second,) = desk.send(DefinePipelineTemplate(name="files", spec=spec(category="files")))
    assert isinstance(second, PipelineTemplateDefined)
    assert second.revision == 2
    with pytest.raises(Refused, match="template files has the id files"):
        desk.send(DefinePipelineTemplate(template_id="other", name="files", spec=spec()))


def test_a_use_is_the_pipeline_with_all_that_is_bound() -> None:
    event = used(defined(), parameters={"least": 5}, note="first", worker={"cpus": 3}, parallelism={"max_workers": 7})
    assert (event.use_id, event.revision, event.pipeline_id, event.note) == ("tu1", 1, ID, "first")
    made = event.spec
    source, sink = made.stages[0].inputs["raw"].source, made.stages[0].sink
    assert source is not None
    assert source.format is not None
    assert (source.path, source.format.type) == ("s3://shop/*.csv", "csv")
    assert [(rule.rule_id, rule.columns, rule.threshold, rule.severity) for rule in source.rules] == [
        ("template-columns", ("shop",), 0.0, "info"),
        ("template-values", ("amount",), 1.0, "critical"),
    ]
    assert sink is not None
    assert (sink.dataset, sink.mode) == ("orders", "append")
    assert made.parameters["least"].default == "5"
    assert made.parameters["day"].required
    execution = made.execution
    assert (execution.max_workers, execution.max_parallel_stages, execution.max_active_runs) == (7, 5, 2)
    assert execution.worker.cpus == 3
    assert made.description == "Files as a dataset"
    recommended = used(defined(), description="Mine").spec
    assert (recommended.execution.worker.cpus, recommended.execution.max_workers) == (2, 2)
    assert recommended.description == "Mine"


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        (
            {"sources": {"extra": RAW}, "sinks": {}, "parameters": {"least": "-1", "most": "2"}},
            {
                "sources.raw": "is not bound, and the template requires it",
                "sources.extra": "is no source that the template requires",
                "sinks.out": "is not bound, and the template requires it",
                "parameters.most": "is no parameter of this pipeline",
                "parameters.least": "is '-1', and the least value is 0",
            },
        ),
        (
            {
                "sources": {"raw": {"type": "kafka", "topic": "t", "connection": {"url": "host:9092"}}},
                "sinks": {"out": {**OUT, "mode": "overwrite"}},
            },
            {
                "sources.raw.type": "is kafka, and the template requires s3",
                "sinks.out.mode": "is overwrite, and the template requires append",
            },
        ),
        (
            {
                "sources": {
                    "raw": {
                        **RAW,
                        "format": {"type": "json"},
                        "columns": [{"name": "amount", "type": "VARCHAR"}],
                    }
                }
            },
            {
                "sources.raw.format": "is json, and the template requires csv",
                "sources.raw.columns": "has no column shop, and the template requires it",
            },
        ),
        ({"sinks": {"out": {**OUT, "dataset": "orders.quarantine"}}}, {"sinks.out.dataset": "is 'orders.quarantine'"}),
        ({"sources": {"raw": {**RAW, "trigger": "new"}}}, {"sources.raw.trigger": "is 'new', no trigger of files"}),
    ],
)
def test_a_use_that_does_not_fit_is_refused_with_all_that_is_wrong(fields: dict[str, Any], errors: Any) -> None:
    with pytest.raises(Refused) as caught:
        defined().send(use(**fields))
    found = {error.field: error.problem for error in caught.value.errors}
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert found.keys() == errors.keys()
    assert all(found[field].startswith(problem) for field, problem in errors.items()), found


def test_a_use_that_makes_too_large_a_pipeline_is_refused() -> None:
    stages = [{"id": f"s{number}"} for number in range(50)]
    feeds = [{"stage": stage["id"], "input": "raw"} for stage in stages]
    desk = TemplateDesk()
    open_one = {"definition": {"stages": stages}, "sources": {"raw": {"feeds": feeds}}, "sinks": {}}
    desk.send(DefinePipelineTemplate(name="files", spec=spec(**open_one)))
    paths = [f"s3://shop/{number:040d}" for number in range(500)]
    with pytest.raises(Refused, match=r"sources make a pipeline of 1,[0-9]{3},[0-9]{3} bytes"):
        desk.send(use(sources={"raw": {"type": "s3", "paths": paths}}, sinks={}))


def test_only_the_newest_revision_is_used() -> None:
    desk = defined()
    desk.send(DefinePipelineTemplate(name="files", spec=spec(category="files")))
    assert used(desk, revision=2).revision == 2
    with pytest.raises(Refused, match="revision 1 of template files is not its newest, which is 2"):
        desk.send(use(revision=1))


@pytest.mark.parametrize(
    ("changed", "field", "problem"),
    [
        ({"sources": {"raw": {"feeds": [{"stage": "lod", "input": "raw"}]}}}, "sources.raw.feeds[0].stage", "is 'lod'"),
        (
            {"sources": {"raw": {"feeds": [{"stage": "told", "input": "rows"}]}}},
            "sources.raw.feeds[0].input",
            "is 'rows', which is the output of stage load",
        ),
        ({"sinks": {"out": {"stage": "lod"}}}, "sinks.out.stage", "is 'lod', no stage"),
        (
            {"sinks": {"out": {"type": "kafka", "mode": "upsert", "stage": "load"}}},
            "sinks.out.mode",
            "is upsert, and kafka only takes more",
        ),
        (
            {"sinks": {"out": {"type": "dataset", "format": "csv", "stage": "load"}}},
            "sinks.out.format",
            "is nothing of the type dataset",
        ),
        ({"sources": {}}, "definition.stages[0].transformations", ""),
    ],
)
def test_a_template_with_errors_is_refused_when_it_is_defined(
    changed: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(Refused) as caught:
        TemplateDesk().send(DefinePipelineTemplate(name="files", spec=spec(**changed)))
    first = caught.value.errors[0]
    assert first.field.startswith(f"spec.{field}")
    assert first.problem.startswith(problem)


def test_a_place_is_required_once() -> None:
    feeds = {"feeds": [{"stage": "load", "input": "raw"}]}
    with pytest.raises(ValidationError, match=r"sources name 'load\.raw' twice; let one of them have it"):
        spec(sources={"raw": feeds, "more": feeds})


def test_an_example_in_the_definition_gives_way_to_what_is_bound() -> None:
    stage = {**SPEC["definition"]["stages"][0], "inputs": {"raw": {"source": {**RAW, "path": "s3://example/*.csv"}}}}
    desk = TemplateDesk()
    desk.send(DefinePipelineTemplate(name="files", spec=spec(definition={**SPEC["definition"], "stages": [stage]})))
    source = used(desk).spec.stages[0].inputs["raw"].source
    assert source is not None
    assert source.path == "s3://shop/*.csv"


def test_each_persons_last_word_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = defined()
    rated = RatePipelineTemplate(template_id="files", stars=4, comment="quick")
    assert desk.send(rated, "ada") == [
        PipelineTemplateRated(template_id="files", rater="ada", revision=1, stars=4, comment="quick")
    ]
    assert desk.send(rated, "ada") == []
    desk.send(RatePipelineTemplate(template_id="files", stars=5), "ada")
    assert desk.state.ratings == {"ada": (5, "")}
    monkeypatch.setattr(ratings, "MOST_RATINGS", 1)
    with pytest.raises(Refused, match="template files has 1 ratings, and takes no more"):
        desk.send(rated, "bob")


def test_a_deleted_template_is_used_no_more_until_it_is_defined_again() -> None:
    desk = defined()
    assert desk.send(DeletePipelineTemplate(template_id="files")) == [PipelineTemplateDeleted(template_id="files")]
    assert desk.send(DeletePipelineTemplate(template_id="files")) == []
    for command in (use(), RatePipelineTemplate(template_id="files", stars=1)):
        with pytest.raises(Refused, match="template files is deleted"):
            desk.send(command)
    (again,) = desk.send(DefinePipelineTemplate(name="files", spec=spec()))
    assert isinstance(again, PipelineTemplateDefined)
    assert again.revision == 2
    assert used(desk).revision == 2


def test_a_template_of_another_project_is_none() -> None:
    for command in (
        use(),
        RatePipelineTemplate(template_id="files", stars=1),
        DeletePipelineTemplate(template_id="files"),
    ):
        with pytest.raises(Refused, match="there is no template 'files' in this project") as caught:
            defined().send(command, project="acme/lab")
        assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_pipeline_becomes_what_a_use_asks_for() -> None:
    template, desk = defined(), Desk()
    event, ref = used(template), TemplateRef(template_id="files", revision=1)
    made = PipelineDefined(pipeline_id=ID, project=PROJECT, name=ID, pipeline_version=1, spec=event.spec, template=ref)
    applied = PipelineTemplateApplied(use_id="tu1", pipeline_id=ID, pipeline_version=1)
    assert desk.hear(event) == [made, applied]
    assert desk.hear(event) == [applied]
    (changed,) = desk.send(DefinePipeline(name=ID, spec=PipelineSpec.model_validate({"stages": [{"id": "a"}]})))
    assert getattr(changed, "template", None) == ref
    template.send(DefinePipelineTemplate(name="files", spec=spec(category="files")))
    third, _ = desk.hear(used(template))
    assert isinstance(third, PipelineDefined)
    assert (third.pipeline_version, third.template) == (3, TemplateRef(template_id="files", revision=2))
    desk.send(RetirePipeline(pipeline_id=ID))
    (anew,) = desk.send(DefinePipeline(name=ID, spec=event.spec))
    assert isinstance(anew, PipelineDefined)
    assert anew.template is None


def test_rows_count_each_pipeline_once_and_keep_code_from_being_collected() -> None:
    desk = TemplateDesk()
    code = {"digest": "1" * 64, "size": 9}
    definition = {**SPEC["definition"], "code": code}
    command = DefinePipelineTemplate(name="files", spec=spec(definition=definition))
    assert [(field, ref.digest) for field, ref in command.objects()] == [("spec.definition.code", "1" * 64)]
    events = desk.send(command)
    for name in (ID, ID, "stock"):
        events += desk.send(use(name=name))
    events += desk.send(RatePipelineTemplate(template_id="files", stars=3))
    pipeline = Desk()
    events += pipeline.hear(events[1])
    held = HeldRows(PROJECTION)
    for number, event in enumerate(events):
        meta = Meta("e", type(event).type_name(), event.subject(), NOON, PROJECT, "ada")
        PROJECTION.project(Recorded(event, meta, ID, Position("events.pipelines", 0, number)), held)
    row = held.tables["pipeline_templates"]["files",]
    assert (row["uses"], row["owner"], row["revision"], row["category"]) == (2, "ada", 1, "ingestion")
    assert held.tables["pipeline_template_ratings"]["files", "owner"]["revision"] == 1
    assert held.tables["pipelines"][ID,]["template"] == {"template_id": "files", "revision": 1}
    assert held.tables["pipeline_versions"][ID, 1]["template"] == {"template_id": "files", "revision": 1}
    kept = {(subject, row["bundle"]) for (subject, _), row in held.tables["objects"].items()}
    assert kept == {("pipeline_template/files", True), (f"pipeline/{ID}", True)}
