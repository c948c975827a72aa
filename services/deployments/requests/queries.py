"""Answers about requests to deployments, from the stream's table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT8, Condition, Listing
from events.queries.queries import ReadModel, invalid, read_options
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from forgelog_pb.deployments.v1 import telemetry_queries_pb2 as pb
from forgelog_pb.deployments.v1 import telemetry_queries_pb2_grpc as rpc
from forgelog_pb.deployments.v1 import types_pb2 as types
from services.deployments.queries import check_deployment
from services.deployments.requests.stream import COLUMNS

_FILTERS = {
    "deployment_id": "deployment_id",
    "outcomes": "outcome",
    "error_types": "error_type",
    "revisions": "revision",
    "endpoint": "endpoint",
    "replica_id": "replica_id",
    "request_id": "request_id",
    "batch_id": "batch_id",
    "least_latency_ms": "latency_ms >= {value}",
    "since": "started_at >= {value}",
    "until": "started_at < {value}",
}


class TelemetryQueriesServicer(rpc.TelemetryQueriesServicer):
    def __init__(self, read: ReadModel, requests: Intake) -> None:
        self._read = read
        self._requests = StreamReader(read, requests)

    async def ListInferenceRequests(self, request: Any, context: Any) -> Any:
        if not request.deployment_id:
            raise invalid("deployment_id: is empty; give the deployment whose requests are wanted")
        options = read_options(request.options)
        async with self._read.view(at_least=options["at_least"]) as db:
            await check_deployment(db, request.deployment_id, None)
        async with self._requests.view() as db:
            listing = Listing(
                pb.ListInferenceRequestsRequest,
                f"{self._requests.schema}.requests",
                order={"started_at": datetime, "arrival": INT8},
                descending=True,
                filters=_FILTERS,
            )
            past = [] if options["as_of"] is None else [Condition("arrived_at <= {0}", (options["as_of"],))]
            page = await listing.query(request, more=past).fetch(db)
        found = [to_message({name: row[name] for name in COLUMNS}, types.InferenceRequest) for row in page.rows]
        return pb.ListInferenceRequestsResponse(requests=found, next_cursor=page.next_cursor)
