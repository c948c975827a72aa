"""A pipeline's versions and states: given these events, when this command, then these events."""

from __future__ import annotations

import pytest

from events.language.base import Command
from events.language.common import ErrorCode, Refused
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.pipeline import PipelineSpec
from tests.unit.pipelines.desk import ID, PROJECT, Desk, spec


def defined(version: int, *written: str, **fields: str) -> PipelineDefined:
    return PipelineDefined(
        pipeline_id=ID, project=PROJECT, name="sales", pipeline_version=version, spec=spec(*written), **fields
    )


def test_a_definition_is_a_version() -> None:
    desk = Desk()
    assert desk.define("load") == [defined(1, "load")]
    assert desk.define("load") == []
    assert desk.define("load", "report: load") == [defined(2, "load", "report: load")]
    assert desk.state.status is PipelineStatus.DRAFT


def test_a_definition_with_errors_tells_them_all() -> None:
    with pytest.raises(Refused) as refused:
        Desk().define("load: lod", "report: report")
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert [error.field for error in refused.value.errors] == ["spec.stages[0].after[0]", "spec.stages[1]"]
    assert refused.value.message.startswith("the pipeline has 2 errors; the first: spec.stages[0].after[0] is 'lod'")


def test_a_copy_keeps_its_parent() -> None:
    desk = Desk()
    desk.send(DefinePipeline(name="sales", spec=spec("load"), parent="stock"))
    (second,) = desk.define("load", "report")
    assert isinstance(second, PipelineDefined)
    assert second.parent == "stock"


def test_a_pipeline_is_activated_paused_and_resumed() -> None:
    desk = Desk()
    desk.define("load")
    assert desk.send(ActivatePipeline(pipeline_id=ID)) == [PipelineActivated(pipeline_id=ID)]
    assert desk.send(ActivatePipeline(pipeline_id=ID)) == []
    assert desk.send(PausePipeline(pipeline_id=ID, reason="a fix")) == [PipelinePaused(pipeline_id=ID, reason="a fix")]
    assert desk.send(PausePipeline(pipeline_id=ID)) == []
    assert desk.send(ResumePipeline(pipeline_id=ID)) == [PipelineResumed(pipeline_id=ID)]
    assert desk.send(ResumePipeline(pipeline_id=ID)) == []


def test_a_retired_pipeline_s_name_is_free_and_its_versions_go_on() -> None:
    desk = Desk()
    desk.define("load")
    assert desk.send(RetirePipeline(pipeline_id=ID)) == [PipelineRetired(pipeline_id=ID)]
    assert desk.define("load") == [defined(2, "load")]
    assert desk.state.status is PipelineStatus.DRAFT


@pytest.mark.parametrize(
    ("given", "command", "told"),
    [
        ([], ActivatePipeline(pipeline_id=ID), "there is no pipeline 'sales'"),
        ([RetirePipeline(pipeline_id=ID)], PausePipeline(pipeline_id=ID), "pipeline sales is retired"),
        ([], PausePipeline(pipeline_id=ID), "there is no pipeline"),
        ([PausePipeline(pipeline_id=ID)], ActivatePipeline(pipeline_id=ID), "is paused; resume it"),
        (None, ResumePipeline(pipeline_id=ID), "is a draft and not paused; activate it"),
        (None, PausePipeline(pipeline_id=ID), "pipeline sales can't go from draft to paused"),
        (None, DefinePipeline(pipeline_id="stock", name="sales", spec=spec("load")), "is 'stock', and pipeline sales"),
    ],
)
def test_what_can_not_be_is_refused(given: list[Command] | None, command: Command, told: str) -> None:
    desk = Desk()
    if given is None or given:
        desk.define("load")
    if given:
        desk.send(ActivatePipeline(pipeline_id=ID))
        for each in given:
            desk.send(each)
    with pytest.raises(Refused, match=told):
        desk.send(command)


def test_a_quarantine_is_neither_written_by_a_stage_nor_waited_for() -> None:
    """It is a part of its dataset's versions."""
    raw = {"raw": {"source": {"type": "file_system", "path": "/in/*.csv"}}}
    stage = {"id": "load", "inputs": raw, "sink": {"type": "dataset", "dataset": "orders.quarantine"}}
    trigger = {"name": "refused", "dataset": {"datasets": ["orders", "orders.quarantine"]}}
    errors = spec_errors(PipelineSpec.model_validate({"stages": [stage], "triggers": [trigger]}))
    assert [(error.field, error.hint) for error in errors] == [
        (
            "spec.triggers[0].dataset.datasets[1]",
            "name orders: its versions bring the rows that rules set aside",
        ),
        ("spec.stages[0].sink.dataset", "name another dataset, such as orders-refused"),
    ]
