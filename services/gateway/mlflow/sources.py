"""Where the files of a new version come from: the URI that MLflow's client names as its source.

    runs:/RUN/PATH                                    mlflow-artifacts:/EXPERIMENT/RUN/artifacts/PATH
    models:/MODEL/NUMBER    models:/MODEL@ALIAS       mlflow-artifacts:/model-versions/ID/artifacts
    models:/LOGGED-MODEL                              mlflow-artifacts:/EXPERIMENT/models/LOGGED-MODEL/artifacts

The version gets files of its own: a list of what the source has now, in the platform's store. Whatever becomes of the
source, they stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from pydantic import ValidationError

from events.language.common import shown
from events.language.convert import to_dict
from events.language.experiments.logged_models import CreateLoggedModel
from events.language.experiments.registry import Derivation, ModelVersionSpec
from events.objects.manifest import BundleFile, Manifest
from events.objects.store import ObjectDamaged, ObjectMissing
from events.process.counts import count_of
from forgelog_pb.experiments.v1 import logged_models_pb2 as logged_pb
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
class OfLoggedModel:
    model_id: str


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


def parse_source(uri: str) -> OfRun | OfLoggedModel | OfVersion | OfVersionId | Address:
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
        model, slash, number = path.partition("/")
        if not slash and model.startswith(CreateLoggedModel.id_prefix):
            return OfLoggedModel(model)
        if model and (wanted := count_of(number)):
            return OfVersion(model, wanted)
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
            spec = await _published(calls, Files(inward(source.run_id, calls.project), source.path))
        case OfLoggedModel():
            spec = await _published(calls, Files(inward(source.model_id, calls.project), of_model=True))
        case Address():
            spec = await _published(calls, await files_at(source.path, calls))
    spec |= await _named(asked, calls, spec, "run_id", "source_run_id", of_model=False)
    spec |= await _named(asked, calls, spec, "model_id", "logged_model_id", of_model=True)
    return {**spec, "source_uri": uri}


async def _named(
    asked: Asked, calls: Calls, spec: Mapping[str, Any], field: str, kept: str, *, of_model: bool
) -> dict[str, Any]:
    """The run or the logged model that a request names besides its source. Raises DoorError, also if the source is of
    another one."""
    if not (given := inward(asked.text(field), calls.project)):
        return {}
    await calls.experiment_of(given, of_model)
    if (known := spec.get(kept) or given) != given:
        asked.wrong(field, f"is {shown(given)}, and the source is of {shown(known)}", "leave it out")
    return {kept: given}


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
    """What a version of these files is. Their list is kept."""
    await calls.experiment_of(files.id, files.of_model)
    origin = (
        await _of_model(calls, files) if files.of_model else {"source_run_id": files.id, "artifact_path": files.path}
    )
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
    return {**origin, "bundle": bundle, "model_format": mlmodel.format_of([file.path for file in listed]), **told}


async def _of_model(calls: Calls, files: Files) -> dict[str, Any]:
    """Where a version of a logged model's files comes from. Raises DoorError if the model is deleted."""
    model = (await calls.ask("GetLoggedModel", logged_pb.GetLoggedModelResponse, model_id=files.id)).model
    if model.HasField("deleted_at"):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"{files} is deleted; restore it first")
    return {"logged_model_id": files.id, "source_run_id": model.source_run_id}


async def _told(calls: Calls, description: BundleFile | None) -> dict[str, Any]:
    if description is None or description.size > mlmodel.MAX_BYTES:
        return {}
    try:
        data = await calls.carrying.read(description.ref)
    except (ObjectMissing, ObjectDamaged):  # that is for the look at the version's files to say
        return {}
    return await asyncio.to_thread(mlmodel.told_by, data)
