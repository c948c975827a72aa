"""Pipelines out of a manifest's documents. Sends nothing.

kind: Pipeline
name: daily-sales
stages:
  - id: load
  - id: report
    inputs: {sales: load}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from events.language.base import Model
from events.language.common import FieldError, shown
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.formats import DataFormat
from events.language.pipelines.pipeline import PipelineName, PipelineSpec
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.stages import StageInput, StageRetry
from forgelog.errors import Problem
from forgelog.manifest import kinds
from forgelog.manifest.nodes import Node, problem
from forgelog.manifest.programs import folder_of
from forgelog.manifest.shape import Path, Shaper
from forgelog.manifest.shorthand import OF_JOBS, Shorthand
from forgelog.pipelines.checking import can_check, sql_errors

M = TypeVar("M", bound=Model)

_NAME: TypeAdapter[str] = TypeAdapter(PipelineName)

SHORTHAND = OF_JOBS | Shorthand(words={StageInput: "stage", StageRetry: "max", DataFormat: "type", Schedule: "cron"})

_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class ManifestPipeline:
    """One pipeline of a manifest."""

    name: str
    spec: PipelineSpec
    upload: str = ""
    """The folder with the user's own Python, to be uploaded before; empty for none."""


def _pipelines(documents: Sequence[Node], problems: list[Problem]) -> list[ManifestPipeline]:
    found = [_pipeline(node, problems) for node in documents]
    return [each for each in found if each is not None]


PIPELINE = kinds.ManifestKind("Pipeline", "name and stages", "forgelog pipeline define", _pipelines)
"""A pipeline; the input of a stage may be written as the id of another stage, or with the keys of a source."""


def _pipeline(node: Node, problems: list[Problem]) -> ManifestPipeline | None:
    read = document(node, problems, PipelineSpec, "pipeline", "daily-sales", {"stages": with_sources})
    if read is None:
        return None
    name, spec, upload, shaper = read
    errors = spec_errors(spec)
    if not errors and can_check():
        errors = sql_errors(spec)
    problems += [placed(error, shaper) for error in errors]
    one_code(node, upload, spec.code, "code", problems)
    return ManifestPipeline(name, spec, upload)


def document(
    node: Node,
    problems: list[Problem],
    model: type[M],
    what: str,
    example: str,
    written_out: Mapping[str, Callable[[Node], Node]],
) -> tuple[str, M, str, Shaper] | None:
    """The name, the rest as `model`, the folder to be uploaded, and where each value stands, of what a document says of
    a `what`, such as `example`; None if the rest is none. `written_out`: key → what makes its value the model's."""
    if node.kind != "map":
        problems.append(problem(node, f"a {what} is a map of keys", f"write for example 'name: {example}'"))
        return None
    name = upload = ""
    rest: list[tuple[Node, Node]] = []
    for key, value in node.pairs:
        if key.text == "name":
            name = _name_of(value, problems, what)
        elif key.text == "upload":
            upload = folder_of(value, problems)
        else:
            rest.append((key, written_out[key.text](value) if key.text in written_out else value))
    if not name and not any(key.text == "name" for key, _ in node.pairs):
        problems.append(problem(node, "has no name", f"write for example 'name: {example}'", "name"))
    shaper = Shaper(SHORTHAND)
    data = shaper.shape(Node("map", pairs=rest, line=node.line, column=node.column), model)
    spec = shaper.validated(data, model)
    problems += shaper.problems
    return None if spec is None else (name, spec, upload, shaper)


def one_code(node: Node, upload: str, code: object, place: str, problems: list[Problem]) -> None:
    """A folder to be uploaded and code that is uploaded already do not go together."""
    if upload and code is not None:
        hint = "leave one of them out: code is what becomes of an uploaded folder"
        problems.append(problem(node, f"goes with no {place}", hint, "upload"))


def with_sources(stages: Node) -> Node:
    """Stages with their inputs written out: ``raw: {type: s3, path: …}`` is a source."""
    if stages.kind != "list":
        return stages
    return replace(stages, items=[_with_sources(stage) for stage in stages.items])


def _with_sources(stage: Node) -> Node:
    if stage.kind != "map":
        return stage
    pairs = [
        (key, replace(value, pairs=[(name, _input(given)) for name, given in value.pairs]))
        if key.text == "inputs" and value.kind == "map"
        else (key, value)
        for key, value in stage.pairs
    ]
    return replace(stage, pairs=pairs)


def _input(given: Node) -> Node:
    if given.kind != "map" or {key.text for key, _ in given.pairs} & set(StageInput.model_fields):
        return given
    key = Node("scalar", "source", "source", line=given.line, column=given.column)
    return Node("map", pairs=[(key, given)], line=given.line, column=given.column)


def _name_of(value: Node, problems: list[Problem], what: str) -> str:
    """What a document is called; empty if it is no name."""
    try:
        return _NAME.validate_python(value.text)
    except ValidationError:
        hint = "use 1 to 57 lower-case letters, digits and hyphens, no hyphen at an end"
        problems.append(problem(value, f"{shown(value.text)} is no name of a {what}", hint, "name"))
        return ""


def placed(error: FieldError, shaper: Shaper) -> Problem:
    """An error of the whole at the place of its value."""
    field = error.field.removeprefix("spec.")
    parts = (int(index) if index else word for word, index in _PART.findall(field))
    path: Path = tuple(parts)
    while path and path not in shaper.places:
        path = path[:-1]
    place = shaper.places.get(path) or Node("scalar")
    return problem(place, error.problem, error.hint, field)
