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
    Rest("/v1/jobs", "JobQueries", "ListJobs", "Jobs, newest first."),
    Rest("/v1/jobs/{job_id}", "JobQueries", "GetJob", "A job with its spec."),
    Rest("/v1/jobs/{job_id}/tasks", "JobQueries", "ListTasks", "A job's tasks by number."),
    Rest("/v1/jobs/{job_id}/attempts", "JobQueries", "ListAttempts", "Every run of a job's tasks."),
    Rest(
        "/v1/jobs/{job_id}/logs", "JobQueries", "FollowLogs", "What a job printed, as text; live: follow.", form="text"
    ),
    Rest("/v1/jobs/{job_id}/chunks", "JobQueries", "FollowLogs", "What a job printed, by task, attempt and stream."),
    Rest(
        "/v1/jobs/{job_ids}/watch",
        "JobQueries",
        "WatchJobs",
        "A job now and whenever it changed, until it ended.",
        {"until_ended": "true"},
    ),
    Rest("/v1/jobs/{job_id}/why", "SchedulingQueries", "ExplainJob", "Why a job waits, by group of nodes."),
    Rest("/v1/queues", "SchedulingQueries", "ListQueues", "Every queue, by name."),
    Rest("/v1/queues/{queue}", "SchedulingQueries", "GetQueue", "A queue's policy, status and length."),
    Rest("/v1/queues/{queue}/entries", "SchedulingQueries", "ListEntries", "What waits in a queue, first to go first."),
    Rest("/v1/queues/{queue}/placements", "SchedulingQueries", "ListPlacements", "Decided placements, newest first."),
    Rest("/v1/nodes", "ResourceQueries", "ListNodes", "Nodes, by pool and id."),
    Rest("/v1/nodes/{node_id}", "ResourceQueries", "GetNode", "A node: its inventory, its devices, what holds them."),
    Rest("/v1/allocations", "ResourceQueries", "ListAllocations", "Allocations, newest first."),
    Rest("/v1/allocations/{allocation_id}", "ResourceQueries", "GetAllocation", "An allocation."),
    Rest("/v1/pools", "ResourceQueries", "ListPools", "What each pool has, has given out and has left."),
    Rest("/v1/pools/{pool}", "ResourceQueries", "GetPoolSummary", "What a pool has, has given out and has left."),
    Rest(
        "/v1/log/{context}/{subject}/history",
        "LogQueries",
        "GetHistory",
        "An aggregate's events, oldest first.",
        {"correlation_id": ""},
    ),
    Rest(
        "/v1/log/{context}/history",
        "LogQueries",
        "GetHistory",
        "Events of a flow (correlation_id), or that filters fit.",
    ),
    Rest(
        "/v1/log/{context}/events", "LogQueries", "WatchEvents", "Events as they happen, or behind a position (after)."
    ),
    Rest("/v1/log/{context}/status", "LogQueries", "GetStatus", "How the writer and the tables of a context fare."),
    Rest("/v1/log/{context}/deadletters", "LogQueries", "ListDeadLetters", "Input that was no command."),
)
