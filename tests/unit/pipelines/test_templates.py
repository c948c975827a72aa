"""The templates of pipelines: each is a folder to begin with, whose manifest is right and whose code is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forgelog.cli.pipeline_templates import FOLDER, names
from forgelog.cli.pipelines import app
from forgelog.pipelines.declaring.files import described

FIVE = ["batch-inference", "cdc-from-postgres", "feature-table", "files-to-parquet", "train-evaluate-register"]


def test_there_are_five() -> None:
    assert names() == FIVE
    listed = CliRunner().invoke(app, ["template"]).output
    assert [line.split()[0] for line in listed.splitlines()] == FIVE


@pytest.mark.parametrize("name", FIVE)
def test_a_template_becomes_a_folder_whose_pipeline_is_right(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    written = CliRunner().invoke(app, ["template", name, "--into", str(folder)])
    assert written.exit_code == 0, written.output
    (pipeline,) = described(folder / "pipeline.yaml")
    assert pipeline.name == name
    assert pipeline.upload in ("", str(folder))
    for stage in pipeline.spec.stages:
        for given in stage.inputs.values():
            if given.source is not None and given.source.path:
                within = given.source.path.removeprefix(f"{tmp_path}/mine/")
                assert list(folder.glob(within)), f"{given.source.path} is not in the template"
        for each in stage.transformations:
            if each.custom is not None and each.custom.python is not None:
                python = each.custom.python
                tree = ast.parse((FOLDER / name / f"{python.module}.py").read_text())
                functions = {entry.name: entry for entry in tree.body if isinstance(entry, ast.FunctionDef)}
                arguments = {argument.arg for argument in functions[python.function].args.args}
                assert arguments <= {*stage.inputs, *pipeline.spec.parameters}


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["template", FIVE[0], "--into", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is there already; name a folder that is not" in refused.output
    unknown = CliRunner().invoke(app, ["template", "no-such", "--into", str(tmp_path / "x")])
    assert "no template 'no-such' comes with Forgelog; there are batch-inference" in unknown.output


def test_a_folder_with_signs_of_patterns_in_its_name_is_written_as_itself(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" [x] $1'
    assert CliRunner().invoke(app, ["template", "feature-table", "--into", str(folder)]).exit_code == 0
    (pipeline,) = described(folder / "pipeline.yaml")
    source = pipeline.spec.stages[0].inputs["orders"].source
    assert source is not None
    assert source.path == f'{tmp_path}/a "quoted" [[]x] $$1/data/orders.csv'
