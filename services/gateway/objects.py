"""Objects by HTTP: the one door to the object store for nodes and clients, which have no credentials of the store.

    PUT  /v1/objects/{digest}    keep bytes
    GET  /v1/objects/{digest}    the bytes, or a range of them (HEAD: their length)
    POST /v1/objects:missing     which of these have to be put

How bytes pass is `services.gateway.object_bytes`. Knows no event that names an object.
"""

from __future__ import annotations

import grpc
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from events.language.base import Model
from events.language.objects import ObjectRef
from events.language.problems import field_errors
from events.objects.address import parse_address
from services.gateway.errors import DoorError
from services.gateway.http_answers import answering, json_response
from services.gateway.http_bodies import json_of, read_body
from services.gateway.http_gate import principal_of
from services.gateway.object_bytes import ObjectBytes
from services.gateway.principal import Access

OBJECT = "/v1/objects/{digest}"
MISSING = "/v1/objects:missing"

MAX_ASKED = 5_000
"""Most objects in a question for those that are missing."""
_MAX_ASKED_BYTES = 1 << 20


class _Asked(Model):
    """The body of a question for objects that are missing."""

    objects: tuple[ObjectRef, ...]


class ObjectDoor:
    """The routes."""

    def __init__(self, carrying: ObjectBytes, access: Access) -> None:
        self._bytes = carrying
        self._access = access

    def routes(self) -> list[Route]:
        return [
            Route(MISSING, answering(MISSING, self._missing), methods=["POST"]),
            Route(OBJECT, answering(OBJECT, self._object), methods=["GET", "PUT"]),
        ]

    async def _object(self, request: Request) -> Response:
        self._access.authorize(principal_of(request), OBJECT)
        digest = _digest(request)
        _no_parameters(request)
        if request.method == "PUT":
            return json_response((await self._bytes.keep(request, digest)).model_dump())
        ref = await self._bytes.find(digest)
        if ref is None:
            raise DoorError(grpc.StatusCode.NOT_FOUND, f"there is no object {digest} in the store")
        return await self._bytes.answer(request, ref)

    async def _missing(self, request: Request) -> Response:
        self._access.authorize(principal_of(request), MISSING)
        _no_parameters(request)
        with self._bytes.held.take(_MAX_ASKED_BYTES):
            data = json_of(await read_body(request, _MAX_ASKED_BYTES))
            if isinstance(data, dict) and isinstance(listed := data.get("objects"), list) and len(listed) > MAX_ASKED:
                raise DoorError.about("objects", f"are {len(listed)}", f"ask for at most {MAX_ASKED} at a time")
            try:
                asked = _Asked.model_validate(data)
            except ValidationError as error:
                errors = field_errors(error, _Asked)
                text = f"{errors[0].field}: {errors[0].problem}"
                raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text, errors) from None
            missing = await self._bytes.missing(tuple(dict.fromkeys(asked.objects)))
        return json_response({"missing": [ref.model_dump() for ref in missing]})


def _digest(request: Request) -> str:
    try:
        return parse_address(request.path_params["digest"])
    except ValueError as error:
        raise DoorError.about("digest", str(error), "give the BLAKE3 of the bytes: 64 hexadecimal digits") from None


def _no_parameters(request: Request) -> None:
    for name in request.query_params:
        raise DoorError.about(name[:200], "there is no such parameter", "leave it out")
