"""Answers about nodes, allocations and pools, from the projection's tables. Knows no Kafka and no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import grpc

from events.language.convert import to_message
from events.queries.listing import MAX_PAGE, Listing
from events.queries.queries import QueryError, ReadModel, not_found, read_options
from forgelog_pb.resources.v1 import queries_pb2, queries_pb2_grpc, types_pb2
from services.resources.projections import KINDS

_NODES = "nodes join node_uses using (node_id, pool)"

_NODE_LIST = Listing(
    queries_pb2.ListNodesRequest,
    _NODES,
    order={"pool": str, "node_id": str},
    filters={"pool": "pool", "statuses": "status", "labels": "labels"},
)

_ALLOCATION_LIST = Listing(
    queries_pb2.ListAllocationsRequest,
    "allocations",
    order={"created_at": datetime, "allocation_id": str},
    descending=True,
    filters={"job_id": "job_id", "node_id": "node_id", "pool": "pool", "statuses": "status"},
)


class ResourceQueriesServicer(queries_pb2_grpc.ResourceQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetNode(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            nodes = await db.fetch(
                f"select * from {_NODES} join node_specs using (node_id, pool) "
                "where node_id = $1 and ($2 = '' or pool = $2) order by pool",
                request.node_id,
                request.pool,
            )
            if not nodes:
                raise not_found("node", request.node_id, options["as_of"])
            if len(nodes) > 1:
                pools = ", ".join(node["pool"] for node in nodes)
                raise QueryError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"pools {pools} have a node {request.node_id!r} each; say which with pool",
                )
            (node,) = nodes
            held = await db.fetch(
                "select * from allocations where node_id = $1 and pool = $2 and rest <> '' "
                "order by created_at, allocation_id limit $3",
                node["node_id"],
                node["pool"],
                MAX_PAGE,
            )
        return queries_pb2.GetNodeResponse(
            node=_node(node),
            spec=to_message(node["spec"], types_pb2.NodeSpec),
            gpus=[_device(node, gpu) for gpu in node["spec"]["gpus"]],
            allocations=[_allocation(row) for row in held],
        )

    async def ListNodes(self, request: Any, context: Any) -> Any:
        query = _NODE_LIST.query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        return queries_pb2.ListNodesResponse(nodes=[_node(row) for row in page.rows], next_cursor=page.next_cursor)

    async def GetAllocation(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from allocations where allocation_id = $1", request.allocation_id)
        if row is None:
            raise not_found("allocation", request.allocation_id, options["as_of"])
        return queries_pb2.GetAllocationResponse(allocation=_allocation(row))

    async def ListAllocations(self, request: Any, context: Any) -> Any:
        query = _ALLOCATION_LIST.query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        return queries_pb2.ListAllocationsResponse(
            allocations=[_allocation(row) for row in page.rows], next_cursor=page.next_cursor
        )

    async def GetPoolSummary(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        pools = await self._summaries(options, request.pool)
        if not pools:
            raise not_found("pool", request.pool, options["as_of"])
        return queries_pb2.GetPoolSummaryResponse(summary=pools[0])

    async def ListPools(self, request: Any, context: Any) -> Any:
        return queries_pb2.ListPoolsResponse(pools=await self._summaries(read_options(request.options), ""))

    async def _summaries(self, options: Mapping[str, Any], pool: str) -> list[Any]:
        """The summaries of one pool, or of all."""
        sums = ", ".join(
            f"coalesce(sum({value}) filter (where {which}), 0)::{column} as {name}_{kind}"
            for kind, column in KINDS.items()
            for name, value, which in (
                ("total", f"capacity_{kind}", "status <> 'lost'"),
                ("allocated", f"allocated_{kind}", "true"),
                ("free", f"greatest(capacity_{kind} - allocated_{kind}, 0)", "status = 'ready'"),
            )
        )
        async with self._read.view(**options) as db:
            rows = await db.fetch(
                "select pool, count(*) as nodes, sum(allocations)::int as running_allocations, "
                f"sum(tasks)::int as running_tasks, {sums} from {_NODES} "
                "where $1 = '' or pool = $1 group by pool order by pool",
                pool,
            )
            statuses = await db.fetch(
                "select pool, status, count(*) as nodes from nodes where $1 = '' or pool = $1 "
                "group by pool, status order by pool, status",
                pool,
            )
            models = await db.fetch(
                "select pool, m.key as model, sum(m.value::int)::int as gpus from nodes, jsonb_each_text(gpu_models) m "
                "where status <> 'lost' and ($1 = '' or pool = $1) group by pool, m.key",
                pool,
            )
        return [
            to_message(
                {
                    **dict(row),
                    "by_status": [dict(status) for status in statuses if status["pool"] == row["pool"]],
                    **{
                        name: {kind: row[f"{name}_{kind}"] for kind in KINDS} for name in ("total", "allocated", "free")
                    },
                    "gpu_models": {each["model"]: each["gpus"] for each in models if each["pool"] == row["pool"]},
                },
                queries_pb2.PoolSummary,
            )
            for row in rows
        ]


def _node(row: Any) -> Any:
    capacity = {kind: row[f"capacity_{kind}"] for kind in KINDS}
    allocated = {kind: row[f"allocated_{kind}"] for kind in KINDS}
    return to_message(
        {
            **dict(row),
            "capacity": capacity,
            "allocated": allocated,
            "free": {kind: max(0, round(capacity[kind] - allocated[kind], 9)) for kind in KINDS},
            "held": bool(row["hold"]),
            "running_allocations": row["allocations"],
            "running_tasks": row["tasks"],
        },
        queries_pb2.Node,
    )


def _device(node: Any, gpu: Mapping[str, Any]) -> Any:
    holder = node["gpu_holders"].get(str(gpu["index"]), {})
    return to_message(
        {"node_id": node["node_id"], "gpu": gpu, "allocation_type": "exclusive", **holder}, types_pb2.GPUDevice
    )


def _allocation(row: Any) -> Any:
    return to_message(dict(row), queries_pb2.Allocation)
