"""MLflow's endpoints for files that go past the gateway, straight to and from the store: uploads in parts, and links to
download by. Where the store has none of this, they answer 501, and the client sends whole files to the gateway.
"""

from __future__ import annotations

import ntpath
import posixpath

import grpc
from starlette.requests import Request
from starlette.responses import Response

from events.language.objects import ObjectRef
from events.objects.multipart import Sent
from services.gateway.errors import DoorError
from services.gateway.http_answers import json_response
from services.gateway.mlflow import artifacts, version_files
from services.gateway.mlflow.artifacts import Files
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls

MAX_PARTS_BYTES = 16 << 20
"""Of a list of parts, each with its link."""

_NO_PARTS = "Multipart upload is not supported for the current artifact repository"
_NO_LINKS = "Presigned URL download is not supported for the current artifact repository"
"""By these texts the client knows that it is to send the whole file to the gateway."""


async def create(request: Request, calls: Calls) -> Response:
    """Begin an upload of `num_parts` parts of the client's file `path`, into the folder of the URL."""
    folder = await _folder(request, calls)
    asked = await Asked.of(request)
    files = _file_in(folder, asked)
    parts = asked.integer("num_parts")
    if parts is None:
        asked.wrong("num_parts", "is missing", "give how many parts the file has")
    begun = await calls.uploads.begin(_bound(files, calls), parts)
    credentials = [
        {"url": link, "part_number": number, "headers": {}} for number, link in enumerate(begun.links, start=1)
    ]
    return json_response({"upload_id": begun.id, "credentials": credentials})


async def complete(request: Request, calls: Calls) -> Response:
    """Make the parts a file. Answers when its bytes were read and the run or the model has it."""
    folder = await _folder(request, calls)
    asked = await Asked.of(request, MAX_PARTS_BYTES)
    files = _file_in(folder, asked)
    sent = []
    for part in asked.parts("parts"):
        number = part.integer("part_number")
        if number is None:
            part.wrong("part_number", "is missing", "give it")
        sent.append(Sent(number, part.text("etag", required=True)))
    ref = await calls.uploads.end(_bound(files, calls), asked.text("upload_id", required=True), sent)
    await artifacts.bind(calls, files, ref)
    return json_response({})


async def abort(request: Request, calls: Calls) -> Response:
    """Give an upload up. One that has ended stays what it became."""
    folder = await _folder(request, calls)
    asked = await Asked.of(request)
    files = _file_in(folder, asked)
    await calls.uploads.abort(_bound(files, calls), asked.text("upload_id", required=True))
    return json_response({})


async def link(request: Request, calls: Calls) -> Response:
    """A link by which a file of a run or a logged model is read."""
    files = await artifacts.files_at(request.path_params["path"], calls)
    _check_links(calls)
    return await _link(calls, await artifacts.ref_of(calls, files))


async def link_of_version(request: Request, calls: Calls) -> Response:
    _check_links(calls)
    return await _link(calls, await version_files.ref_of(request, calls))


def _check_links(calls: Calls) -> None:
    if not calls.uploads.gives_links:
        raise DoorError(grpc.StatusCode.UNIMPLEMENTED, _NO_LINKS)


async def _link(calls: Calls, ref: ObjectRef) -> Response:
    return json_response({"url": await calls.uploads.link(ref), "headers": {}, "file_size": ref.size})


async def _folder(request: Request, calls: Calls) -> Files:
    """The folder of the URL. Raises DoorError, also where there are no such uploads."""
    files = await artifacts.files_at(request.path_params["folder"], calls)
    if not calls.uploads.offered:
        raise DoorError(grpc.StatusCode.UNIMPLEMENTED, _NO_PARTS)
    return files


def _file_in(folder: Files, asked: Asked) -> Files:
    """The client's file, by its name in that folder. Raises DoorError."""
    path = asked.text("path", required=True)
    name = posixpath.basename(path) if "/" in path else ntpath.basename(path)
    if not name:
        asked.wrong("path", "names no file", "give the path of the file that is uploaded")
    return Files(folder.id, artifacts.checked(posixpath.join(folder.path, name)), folder.of_model)


def _bound(files: Files, calls: Calls) -> tuple[str, str, str]:
    return calls.project, str(files), files.path
