"""MLflow's endpoints of files. Its client puts and gets them through the gateway, by paths such as
``EXPERIMENT/RUN/artifacts/plots/loss.png`` (of the address ``mlflow-artifacts:/EXPERIMENT/RUN/artifacts``).

The bytes are objects of the platform's store, and the run says which path has which. So bytes that were stored before
are not stored again, and a file that was replaced or deleted stays in the history.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import Response

from events.language.common import shown
from events.language.experiments import MAX_ARTIFACTS
from events.language.file_paths import check_path
from events.language.objects import ObjectRef
from forgelog_pb.experiments.v1 import artifact_queries_pb2 as pb
from services.gateway.errors import DoorError
from services.gateway.forward import Relayed
from services.gateway.http_answers import json_response
from services.gateway.mlflow import shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, run_id
from services.gateway.mlflow.experiments import DEFAULT_ID, following
from services.gateway.mlflow.run_ids import inward

_PAGE = 1_000

_HINT = "write EXPERIMENT/RUN/artifacts/PATH, as the run's artifact_uri has it"

_NO_PARTS = "Multipart upload is not supported for the current artifact repository"
_NO_LINKS = "Presigned URL download is not supported for the current artifact repository"
"""By these texts the client knows that it is to send the whole file to the gateway."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a run, or a part of them."""

    run_id: str
    path: str = ""
    """A file or folder of the run; empty for all that it has."""


async def files_at(path: str, calls: Calls) -> Files:
    """What a path of the file endpoints means. Raises DoorError or Relayed."""
    experiment, _, rest = path.strip("/").partition("/")
    named, _, rest = rest.partition("/")
    folder, _, inside = rest.partition("/")
    if not named or folder != "artifacts":
        raise DoorError.about("path", f"{shown(path)} is nothing that has files", _HINT)
    id = inward(named, calls.project)
    if experiment not in (await calls.experiment_of(id), DEFAULT_ID):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"run {shown(id)} is not in experiment {shown(experiment)}")
    return Files(id, checked(inside))


def checked(path: str) -> str:
    """A path of a file or folder, or an empty one. Raises DoorError for one that leads out of the run's folder."""
    path = path.rstrip("/")
    try:
        return check_path(path) if path else ""
    except ValueError as error:
        raise DoorError.about("path", str(error), "give a path as seen from the run's folder") from None


async def upload(request: Request, calls: Calls) -> Response:
    """Take a file in the request's body."""
    files = await files_at(request.path_params["path"], calls)
    if not files.path:
        raise DoorError.about("path", "names no file", _HINT)
    ref = await calls.carrying.keep(request)
    named = [{"path": files.path, "file": ref.model_dump()}]
    await calls.send("LogArtifacts", run_id=files.run_id, artifacts=named)
    return json_response({})


async def download(request: Request, calls: Calls) -> Response:
    return await _answer(request, calls, await files_at(request.path_params["path"], calls))


async def get(request: Request, calls: Calls) -> Response:
    """A file by its run, as pages and older clients ask for it."""
    asked = Asked(dict(request.query_params))
    return await _answer(request, calls, Files(await _run(asked, calls), checked(asked.text("path", required=True))))


async def delete(request: Request, calls: Calls) -> Response:
    """Take a file away, or all files of a folder. What is not there is gone already."""
    files = await files_at(request.path_params["path"], calls)
    paths = [each.path for each in await every(calls, files, recursive=True)]
    for at in range(0, len(paths), MAX_ARTIFACTS):
        await calls.send("RemoveArtifacts", run_id=files.run_id, paths=paths[at : at + MAX_ARTIFACTS])
    return json_response({})


async def listed(request: Request, calls: Calls) -> Response:
    """What is in a folder, by its names there."""
    files = await files_at(request.query_params.get("path", ""), calls)
    found = [each for each in await every(calls, files) if each.path != files.path]
    return json_response({"files": [file(each, posixpath.basename(each.path)) for each in found]})


async def of_run(asked: Asked, calls: Calls) -> dict[str, Any]:
    """What is in a folder of a run, by paths as seen from the run's own folder, page by page."""
    id = await _run(asked, calls)
    path = checked(asked.text("path"))
    found = await calls.ask(
        "ListArtifacts",
        pb.ListArtifactsResponse,
        run_id=id,
        path=path,
        page={"limit": _PAGE, "cursor": asked.text("page_token")},
    )
    files = [file(each, each.path) for each in found.artifacts if each.path != path]
    return {"root_uri": shapes.artifact_uri(await calls.experiment_of(id), id), "files": files, **following(found)}


async def no_parts(request: Request, calls: Calls) -> Response:
    await files_at(request.path_params["path"], calls)
    raise DoorError(grpc.StatusCode.UNIMPLEMENTED, _NO_PARTS)


async def no_links(request: Request, calls: Calls) -> Response:
    await files_at(request.path_params["path"], calls)
    raise DoorError(grpc.StatusCode.UNIMPLEMENTED, _NO_LINKS)


async def every(calls: Calls, files: Files, *, recursive: bool = False) -> list[Any]:
    """The `RunArtifact` messages of a folder, or of a file itself; of all pages."""
    found: list[Any] = []
    cursor = ""
    while not found or cursor:
        page = await calls.ask(
            "ListArtifacts",
            pb.ListArtifactsResponse,
            run_id=files.run_id,
            path=files.path,
            recursive=recursive,
            page={"limit": _PAGE, "cursor": cursor},
        )
        found += page.artifacts
        cursor = page.next_cursor
        if not page.artifacts:
            break
    return found


def file(found: Any, path: str) -> dict[str, Any]:
    """A `RunArtifact` message as MLflow's JSON."""
    return (
        {"path": path, "is_dir": True} if found.is_folder else {"path": path, "is_dir": False, "file_size": found.size}
    )


async def _run(asked: Asked, calls: Calls) -> str:
    """The run that is asked for, known to be one of the project's."""
    id = run_id(asked, calls)
    await calls.experiment_of(id)
    return id


async def _answer(request: Request, calls: Calls, files: Files) -> Response:
    try:
        found = await calls.ask("GetArtifact", pb.GetArtifactResponse, run_id=files.run_id, path=files.path)
    except Relayed as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"run {files.run_id} has no file {shown(files.path)}") from None
    if found.artifact.is_folder:
        raise DoorError.about("path", f"{shown(files.path)} is a folder", "name a file in it; list it to see which")
    return await calls.carrying.answer(request, ObjectRef(digest=found.artifact.digest, size=found.artifact.size))
