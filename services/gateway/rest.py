"""The friendly paths: a table from paths to queries. A path's parts and the URL's parameters are fields of the query's
request; ``as_of``, ``at_least``, ``limit`` and ``cursor`` are taken wherever the query has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rest:
    """One path."""

    path: str
    service: str
    method: str
    about: str
    fixed: dict[str, str] = field(default_factory=dict)
    """Fields of the request that the path stands for."""
    form: Literal["json", "text"] = "json"
    """``text``: the answers' pieces of output are written as they come."""


ROUTES = (
    Rest("/v1/nodes", "ResourceQueries", "ListNodes", "Nodes, by pool and id."),
    Rest("/v1/nodes/{node_id}", "ResourceQueries", "GetNode", "A node: its inventory, its devices, what holds them."),
    Rest("/v1/allocations", "ResourceQueries", "ListAllocations", "Allocations, newest first."),
    Rest("/v1/allocations/{allocation_id}", "ResourceQueries", "GetAllocation", "An allocation."),
    Rest("/v1/pools", "ResourceQueries", "ListPools", "What each pool has, has given out and has left."),
    Rest("/v1/pools/{pool}", "ResourceQueries", "GetPoolSummary", "What a pool has, has given out and has left."),
    Rest("/v1/{context}/{subject}/history", "LogQueries", "GetHistory", "An aggregate's events, oldest first."),
    Rest("/v1/{context}/history", "LogQueries", "GetHistory", "Events of a flow; give correlation_id."),
    Rest("/v1/{context}/events", "LogQueries", "WatchEvents", "Events as they happen, or behind a position (after)."),
    Rest("/v1/{context}/status", "LogQueries", "GetStatus", "How the writer and the tables of a context fare."),
    Rest("/v1/{context}/deadletters", "LogQueries", "ListDeadLetters", "Input that was no command."),
)
