"""The stream of requests: from the topic ``inference.deployments`` into its own table, each request once.

Lines of a router's access log are numbered, and its records come in their order. So the newest number of a deployment
in an access log tells a repeat from what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from prometheus_client import Counter

from events.language.deployments.telemetry import InferenceRequest
from events.language.deployments.telemetry_records import InferenceRecords
from events.language.streams import REQUESTS
from events.log.wire import Raw
from events.projections.tables import Db
from events.streams.retention import Expiring
from events.streams.stream import Stream
from services.deployments.stream_records import read_record

stored_requests = Counter("forgelog_inference_requests_total", "Records of requests stored")

SourceKey = tuple[str, str]
"""An access log and a deployment."""

COLUMNS: Mapping[str, str] = {
    "request_id": "text not null",
    "trace_id": "text not null default ''",
    "router": "text not null",
    "deployment_id": "text not null",
    "endpoint": "text not null",
    "endpoint_type": "text",
    "revision": "int not null",
    "model": "text not null",
    "model_version": "bigint not null",
    "replica_id": "text not null",
    "started_at": "timestamptz not null",
    "latency_ms": "float8 not null",
    "replica_ms": "float8",
    "request_bytes": "bigint not null",
    "response_bytes": "bigint not null",
    "preprocessing_ms": "float8",
    "queue_ms": "float8",
    "inference_ms": "float8",
    "postprocessing_ms": "float8",
    "batch_id": "text not null",
    "batch_requests": "bigint not null",
    "batch_rows": "bigint not null",
    "outcome": "text not null",
    "status": "int not null",
    "grpc_status": "int",
    "error_type": "text",
    "error_message": "text not null",
    "attempts": "bigint not null",
    "cpu_ms": "float8",
    "memory_bytes": "bigint",
    "gpu_ms": "float8",
}
"""The fields of an `InferenceRequest`."""


@dataclass(slots=True)
class Source:
    """How far an access log is stored."""

    newest: int = 0


class Row(NamedTuple):
    request: InferenceRequest
    source: str
    number: int


class RequestStream(Stream[InferenceRecords, SourceKey, Source, Row]):
    """Stores each request once."""

    context: ClassVar = "deployments"
    topic: ClassVar = REQUESTS
    schema: ClassVar = "requests"
    tables: ClassVar = (
        "create table if not exists sources (source text, deployment_id text, newest bigint not null, "
        "primary key (source, deployment_id))",
        f"create table if not exists requests ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())}, "
        "source text not null, number bigint not null, arrival bigint primary key, "
        "arrived_at timestamptz not null default now())",
        "alter table requests add column if not exists trace_id text not null default ''",
        "create index if not exists requests_of_deployment on requests (deployment_id, started_at desc, arrival desc)",
        "create index if not exists requests_by_id on requests (request_id)",
        "create index if not exists requests_by_time on requests (arrived_at)",
    )
    expiring: ClassVar = (Expiring("requests", "arrived_at"),)

    def read(self, raw: Raw) -> InferenceRecords:
        return read_record(raw, InferenceRecords, "it has no records of requests")

    def key(self, piece: InferenceRecords) -> SourceKey:
        return piece.source, piece.deployment_id

    def count(self, piece: InferenceRecords) -> int:
        return len(piece.requests)

    async def load(self, db: Db, keys: Sequence[SourceKey]) -> Mapping[SourceKey, Source]:
        rows = await db.fetch(
            "select source, deployment_id, newest from sources "
            "join unnest($1::text[], $2::text[]) as k(source, deployment_id) using (source, deployment_id)",
            [source for source, _ in keys],
            [deployment for _, deployment in keys],
        )
        known = {(row["source"], row["deployment_id"]): Source(row["newest"]) for row in rows}
        return {key: known.get(key, Source()) for key in keys}

    def take(self, state: Source, piece: InferenceRecords, now: float) -> Sequence[Row]:
        new = [
            Row(request, piece.source, number)
            for number, request in zip(piece.numbers, piece.requests, strict=True)
            if number > state.newest
        ]
        state.newest = max(state.newest, piece.numbers[-1])
        return new

    async def store(self, db: Db, numbers: range, chunks: Sequence[Row], states: Mapping[SourceKey, Source]) -> None:
        await db.copy_records_to_table(
            "requests",
            records=[
                (*_values(row.request), row.source, row.number, arrival)
                for arrival, row in zip(numbers, chunks, strict=True)
            ],
            columns=[*COLUMNS, "source", "number", "arrival"],
        )
        await db.executemany(
            "insert into sources values ($1, $2, $3) on conflict (source, deployment_id) "
            "do update set newest = excluded.newest",
            [(*key, state.newest) for key, state in states.items()],
        )

    def stored(self, chunks: Sequence[Row]) -> None:
        stored_requests.inc(len(chunks))

    async def carry(self, db: Db, live: str) -> None:
        """Copy when requests came: the time and the number, which say what had come by a past time."""
        await db.execute(
            "update requests r set arrival = l.arrival, arrived_at = l.arrived_at "
            f"from {live}.requests l where l.source = r.source and l.number = r.number "
            "and l.deployment_id = r.deployment_id"
        )

    async def newest(self, db: Db) -> int:
        number: int = await db.fetchval("select coalesce(max(arrival), 0) from requests")
        return number


def _values(request: InferenceRequest) -> tuple[Any, ...]:
    return tuple(getattr(request, name) for name in COLUMNS)
