"""The edges of lineage, and what runs read. Pure folds.

Each edge is a fact of one thing's events. The other thing may be decided elsewhere, so a row has events of one place
alone: what both tell has a relation each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from events.language.base import Message
from events.language.experiments import RunAdmitted, RunCreated
from events.language.experiments.datasets import DatasetRegistered, InputsLogged, NodeKind, Preprocessing, dataset_node
from events.language.experiments.launching import RunLaunched
from events.language.experiments.logged_models import LoggedModelAdmitted, LoggedModelCreated, RunModelsLogged
from events.language.experiments.models import RunInput
from events.language.experiments.registry import ModelVersionCreated
from events.log.envelope import Meta
from events.projections.projection import Key, Rows, Table
from services.experiments.registry_rows import EDGES, INPUTS

TABLES = (EDGES, INPUTS)

_Edge = tuple[NodeKind, str, NodeKind, str, str]
"""Source, target and relation."""

MAX_RELATION = 120
"""Characters of a relation, which is in the key of its row."""

K = NodeKind


def touched(event: Message, meta: Meta) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    for source_kind, source, target_kind, target, relation in _edges(event):
        yield EDGES, (target, target_kind.value, source_kind.value, source, relation, meta.project)
    for run_id, each in _inputs(event):
        yield INPUTS, (run_id, each.name, each.digest, each.role)


def put(event: Message, meta: Meta, rows: Rows) -> None:
    """Write the rows of an event."""
    for source_kind, source, target_kind, target, relation in _edges(event):
        row = EDGES.first(
            project=meta.project,
            source_kind=source_kind.value,
            source=source,
            target_kind=target_kind.value,
            target=target,
            relation=relation,
            began_at=meta.time,
        )
        rows.put(EDGES, row)
    for run_id, each in _inputs(event):
        said: dict[str, Any] = each.model_dump(mode="json")
        rows.put(INPUTS, INPUTS.first(**said, run_id=run_id, logged_at=meta.time))


def _inputs(event: Message) -> Iterator[tuple[str, RunInput]]:
    """Runs, and what an event says that they read."""
    match event:
        case InputsLogged():
            yield from ((event.run_id, each) for each in event.inputs)
        case RunAdmitted():
            yield from ((event.run_id, each) for each in event.sources.inputs)


def _edges(event: Message) -> Iterator[_Edge]:
    for run_id, each in _inputs(event):
        yield K.DATASET, dataset_node(each.name, each.digest), K.RUN, run_id, each.role or "input"
    match event:
        case RunCreated():
            if event.process is not None:
                yield K.JOB, event.process.job_id, K.RUN, event.run_id, "process"
            if event.parent_run_id:
                yield K.RUN, event.parent_run_id, K.RUN, event.run_id, "nested"
            if event.reproduces:
                yield K.RUN, event.reproduces, K.RUN, event.run_id, "reproduced"
        case RunLaunched():
            yield K.JOB, event.process.job_id, K.RUN, event.run_id, "process"
        case RunAdmitted():
            yield K.EXPERIMENT, event.experiment_id, K.RUN, event.run_id, "run"
            if base := event.sources.base_version_id:
                yield K.MODEL_VERSION, base, K.RUN, event.run_id, "base"
        case LoggedModelCreated():
            if event.source_run_id:
                yield K.RUN, event.source_run_id, K.LOGGED_MODEL, event.model_id, "output"
        case LoggedModelAdmitted():
            yield K.EXPERIMENT, event.experiment_id, K.LOGGED_MODEL, event.model_id, "logged_model"
        case RunModelsLogged():
            for used in event.inputs:
                yield K.LOGGED_MODEL, used, K.RUN, event.run_id, "model"
            for made in event.outputs:
                yield K.RUN, event.run_id, K.LOGGED_MODEL, made.model_id, "produced"  # the model says "output"
        case ModelVersionCreated():
            id, spec = event.version_id, event.spec
            if spec.source_run_id:
                yield K.RUN, spec.source_run_id, K.MODEL_VERSION, id, "output"
            if spec.logged_model_id:
                yield K.LOGGED_MODEL, spec.logged_model_id, K.MODEL_VERSION, id, "published"
            if spec.checkpoint_id:
                yield K.CHECKPOINT, spec.checkpoint_id, K.MODEL_VERSION, id, "checkpoint"
            for parent in spec.parents:
                yield K.MODEL_VERSION, parent.version_id, K.MODEL_VERSION, id, parent.derivation.value
        case DatasetRegistered():
            spec_, digest = event.spec, event.spec.bundle.digest if event.spec.bundle else event.spec.digest
            node = dataset_node(event.name, digest)
            if spec_.source_run_id:
                yield K.RUN, spec_.source_run_id, K.DATASET, node, "output"
            for parent_node in event.made_of:
                yield K.DATASET, parent_node, K.DATASET, node, preprocessed(spec_.preprocessing)


def preprocessed(steps: Sequence[Preprocessing]) -> str:
    """By which steps a version came of its parent, with their parameters: ``resize size=28, normalized``."""
    texts = [" ".join([step.name, *(f"{key}={value}" for key, value in step.parameters.items())]) for step in steps]
    said = ", ".join(texts) or "derived"
    return said if len(said) <= MAX_RELATION else f"{said[: MAX_RELATION - 1]}…"
