"""Answers about requests to deployments, from the stream's table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from events.language.convert import to_message
from events.language.deployments.drift import TrainingData
from events.language.deployments.traffic_records import MINUTE
from events.projections.tables import Db
from events.queries.listing import INT8, Condition, Listing
from events.queries.queries import ReadModel, invalid, read_options
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from forgelog_pb.deployments.v1 import telemetry_queries_pb2 as pb
from forgelog_pb.deployments.v1 import telemetry_queries_pb2_grpc as rpc
from forgelog_pb.deployments.v1 import types_pb2 as types
from services.deployments.queries import check_deployment, lacking
from services.deployments.requests.stream import COLUMNS
from services.deployments.windows.drifting import drift_of
from services.deployments.windows.measuring import Asked, Prices, Run, measured

MOST_WINDOWS = 10_000
"""In one answer."""
MOST_MINUTES = 50_000
"""Rows that one answer is made of: a month of one revision."""
_PART = 500
_HOUR = 3600

FILTERS = {
    "deployment_id": "deployment_id",
    "outcomes": "outcome",
    "error_types": "error_type",
    "revisions": "revision",
    "endpoint": "endpoint",
    "replica_id": "replica_id",
    "request_id": "request_id",
    "batch_id": "batch_id",
    "trace_id": "trace_id",
    "least_latency_ms": "latency_ms >= {value}",
    "since": "started_at >= {value}",
    "until": "started_at < {value}",
}


class TelemetryQueriesServicer(rpc.TelemetryQueriesServicer):
    def __init__(self, read: ReadModel, requests: Intake, windows: Intake, prices: Prices) -> None:
        self._read = read
        self._requests = StreamReader(read, requests)
        self._windows = StreamReader(read, windows)
        self._prices = prices

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
                filters=FILTERS,
            )
            past = [] if options["as_of"] is None else [Condition("arrived_at <= {0}", (options["as_of"],))]
            page = await listing.query(request, more=past).fetch(db)
        found = [to_message({name: row[name] for name in COLUMNS}, types.InferenceRequest) for row in page.rows]
        return pb.ListInferenceRequestsResponse(requests=found, next_cursor=page.next_cursor)

    async def GetServingMetrics(self, request: Any, context: Any) -> Any:
        options, asked = read_options(request.options), _asked(request, time.time())
        async with self._read.view(at_least=options["at_least"]) as db:
            await check_deployment(db, asked.deployment_id, None)
            runs = await _runs(db, asked)
        async with self._windows.view() as db:
            rows = await _minutes(db, self._windows.schema, asked)
        trained = await self._trained(asked, rows)
        found = await asyncio.to_thread(measured, asked, rows, runs, self._prices, trained)
        metrics = [to_message(each, types.ModelServingMetrics) for each in found]
        return pb.GetServingMetricsResponse(metrics=metrics)

    async def _trained(self, asked: Asked, minutes: Iterable[Mapping[str, Any]]) -> dict[int, TrainingData]:
        """The training data of the revisions that were asked something which is counted."""
        counted = sorted({part["revision"] for part in minutes if part["usage"].get("inputs")})
        if not counted:
            return {}
        async with self._read.view() as db:
            rows = await db.fetch(
                "select revision, model -> 'training' as training from deployment_revisions where deployment_id = $1 "
                "and revision = any($2) and model -> 'training' is not null and model -> 'training' != 'null'",
                asked.deployment_id,
                counted,
            )
        return {row["revision"]: TrainingData.model_validate(row["training"]) for row in rows}

    async def GetDrift(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        asked = _asked_drift(request, time.time() if options["as_of"] is None else options["as_of"].timestamp())
        async with self._read.view(**options) as db:
            await check_deployment(db, asked.deployment_id, options["as_of"])
            revision = request.revision or await db.fetchval(
                "select revision from deployments where deployment_id = $1", asked.deployment_id
            )
            row = await db.fetchrow(
                "select spec, model from deployment_revisions where deployment_id = $1 and revision = $2",
                asked.deployment_id,
                revision,
            )
            if row is None and request.revision:
                raise await lacking(db, f"revision {revision}", asked.deployment_id, options["as_of"])
        asked = replace(asked, revisions=frozenset({revision}))
        async with self._windows.view() as db:
            rows = await _minutes(db, self._windows.schema, asked)
        found = await asyncio.to_thread(drift_of, asked, revision, row, rows)
        return pb.GetDriftResponse(drift=to_message(found, types.DeploymentDrift))


def _asked_drift(request: Any, now: float) -> Asked:
    """Raises QueryError that names the field."""
    until = request.until.ToDatetime(tzinfo=UTC).timestamp() if request.HasField("until") else now
    whole = pb.GetServingMetricsRequest(deployment_id=request.deployment_id)
    whole.until.FromDatetime(datetime.fromtimestamp(min(until, now), UTC))
    if request.HasField("since"):
        whole.since.CopyFrom(request.since)
    return _asked(whole, now)


def _asked(request: Any, now: float) -> Asked:
    """Raises QueryError that names the field."""
    if not request.deployment_id:
        raise invalid("deployment_id: is empty; give the deployment whose metrics are wanted")
    seconds = request.window_seconds or MINUTE
    if seconds < MINUTE or seconds % MINUTE:
        raise invalid(f"window_seconds: is {seconds}; give whole minutes, such as 60 or 3600")
    until = request.until.ToDatetime(tzinfo=UTC).timestamp() if request.HasField("until") else now
    last = int(-(-until // seconds) * seconds)  # the window that has it is told whole
    if request.HasField("since"):
        begin = int(request.since.ToDatetime(tzinfo=UTC).timestamp() // seconds * seconds)
    else:
        begin = last - max(_HOUR // seconds * seconds, 60 * seconds)
    if begin >= last:
        raise invalid("since: is not before until; give an earlier time")
    if (last - begin) // seconds > MOST_WINDOWS:
        raise invalid(
            f"since: there are {(last - begin) // seconds} windows of {seconds} s since then; ask for at most "
            f"{MOST_WINDOWS}, or for longer ones"
        )
    return Asked(
        request.deployment_id, begin, last, seconds, frozenset(request.revisions), by_revision=request.by_revision
    )


async def _minutes(db: Db, schema: str, asked: Asked) -> list[Any]:
    """What is stored of that time, a part at a time: others are answered between. Raises QueryError for too much."""
    rows: list[Any] = []
    async with db.transaction():
        found = await db.cursor(
            f"select revision, minute, requests, usage from {schema}.windows "
            "where deployment_id = $1 and minute >= $2 and minute < $3 and ($4::int[] = '{}' or revision = any($4))",
            asked.deployment_id,
            asked.begin // MINUTE,
            asked.end // MINUTE,
            list(asked.revisions),
        )
        while some := await found.fetch(_PART):
            rows += some
            if len(rows) > MOST_MINUTES:
                raise invalid(
                    f"since: more than {MOST_MINUTES} minutes of revisions are stored; ask for a shorter time"
                )
    return rows


async def _runs(db: Db, asked: Asked) -> list[Run]:
    """The replicas that ran in that time."""
    rows = await db.fetch(
        "select r.revision, r.first_started_at, r.ended_at, v.spec -> 'resources' as resources from replicas r "
        "join deployment_revisions v on v.deployment_id = r.deployment_id and v.revision = r.revision "
        "where r.deployment_id = $1 and r.first_started_at < $3 and (r.ended_at is null or r.ended_at > $2)",
        asked.deployment_id,
        datetime.fromtimestamp(asked.begin, UTC),
        datetime.fromtimestamp(asked.end, UTC),
    )
    now = time.time()
    return [
        Run(
            row["revision"],
            row["first_started_at"].timestamp(),
            now if row["ended_at"] is None else row["ended_at"].timestamp(),
            float((row["resources"] or {}).get("cpus", 1.0)),
            float((row["resources"] or {}).get("gpus", 0)),
        )
        for row in rows
    ]
