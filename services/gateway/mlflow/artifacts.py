"""MLflow's endpoints of files. Its client puts and gets them through the gateway, by paths such as
``EXPERIMENT/RUN/artifacts/plots/loss.png`` (of the address ``mlflow-artifacts:/EXPERIMENT/RUN/artifacts``). Those of
logged models are ``EXPERIMENT/models/MODEL/artifacts/...``.

The bytes are objects of the platform's store, and the run or the model says which path has which. So bytes that were
stored before are not stored again, and a file that was replaced or deleted stays in the history.
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
from events.language.experiments.logged_models import CreateLoggedModel
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


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a run or of a logged model, or a part of them."""

    id: str
    path: str = ""
    """A file or folder; empty for all."""
    of_model: bool = False

    @property
    def owner(self) -> dict[str, Any]:
        """Whose they are, as commands and queries have it."""
        return {"model_id" if self.of_model else "run_id": self.id}

    def __str__(self) -> str:
        return f"{'logged model' if self.of_model else 'run'} {self.id}"


async def files_at(path: str, calls: Calls) -> Files:
    """What a path of the file endpoints means. Raises DoorError or Relayed."""
    experiment, _, rest = path.strip("/").partition("/")
    folder, _, behind = rest.partition("/")
    of_model = folder == shapes.MODELS and behind.startswith(CreateLoggedModel.id_prefix)
    named, _, rest = (behind if of_model else rest).partition("/")
    folder, _, inside = rest.partition("/")
    if not named or folder != "artifacts":
        raise DoorError.about("path", f"{shown(path)} is nothing that has files", _HINT)
    files = Files(inward(named, calls.project), checked(inside), of_model)
    if experiment not in (await calls.experiment_of(files.id, of_model), DEFAULT_ID):
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"{files} is not in experiment {shown(experiment)}")
    return files


def checked(path: str) -> str:
    """A path of a file or folder, or an empty one. Raises DoorError for one that leads out of the run's folder."""
    path = path.rstrip("/")
    try:
        return check_path(path) if path else ""
    except ValueError as error:
        problem, _, hint = str(error).partition("; ")
        raise DoorError.about("path", problem, hint) from None


async def upload(request: Request, calls: Calls) -> Response:
    """Take a file in the request's body."""
    files = await files_at(request.path_params["path"], calls)
    if not files.path:
        raise DoorError.about("path", "names no file", _HINT)
    ref = await calls.carrying.keep(request)
    await bind(calls, files, ref)
    return json_response({})


async def bind(calls: Calls, files: Files, ref: ObjectRef) -> None:
    """Let a path have an object's bytes. Raises DoorError."""
    named = [{"path": files.path, "file": ref.model_dump()}]
    await calls.send("LogLoggedModelFiles" if files.of_model else "LogArtifacts", **files.owner, artifacts=named)


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
    kind = "RemoveLoggedModelFiles" if files.of_model else "RemoveArtifacts"
    for at in range(0, len(paths), MAX_ARTIFACTS):
        await calls.send(kind, **files.owner, paths=paths[at : at + MAX_ARTIFACTS])
    return json_response({})


async def listed(request: Request, calls: Calls) -> Response:
    """What is in a folder, by its names there."""
    files = await files_at(request.query_params.get("path", ""), calls)
    found = [each for each in await every(calls, files) if each.path != files.path]
    return json_response({"files": [file(each, posixpath.basename(each.path)) for each in found]})


async def of_run(asked: Asked, calls: Calls) -> dict[str, Any]:
    """What is in a folder of a run, page by page."""
    return await _page(asked, calls, Files(await _run(asked, calls), checked(asked.text("path"))))


async def of_model(asked: Asked, calls: Calls) -> dict[str, Any]:
    """What is in a folder of a logged model, page by page."""
    id = inward(asked.text("model_id", required=True), calls.project)
    return await _page(asked, calls, Files(id, checked(asked.text("artifact_directory_path")), of_model=True))


async def _page(asked: Asked, calls: Calls, files: Files) -> dict[str, Any]:
    """By paths as seen from the run's or the model's own folder."""
    experiment = await calls.experiment_of(files.id, files.of_model)
    page = {"limit": _PAGE, "cursor": asked.text("page_token")}
    found = await calls.ask("ListArtifacts", pb.ListArtifactsResponse, **files.owner, path=files.path, page=page)
    listed = [file(each, each.path) for each in found.artifacts if each.path != files.path]
    uri = shapes.model_uri if files.of_model else shapes.artifact_uri
    return {"root_uri": uri(experiment, files.id), "files": listed, **following(found)}


async def every(calls: Calls, files: Files, *, recursive: bool = False) -> list[Any]:
    """The `RunArtifact` messages of a folder, or of a file itself; of all pages."""
    found: list[Any] = []
    cursor = ""
    while not found or cursor:
        page = await calls.ask(
            "ListArtifacts",
            pb.ListArtifactsResponse,
            **files.owner,
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
    return await calls.carrying.answer(request, await ref_of(calls, files))


async def ref_of(calls: Calls, files: Files) -> ObjectRef:
    """The object of a file. Raises DoorError or Relayed."""
    try:
        found = await calls.ask("GetArtifact", pb.GetArtifactResponse, **files.owner, path=files.path)
    except Relayed as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"{files} has no file {shown(files.path)}") from None
    if found.artifact.is_folder:
        raise DoorError.about("path", f"{shown(files.path)} is a folder", "name a file in it; list it to see which")
    return ObjectRef(digest=found.artifact.digest, size=found.artifact.size)
