"""A template of pipelines as people write it, and what they say when they use one."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.language.pipelines.stages import StageInput
from forgelog.errors import ManifestError
from forgelog.manifest import kinds
from forgelog.manifest.pipeline_templates import PIPELINE_TEMPLATE, described, use_of

TEMPLATE = """
kind: PipelineTemplate
name: csv-in
upload: code
sources:
  raw: {format: csv, feeds: [{stage: load, input: raw}]}
practices: {worker: {cpus: 2, memory: 2Gi}}
definition:
  stages:
    - id: load
      transformations: [{type: filter, filter: {where: amount > 0}}]
    - id: told
      inputs: {rows: load, more: {type: dataset, dataset: prices}}
"""


def test_a_template_is_written_as_a_pipeline_with_what_it_requires(tmp_path: Path) -> None:
    (tmp_path / "csv-in.yaml").write_text(TEMPLATE)
    (tmp_path / "code").mkdir()
    (found,) = described(tmp_path / "csv-in.yaml")
    assert (found.name, found.upload) == ("csv-in", str(tmp_path / "code"))
    assert found.spec.practices.worker is not None
    assert found.spec.practices.worker.memory_bytes == 2 << 30
    inputs = found.spec.definition.stages[1].inputs
    assert inputs["rows"] == StageInput(stage="load")
    assert inputs["more"].source is not None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("stage: load, input", "stage: lod, input"), "sources.raw.feeds[0].stage: is 'lod', no stage of"),
        (("name: csv-in", "name: CSV"), "'CSV' is no name of a template"),
        (("format: csv", "format: cvs"), "'cvs' is none of"),
        (("amount > 0", "amount >"), "line 11, column 56: definition.stages[0].transformations[0].filter.where"),
    ],
)
def test_each_mistake_is_named_with_its_line(changed: tuple[str, str], told: str) -> None:
    text = TEMPLATE.replace(*changed)
    with pytest.raises(ManifestError) as caught:
        kinds.parse(text, "csv-in.yaml", PIPELINE_TEMPLATE)
    assert told in str(caught.value)


def test_what_a_use_says_at_once_counts_before_its_file(tmp_path: Path) -> None:
    file = tmp_path / "till.yaml"
    file.write_text(
        "sources:\n  raw: {type: file_system, path: /a, format: csv}\n  old: {type: dataset, dataset: b}\n"
        "parameters: {least: 5}\nworker: {memory: 1Gi}\n"
    )
    said = use_of(file, ["raw={type: s3, path: 's3://b/*.csv'}"], ["out={type: dataset, dataset: till}"])
    assert said == {
        "sources": {
            "raw": {"type": "s3", "path": "s3://b/*.csv"},
            "old": {"type": "dataset", "dataset": "b"},
        },
        "sinks": {"out": {"type": "dataset", "dataset": "till"}},
        "parameters": {"least": "5"},
        "worker": {},
    }
    with pytest.raises(ManifestError, match=r"--source raw has an error"):
        use_of(None, ["raw={type: s4}"])
    with pytest.raises(ManifestError, match=r"--sink out"):
        use_of(None, (), ["out"])
