"""The files of versions, as MLflow's client gets them: by ``model-versions/ID/artifacts/PATH``.

They are the version's own, in the platform's store. They stay what they were when the version was made, also when the
run that made them is deleted, or logs others under their names.
"""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from starlette.requests import Request
from starlette.responses import Response

from events.language.common import shown
from events.language.objects import ObjectRef
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.http_answers import json_response
from services.gateway.mlflow import artifacts
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.manifests import Listed, entries
from services.gateway.mlflow.registry_shapes import VERSIONS


async def download(request: Request, calls: Calls) -> Response:
    return await calls.carrying.answer(request, await ref_of(request, calls))


async def ref_of(request: Request, calls: Calls) -> ObjectRef:
    """The object of the file that the URL names. Raises DoorError or Relayed."""
    version, path = request.path_params["version_id"], request.path_params["path"]
    files = await _files(calls, version)
    if (found := files.get(path)) is None:
        if path == "" or any(each.startswith(f"{path}/") for each in files):
            raise DoorError.about("path", f"{shown(path)} is a folder", "name a file in it; list it to see which")
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"version {version} has no file {shown(path)}")
    return found.ref


async def listed(request: Request, calls: Calls) -> Response:
    """What is in a folder of a version, or of a run."""
    path = request.query_params.get("path", "").strip("/")
    if path.partition("/")[0] != VERSIONS:
        return await artifacts.listed(request, calls)
    version, _, rest = path.partition("/")[2].partition("/")
    folder, _, inside = rest.partition("/")
    if folder != "artifacts":
        hint = f"write {VERSIONS}/ID/artifacts/PATH, as the version's download URI has it"
        raise DoorError.about("path", f"{shown(path)} is nothing that has files", hint)
    found = entries(await _files(calls, version), inside)
    return json_response(
        {
            "files": [
                {"path": name, "is_dir": True}
                if file is None
                else {"path": name, "is_dir": False, "file_size": file.size}
                for name, file in sorted(found, key=lambda entry: entry[0])
            ]
        }
    )


async def fixed(request: Request, calls: Calls) -> NoReturn:
    found = await version_of_id(calls, request.path_params["version_id"])
    text = f"the files of version {found.name}/{found.number} never change; publish another version"
    raise DoorError(grpc.StatusCode.FAILED_PRECONDITION, text)


async def version_of_id(calls: Calls, id: str) -> Any:
    """A version of the project, as a `ModelVersion` message. Raises DoorError or Relayed."""
    found = (await calls.ask("GetModelVersion", pb.GetModelVersionResponse, version_id=id)).version
    if found.project != calls.project or found.HasField("deleted_at"):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"there is no version {shown(id)} in project {calls.project}")
    return found


async def _files(calls: Calls, version: str) -> Listed:
    bundle = (await version_of_id(calls, version)).bundle
    return await calls.manifests.files(ObjectRef(digest=bundle.digest, size=bundle.size))
