"""Answers about deployments, their revisions, replicas and routing, from the projection's tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Listing, Page
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, read_options
from events.queries.row_watch import RowWatch
from forgelog_pb.deployments.v1 import queries_pb2 as pb
from forgelog_pb.deployments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.deployments.v1 import types_pb2 as types
from services.deployments.rows import DEPLOYMENTS

_FILTERS = {
    "project": "project",
    "statuses": "status",
    "name": "strpos(name, lower({value})) > 0",
    "owner": "owner",
    "model": "model ->> 'name'",
    "labels": "spec -> 'labels' @> {value}",
    "tag": "spec -> 'tags' ? {value}",
}

_LISTS = {
    named: Listing(
        pb.ListDeploymentsRequest,
        "deployments",
        order={"created_at": datetime, "deployment_id": str},
        descending=True,
        filters=_FILTERS,
        where="" if named else "terminated_at is null",
    )
    for named in (False, True)
}
"""Whether statuses are named → the list."""

_REVISIONS = Listing(
    pb.ListRevisionsRequest,
    "deployment_revisions",
    order={"revision": INT4},
    descending=True,
    filters={"deployment_id": "deployment_id", "statuses": "status"},
)

_REPLICAS = Listing(
    pb.ListReplicasRequest,
    "replicas",
    order={"replica": INT4},
    filters={"deployment_id": "deployment_id", "revision": "revision", "statuses": "status"},
)

_ROUTING = {
    terminated: Listing(
        pb.ListRoutingRequest,
        "routing",
        order={"deployment_id": str},
        filters={"project": "project"},
        own=("terminated",),
        where="" if terminated else "not (routing -> 'terminated')::bool",
    )
    for terminated in (False, True)
}

_WATCH = RowWatch(
    pb.WatchDeploymentsRequest,
    "deployments",
    DEPLOYMENTS,
    kind="deployment",
    changed="updated_at",
    ids="deployment_ids",
    filters={"project": "project"},
)

_NAMED = NamedRows("deployments", "deployment")
check_deployment = _NAMED.check
lacking = _NAMED.lacks


class DeploymentQueriesServicer(rpc.DeploymentQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetDeployment(self, request: Any, context: Any) -> Any:
        row = await _NAMED.get(self._read, request)
        return pb.GetDeploymentResponse(deployment=_message(row, types.Deployment))

    async def ListDeployments(self, request: Any, context: Any) -> Any:
        query = _LISTS[bool(request.statuses)].query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_message(row, types.Deployment) for row in page.rows]
        return pb.ListDeploymentsResponse(deployments=found, next_cursor=page.next_cursor)

    async def WatchDeployments(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield pb.WatchDeploymentsResponse(deployment=_message(row, types.Deployment))

    async def GetRevision(self, request: Any, context: Any) -> Any:
        options, key = read_options(request.options), (request.deployment_id, request.revision)
        async with self._read.view(**options) as db:
            found = "select * from deployment_revisions where deployment_id = $1 and revision = $2"
            row = await db.fetchrow(found, *key)
            if row is None:
                raise await _NAMED.lacks(db, f"revision {request.revision}", request.deployment_id, options["as_of"])
        return pb.GetRevisionResponse(revision=_message(row, types.DeploymentRevision))

    async def ListRevisions(self, request: Any, context: Any) -> Any:
        page = await self._of_deployment(_REVISIONS, request)
        found = [_message(row, types.DeploymentRevision) for row in page.rows]
        return pb.ListRevisionsResponse(revisions=found, next_cursor=page.next_cursor)

    async def ListReplicas(self, request: Any, context: Any) -> Any:
        page = await self._of_deployment(_REPLICAS, request)
        found = [_message(row, types.Replica) for row in page.rows]
        return pb.ListReplicasResponse(replicas=found, next_cursor=page.next_cursor)

    async def GetRouting(self, request: Any, context: Any) -> Any:
        row = await self._row("routing", "routing", request)
        return pb.GetRoutingResponse(routing=_message(row, types.Routing))

    async def GetReasons(self, request: Any, context: Any) -> Any:
        row = await self._row("deployment_reasons", "reason", request)
        return pb.GetReasonsResponse(reasons=_message(row, types.DeploymentReasons))

    async def ListRouting(self, request: Any, context: Any) -> Any:
        query = _ROUTING[request.terminated].query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_message(row, types.Routing) for row in page.rows]
        return pb.ListRoutingResponse(routing=found, next_cursor=page.next_cursor)

    async def _row(self, table: str, part: str, request: Any) -> Any:
        """A deployment's row of a table that has one for each. Raises QueryError."""
        options, id = read_options(request.options), request.deployment_id
        async with self._read.view(**options) as db:
            row = await db.fetchrow(f"select * from {table} where deployment_id = $1", id)
            if row is None:
                raise await _NAMED.lacks(db, part, id, options["as_of"])
        return row

    async def _of_deployment(self, listing: Listing, request: Any) -> Page:
        return await _NAMED.page(self._read, listing, request, "give the deployment whose parts are wanted")


def _message(row: Any, kind: Any) -> Any:
    return to_message(dict(row), kind)
