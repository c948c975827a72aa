"""Nodes, pools and allocations through the client. Knows no job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.names import renamed
from forgelog.client.plain import Answer, plain
from forgelog.client.references import Candidate, chosen
from forgelog.client.rows import AllocationRow, NodeAnswer, NodeRow, PoolRow
from forgelog.client.words import enum_words
from forgelog.errors import InvalidInput
from forgelog_pb.resources.v1 import queries_pb2 as pb
from forgelog_pb.resources.v1 import queries_pb2_grpc as rpc
from forgelog_pb.resources.v1 import types_pb2 as types

CONTEXT = "resources"


class AsyncNodes(Namespace):
    """Nodes, pools and allocations: `forgelog.resources.v1.ResourceQueries`, and what an operator does with nodes."""

    @property
    def _stub(self) -> Any:
        return rpc.ResourceQueriesStub(self._core.channel)

    async def get(self, id: str, *, pool: str = "", at: datetime | None = None) -> NodeAnswer:
        """One node: ``node`` in short, ``spec`` (its inventory), ``gpus`` and ``allocations``. Raises `NotFound`."""
        request = pb.GetNodeRequest(node_id=id, pool=pool, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetNode, request, f"node {id}")
        return cast("NodeAnswer", plain(answer))

    async def find(self, text: str, *, pool: str = "", at: datetime | None = None) -> str:
        """The id of the node that a person means: by its id, or the beginning of it.

        Raises `NotFound` if there is none, and `InvalidInput` that lists them if it may be one of several.
        """
        rows = await self.list(pool=pool, at=at)
        candidates = [Candidate(row.node_id, about=f"{row.status}, in pool {row.pool}") for row in rows]
        return chosen(text, candidates, kind="node", listing="forgelog nodes", at=at)

    async def pools(self, *, at: datetime | None = None) -> list[PoolRow]:
        """What each pool has, has given out and has left."""
        request = pb.ListPoolsRequest(options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.ListPools, request, "pools")
        return [cast("PoolRow", plain(item)) for item in answer.pools]

    async def allocations(
        self,
        *,
        job: str = "",
        node: str = "",
        pool: str = "",
        status: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[AllocationRow]:
        """Who holds what on which node, newest first."""
        request = pb.ListAllocationsRequest(
            job_id=job,
            node_id=node,
            pool=pool,
            statuses=enum_words(types.AllocationStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListAllocations, request, "allocations", "allocations", limit)

    async def cordon(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Let nothing new onto a node."""
        return await self._node_command("CordonNode", node, pool, {"reason": reason})

    async def uncordon(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Let work onto a cordoned or draining node again."""
        return await self._node_command("UncordonNode", node, pool, {"reason": reason})

    async def drain(self, node: str, *, reason: str = "", grace: float | None = None, pool: str = "") -> Answer:
        """Cordon a node and stop what runs there; `grace` (seconds) overrides each job's own."""
        more: dict[str, object] = {"reason": reason}
        if grace is not None:
            more["grace_seconds"] = grace
        return await self._node_command("DrainNode", node, pool, more)

    async def label(self, node: str, labels: Mapping[str, str | None], *, pool: str = "") -> Answer:
        """Set labels of a node; a None value removes one."""
        if not labels:
            raise InvalidInput("give at least one label, such as zone=a")
        return await self._node_command("LabelNode", node, pool, {"labels": dict(labels)})

    async def taint(self, node: str, taints: Iterable[Mapping[str, str]], *, pool: str = "") -> Answer:
        """Replace the taints that operators set on a node; each is ``{"key": ..., "value": ..., "effect": ...}``."""
        return await self._node_command("TaintNode", node, pool, {"taints": [dict(item) for item in taints]})

    async def remove(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Forget a node that runs nothing. An agent that still runs registers it again."""
        return await self._node_command("RemoveNode", node, pool, {"reason": reason})

    async def _node_command(self, name: str, node: str, pool: str, more: Mapping[str, object]) -> Answer:
        if not pool:
            pool = (await self.get(node)).node.pool
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{name}", {"pool": pool, "node_id": node, **more}))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        pool: str = "",
        status: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[NodeRow]:
        """Nodes by pool and id: capacity, what is held and free, status, labels, taints."""
        request = pb.ListNodesRequest(
            pool=pool,
            statuses=enum_words(types.NodeStatus.DESCRIPTOR, status, "status"),
            labels=labels or {},
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListNodes, request, "nodes", "nodes", limit)

    __call__ = renamed("nodes.list", list)
