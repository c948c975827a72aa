"""Where the files of a new version come from: the URI that MLflow's client names as its source.

    runs:/RUN/PATH                                    mlflow-artifacts:/EXPERIMENT/RUN/artifacts/PATH
    models:/MODEL/NUMBER    models:/MODEL@ALIAS       mlflow-artifacts:/model-versions/ID/artifacts

The version gets files of its own: a list of what the source has now, in the platform's store. Whatever becomes of the
source, they stay.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from events.language.common import shown
from events.language.convert import to_dict
from events.language.experiments.registry import Derivation, ModelVersionSpec
from events.objects.manifest import BundleFile, Manifest
from events.objects.store import ObjectDamaged, ObjectMissing
from services.gateway.errors import DoorError
from services.gateway.mlflow import mlmodel
from services.gateway.mlflow.artifacts import Files, every, files_at
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.manifests import without_folder
from services.gateway.mlflow.registry_names import model_of, version_by_alias, version_of
from services.gateway.mlflow.registry_shapes import VERSIONS
from services.gateway.mlflow.run_ids import inward
from services.gateway.mlflow.version_files import version_of_id

_HINT = "write runs:/RUN/PATH, models:/MODEL/VERSION or models:/MODEL@ALIAS, or a run's artifact_uri with a path"


@dataclass(frozen=True, slots=True)
class OfRun:
    """A file or folder of a run."""

    run_id: str
    path: str


@dataclass(frozen=True, slots=True)
class OfVersion:
    """The files of a version of a model, which has a number or an alias."""

    model: str
    number: int = 0
    alias: str = ""


@dataclass(frozen=True, slots=True)
class OfVersionId:
    version_id: str


@dataclass(frozen=True, slots=True)
class Address:
    """Files by their path on this door."""

    path: str


def parse_source(uri: str) -> OfRun | OfVersion | OfVersionId | Address:
    """What a source names. Pure. Raises DoorError."""
    scheme, _, rest = uri.partition(":")
    path = rest.lstrip("/")
    if scheme == "mlflow-artifacts":
        if rest.startswith("//") and not rest.startswith("///"):
            path = path.partition("/")[2]  # behind the host
        first, _, rest = path.partition("/")
        version, _, rest = rest.partition("/")
        if first == VERSIONS and rest.rstrip("/") == "artifacts":
            return OfVersionId(version)
        return Address(path)
    if scheme == "runs":
        run, _, inside = path.partition("/")
        if run:
            return OfRun(run, inside.rstrip("/"))
    if scheme == "models":
        model, at, alias = path.partition("@")
        if at and model and alias:
            return OfVersion(model, alias=alias)
        model, _, number = path.partition("/")
        if model and number.isdecimal() and int(number) > 0:
            return OfVersion(model, int(number))
    raise DoorError.about("source", f"{shown(uri)} is nothing that the platform keeps files of", _HINT)


async def taken_from(asked: Asked, calls: Calls) -> dict[str, Any]:
    """What a new version is, by the source that a request names: the fields of a `ModelVersionSpec`. Raises DoorError
    or Relayed."""
    uri = asked.text("source", required=True)
    source = parse_source(uri)
    match source:
        case OfVersion():
            spec = _copied(await _version(calls, source))
        case OfVersionId():
            spec = _copied(await version_of_id(calls, source.version_id))
        case OfRun():
            spec = await _of_files(calls, Files(inward(source.run_id, calls.project), source.path))
        case Address():
            spec = await _of_files(calls, await files_at(source.path, calls))
    if not (given := inward(asked.text("run_id"), calls.project)):
        return {**spec, "source_uri": uri}
    await calls.experiment_of(given)
    if spec.get("source_run_id", given) != given:
        asked.wrong(
            "run_id", f"is {shown(given)}, and the source is of run {shown(spec['source_run_id'])}", "leave it out"
        )
    return {"source_run_id": given, **spec, "source_uri": uri}


async def _of_files(calls: Calls, files: Files) -> dict[str, Any]:
    await calls.experiment_of(files.id, files.of_model)
    of = {} if files.of_model else {"source_run_id": files.id}
    return {**of, "artifact_path": files.path, **await _published(calls, files)}


async def _version(calls: Calls, source: OfVersion) -> Any:
    model = await model_of(calls, source.model)
    if source.alias:
        return await version_by_alias(calls, model, source.alias)
    return await version_of(calls, model, source.number)


def _copied(found: Any) -> dict[str, Any]:
    """What a copy of a `ModelVersion` is. Pure."""
    said = to_dict(found)
    spec = {name: said[name] for name in ModelVersionSpec.model_fields if name in said}
    return {**spec, "parents": [{"version_id": found.version_id, "derivation": Derivation.COPIED}]}


async def _published(calls: Calls, files: Files) -> dict[str, Any]:
    """Keep the list of these files. What names it, and what the files tell of the model."""
    found = await every(calls, files, recursive=True)
    if not found:
        raise DoorError.about("source", f"{files} has no file {shown(files.path)}", "log it first")
    try:
        listed = tuple(
            BundleFile(path=without_folder(each.path, files.path), digest=each.digest, size=each.size) for each in found
        )
        manifest = Manifest(files=listed)
    except ValidationError as error:
        raise DoorError.about("source", f"its files form no bundle: {error.errors()[0]['msg']}", _HINT) from None
    bundle = (await calls.carrying.put(manifest.to_bytes())).model_dump()
    told = await _told(calls, next((file for file in listed if file.path == mlmodel.NAME), None))
    return {"bundle": bundle, "model_format": mlmodel.format_of([file.path for file in listed]), **told}


async def _told(calls: Calls, description: BundleFile | None) -> dict[str, Any]:
    if description is None or description.size > mlmodel.MAX_BYTES:
        return {}
    try:
        data = await calls.carrying.read(description.ref)
    except (ObjectMissing, ObjectDamaged):  # that is for the look at the version's files to say
        return {}
    return await asyncio.to_thread(mlmodel.told_by, data)
