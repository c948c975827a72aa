"""What is asked of a dataset when a stage wants its output to become the next version: `CommitRequest`."""

from __future__ import annotations

import base64
import re
from typing import Annotated

from blake3 import blake3
from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier
from events.language.pipelines.lineage import MAX_LINEAGE_INPUTS, LineageEdges, LineageInput
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.quality import MAX_RULES, RuleOutcome
from events.language.pipelines.transformations import Transformation, TransformationType, named

MAX_LOGIC = 2_000

DatasetVersionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which version of its dataset; the first is 1."""

DatasetLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,118}[a-z0-9])?$"), Field(examples=["clean-orders"])
]
"""What a dataset is called in its project: lower-case letters, digits, ``_`` and ``-``."""

StageKey = Annotated[str, StringConstraints(min_length=1, max_length=63)]
AttemptNumber = Annotated[int, Field(ge=1, le=1_000_000)]


class AppliedTransformation(Model):
    """A transformation that made a version, in short."""

    name: Annotated[str, StringConstraints(max_length=200)]
    type: TransformationType
    logic: Annotated[str, StringConstraints(max_length=MAX_LOGIC)] = ""
    """Its settings as JSON, cut where they are long."""


class CommitRequest(Model):
    """An attempt of a stage has written its output aside, and asks that it becomes a version of a dataset."""

    dataset_id: Identifier
    pipeline_id: Identifier
    pipeline_version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    run_id: Identifier
    stage_id: StageKey
    attempt: AttemptNumber
    manifest: CommitManifest
    quarantine: CommitManifest | None = None
    """The rows that rules have set aside; None if there are none."""
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)
    """Of the stage's rules and of the dataset's."""
    inputs: tuple[LineageInput, ...] = Field(default=(), max_length=MAX_LINEAGE_INPUTS)
    lineage: LineageEdges = LineageEdges()
    transformations: tuple[AppliedTransformation, ...] = Field(default=(), max_length=1_000)
    """In their order."""


def applied(transformations: tuple[Transformation, ...]) -> tuple[AppliedTransformation, ...]:
    """A stage's transformations in short."""
    return tuple(
        AppliedTransformation(name=name, type=each.type, logic=_shortened(each))
        for name, each in zip(named(transformations), transformations, strict=True)
    )


def _shortened(transformation: Transformation) -> str:
    text = transformation.model_dump_json(exclude_defaults=True, exclude={"id", "type"})
    return text if len(text) <= MAX_LOGIC else text[: MAX_LOGIC - 1] + "…"


def place_label(location: str) -> str:
    """What the dataset is called that a place outside is: the last words of its location, and a part of its hash. A
    pattern of files is the folder that they lie in, so that what is written and read again is one dataset."""
    place = _folder(location)
    words = re.sub(r"[^a-z0-9]+", "-", re.split(r"[/#]", place)[-1].lower()).strip("-")[:60].strip("-")
    digest = base64.b32encode(blake3(place.encode()).digest(8)).decode().lower()[:10]
    return f"{words}-{digest}" if words else f"place-{digest}"


def _folder(location: str) -> str:
    """A location without its pattern, and without a slash at its end."""
    parts = location.split("/")
    whole = next((at for at, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    return "/".join(parts[:whole]).rstrip("/") or location
