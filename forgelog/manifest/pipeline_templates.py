"""Templates of pipelines out of a manifest's documents. Sends nothing.

kind: PipelineTemplate
name: files-in
category: ingestion
definition:
  stages: [{id: load}]
sources:
  raw: {format: csv, columns: [{name: amount, type: BIGINT}], feeds: [{stage: load, input: raw}]}
sinks:
  out: {type: dataset, stage: load}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from events.language.base import Model
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import WorkerResources
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import InputName
from events.language.pipelines.template_uses import in_definition, sampled, template_errors
from events.language.pipelines.templates import Parallelism, PipelineTemplateSpec
from forgelog.errors import Problem
from forgelog.manifest import kinds
from forgelog.manifest.nodes import Node, only_map
from forgelog.manifest.pipelines import SHORTHAND, document, one_code, placed, with_sources
from forgelog.manifest.shape import Shaper
from forgelog.pipelines.checking import can_check, sql_errors


@dataclass(frozen=True, slots=True)
class ManifestTemplate:
    """One template of a manifest."""

    name: str
    spec: PipelineTemplateSpec
    upload: str = ""
    """The folder with the pipeline's own Python, to be uploaded before; empty for none."""


def described(file: str | Path) -> list[ManifestTemplate]:
    """The templates of a file; ``-`` reads standard input. Folders to be uploaded are taken from where the file is.
    Raises `ManifestError`, `InvalidInput`."""
    base = Path() if str(file) == "-" else Path(file).resolve().parent
    found = kinds.load(file, PIPELINE_TEMPLATE)
    return [replace(each, upload=str(base / each.upload)) if each.upload else each for each in found]


def _templates(documents: Sequence[Node], problems: list[Problem]) -> list[ManifestTemplate]:
    found = [_template(node, problems) for node in documents]
    return [each for each in found if each is not None]


PIPELINE_TEMPLATE = kinds.ManifestKind(
    "PipelineTemplate", "name and definition", "forgelog pipeline template save", _templates
)
"""A template of pipelines; its `definition` has the keys of a pipeline."""


def _template(node: Node, problems: list[Problem]) -> ManifestTemplate | None:
    read = document(node, problems, PipelineTemplateSpec, "template", "files-in", {"definition": _definition})
    if read is None:
        return None
    name, spec, upload, shaper = read
    errors = template_errors(spec)
    if not errors and can_check():
        errors = [in_definition(error) for error in sql_errors(sampled(spec))]
    problems += [placed(error, shaper) for error in errors]
    one_code(node, upload, spec.definition.code, "definition.code", problems)
    return ManifestTemplate(name, spec, upload)


def _definition(given: Node) -> Node:
    if given.kind != "map":
        return given
    return replace(
        given, pairs=[(key, with_sources(value) if key.text == "stages" else value) for key, value in given.pairs]
    )


class TemplateUse(Model):
    """What a use of a template binds, as a file has it: fields of `UsePipelineTemplate`."""

    sources: dict[InputName, DataSource] = Field(default_factory=dict)
    sinks: dict[InputName, DataSink] = Field(default_factory=dict)
    parameters: Parameters = Field(default_factory=dict)
    parallelism: Parallelism = Parallelism()
    worker: WorkerResources | None = None
    description: str = ""


def _uses(documents: Sequence[Node], problems: list[Problem]) -> list[TemplateUse]:
    node = only_map(documents, problems, "the use of a template", "write for example 'sources: {raw: {…}}'")
    if node is None:
        return []
    shaper = Shaper(SHORTHAND)
    found = shaper.validated(shaper.shape(node, TemplateUse), TemplateUse)
    problems += shaper.problems
    return [] if found is None else [found]


_USE = kinds.ManifestKind("TemplateUse", "sources or sinks", "forgelog pipeline template use", _uses)


def use_of(file: str | Path | None, sources: Sequence[str] = (), sinks: Sequence[str] = ()) -> Mapping[str, Any]:
    """What a use says, as arguments of `AsyncPipelineTemplates.use`: a file's, and places that are written as
    ``raw={type: s3, path: …}``, which count before it. Raises `ManifestError`, `InvalidInput`."""
    said: dict[str, Any] = {} if file is None else _arguments(kinds.load(file, _USE)[0])
    for field, option, given in (("sources", "--source", sources), ("sinks", "--sink", sinks)):
        for text in given:
            name, _, value = text.partition("=")
            found = _arguments(kinds.parse(f"{field}: {{{name}: {value}\n}}\n", f"{option} {name}", _USE)[0])
            said[field] = {**said.get(field, {}), **found.get(field, {})}
    return said


def _arguments(use: TemplateUse) -> dict[str, Any]:
    return use.model_dump(mode="json", exclude_defaults=True)
