"""How their events change a project's datasets."""

from __future__ import annotations

from events.language.base import Event
from events.language.experiments import VERSION_MOVES
from events.language.experiments.datasets import DatasetChecked, DatasetCheckRequested, DatasetRegistered
from events.language.experiments.registry import VersionStatus
from events.language.moves import check_move
from services.experiments.datasets.state import Datasets, Version


def evolve(state: Datasets, event: Event) -> Datasets:
    match event:
        case DatasetRegistered():
            spec = event.spec
            managed = spec.bundle is not None
            digest = spec.bundle.digest if spec.bundle is not None else spec.digest
            state.versions[event.version_id] = Version(
                event.name, event.number, digest, managed, check=int(managed), checking=[1] if managed else []
            )
            state.contents.setdefault(event.name, {})[digest] = event.version_id
        case DatasetCheckRequested():
            version = state.versions[event.version_id]
            version.check = event.check
            version.checking.append(event.check)
        case DatasetChecked():
            version = state.versions[event.version_id]
            version.checking = [each for each in version.checking if each > event.check]
            to = VersionStatus.VERIFIED if event.intact else VersionStatus.DAMAGED
            if to is not version.status:
                check_move(VERSION_MOVES, version.status, to, f"dataset {event.version_id}")
            version.status, version.reason = to, event.reason
    return state
