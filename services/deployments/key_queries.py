"""Answers about endpoint keys, and hands over the token of one that was just issued."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc

from events.language.common import shown
from events.language.convert import to_message
from events.queries.callers import caller_of
from events.queries.listing import Condition, Listing
from events.queries.queries import QueryError, ReadModel, invalid, read_options
from forgelog_pb.deployments.v1 import key_queries_pb2 as pb
from forgelog_pb.deployments.v1 import key_queries_pb2_grpc as rpc
from forgelog_pb.deployments.v1 import types_pb2 as types
from services.deployments.issuer import HAND_OVER_SECONDS, Issuer
from services.deployments.queries import check_deployment, lacking

_AGAIN = "issue another key"

_LIST = Listing(
    pb.ListEndpointKeysRequest,
    "endpoint_keys",
    order={"issued_at": datetime, "deployment_id": str, "key_id": str},
    descending=True,
    filters={
        "deployment_id": "deployment_id",
        "project": "project",
        "name": "strpos(lower(name), lower({value})) > 0",
        "issued_by": "issued_by",
    },
    own=("ended",),
)


class KeyQueriesServicer(rpc.KeyQueriesServicer):
    def __init__(self, read: ReadModel, issuer: Issuer) -> None:
        self._read = read
        self._issuer = issuer

    async def ListEndpointKeys(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        then = options["as_of"] or datetime.now(UTC)
        more = (
            ()
            if request.ended
            else (Condition("revoked_at is null", ()), Condition("expires_at > {0}::timestamptz", (then,)))
        )
        query = _LIST.query(request, more=more)
        async with self._read.view(**options) as db:
            page = await query.fetch(db)
            if not page.rows and (id := request.deployment_id):
                await check_deployment(db, id, options["as_of"])
        keys = [to_message(dict(row), types.EndpointKey) for row in page.rows]
        return pb.ListEndpointKeysResponse(keys=keys, next_cursor=page.next_cursor)

    async def SignEndpointKey(self, request: Any, context: Any) -> Any:
        id, name = request.deployment_id, request.key_id
        for field, value in (("deployment_id", id), ("key_id", name)):
            if not value:
                raise invalid(f"{field}: is empty; give the deployment and the id of the key that was issued")
        async with self._read.view(**read_options(request.options)) as db:
            found = await db.fetchrow("select * from endpoint_keys where deployment_id = $1 and key_id = $2", id, name)
            if found is None:
                raise await lacking(db, f"key {shown(name)}", id, None)
        row = dict(found)
        refuse_late(row, caller_of(context), datetime.now(UTC))
        if row["public_key_id"] != self._issuer.public_key.key_id:
            raise _refused(f"key {name} was issued for another signing key than the platform has now; {_AGAIN}")
        token = self._issuer.token(row)
        try:
            first = await asyncio.to_thread(self._issuer.hand_over, row)
        except OSError as error:
            problem = f"it can't be noted that the token is handed over: {error.strerror}"
            raise QueryError(grpc.StatusCode.INTERNAL, f"{problem}; let the platform's user write there") from None
        if not first:
            raise _refused(f"the token of key {name} was handed over already, and that is done once; {_AGAIN}")
        return pb.SignEndpointKeyResponse(key=to_message(row, types.EndpointKey), token=token)


def refuse_late(row: Mapping[str, Any], caller: str, now: datetime) -> None:
    """Refuse what may have no token (any more). Raises QueryError."""
    name = row["key_id"]
    if caller != row["issued_by"]:
        text = f"key {name} was issued by another than {caller or 'the caller'}, who alone gets its token; {_AGAIN}"
        raise QueryError(grpc.StatusCode.PERMISSION_DENIED, text)
    if row["revoked_at"] is not None:
        raise _refused(f"key {name} is revoked; {_AGAIN}")
    if now >= row["expires_at"]:
        raise _refused(f"key {name} has expired; {_AGAIN}")
    if (now - row["issued_at"]).total_seconds() > HAND_OVER_SECONDS:
        minutes = int(HAND_OVER_SECONDS // 60)
        raise _refused(f"key {name} was issued more than {minutes} minutes ago, too long for its token; {_AGAIN}")


def _refused(text: str) -> QueryError:
    return QueryError(grpc.StatusCode.FAILED_PRECONDITION, text)
