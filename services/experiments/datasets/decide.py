"""A project's datasets: versions by name and number, each content once. Pure.

RegisterDataset ─► DatasetRegistered (pending, or external) ─► (worker) ReportDatasetChecked ─► DatasetChecked
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from events.language.base import Command, Event
from events.language.common import PLATFORM_ACTOR, absent, invalid, shown
from events.language.experiments.datasets import (
    MAX_NODE_BYTES,
    CheckDataset,
    DatasetChecked,
    DatasetCheckRequested,
    DatasetRegistered,
    RegisterDataset,
    ReportDatasetChecked,
    dataset_node,
)
from events.language.experiments.registry import (
    VersionStatus,
)
from events.log.ids import id_ending
from events.writer.decider import Decider, DecisionContext
from services.experiments.datasets.fold import evolve
from services.experiments.datasets.state import Datasets
from services.experiments.refusals import denied, exists, forbidden


class DatasetCatalogues(Decider[Datasets]):
    """The decider of datasets; its key is the project."""

    context = "experiments"
    aggregate = "datasets"
    commands = (RegisterDataset, CheckDataset, ReportDatasetChecked)
    events = (DatasetRegistered, DatasetCheckRequested, DatasetChecked)

    def initial(self, key: str) -> Datasets:
        return Datasets()

    def evolve(self, state: Datasets, event: Event, time: datetime) -> Datasets:
        return evolve(state, event)

    def holds(self, state: Datasets, aggregate: str, id: str) -> bool:
        return id in state.versions

    def decide(self, state: Datasets, command: Command, context: DecisionContext) -> Sequence[Event]:
        match command:
            case RegisterDataset():
                return [_registered(state, command, context)]
            case CheckDataset():
                return _check_requested(state, command)
            case ReportDatasetChecked():
                return _checked(state, command, context)
        raise TypeError(f"datasets take no {type(command).__name__}")


def _registered(state: Datasets, command: RegisterDataset, context: DecisionContext) -> DatasetRegistered:
    id, spec = command.version_id, command.spec
    if id in state.versions:
        raise exists(
            "version_id", f"there is a dataset {shown(id)} already", "leave version_id out to have one assigned"
        )
    known = state.contents.get(command.name, {})
    digest = spec.bundle.digest if spec.bundle is not None else spec.digest
    if (same := known.get(digest)) is not None:
        number = state.versions[same].number
        problem = f"dataset {shown(command.name)} has this content already as version {number} ({same})"
        raise exists("spec.digest", problem, "use that version")
    if not digest.isprintable() or len(dataset_node(command.name, digest).encode()) > MAX_NODE_BYTES:
        problem = f"is not printable, or has with the name more than {MAX_NODE_BYTES} bytes"
        raise invalid("spec.digest", problem, "give a digest in hexadecimal, or another short text")
    if spec.source_run_id and not spec.source_run_id.endswith(id_ending(context.project)):
        problem = f"{shown(spec.source_run_id)} is no run of project {context.project}"
        raise invalid("spec.source_run_id", problem, "give a run of the project")
    for number, parent in enumerate(spec.parents):
        field = f"spec.parents.{number}"
        if (found := state.versions.get(parent)) is None:
            problem = f"there is no dataset {shown(parent)} in this project"
            raise invalid(field, problem, "forgelog datasets list shows them")
        if found.status is VersionStatus.DAMAGED:
            problem = f"{found.name}/{found.number} is damaged: {found.reason}"
            raise forbidden(field, problem, "restore its files and check it first")
    return DatasetRegistered(
        project=command.project,
        version_id=id,
        name=command.name,
        number=len(known) + 1,
        spec=spec,
        made_of=tuple(dataset_node(each.name, each.digest) for each in map(state.versions.__getitem__, spec.parents)),
        description=command.description,
        tags=command.tags,
    )


def _check_requested(state: Datasets, command: CheckDataset) -> Sequence[Event]:
    id = command.version_id
    if (version := state.versions.get(id)) is None:
        problem = f"there is no dataset {shown(id)} in this project"
        raise absent("version_id", problem, "forgelog datasets list shows them")
    if not version.managed:
        problem = f"{version.name}/{version.number} is external: the platform can't look at its files"
        raise forbidden("version_id", problem, "register it with its files")
    return [DatasetCheckRequested(project=command.project, version_id=id, check=version.check + 1)]


def _checked(state: Datasets, command: ReportDatasetChecked, context: DecisionContext) -> Sequence[Event]:
    if context.actor != PLATFORM_ACTOR:
        problem = "the platform itself looks at a dataset's files"
        raise denied("version_id", problem, "have it done by CheckDataset")
    version = state.versions.get(command.version_id)
    if version is None or command.check not in version.checking:
        return ()
    if not command.intact and not command.reason:
        raise invalid("reason", "is empty", "say what is wrong with the files")
    return [
        DatasetChecked(
            project=command.project,
            version_id=command.version_id,
            check=command.check,
            intact=command.intact,
            reason="" if command.intact else command.reason,
            files=command.files,
            size_bytes=command.size_bytes,
        )
    ]
