"""Answers about tunings and their trials, from the projection's tables. Knows no Kafka and no decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Listing
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, invalid, not_found, read_options
from events.queries.row_watch import RowWatch
from forgelog_pb.experiments.v1 import tunings_pb2 as pb
from forgelog_pb.experiments.v1 import tunings_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.lifecycle import by_lifecycle, listings
from services.experiments.tuning_rows import TUNINGS

_TUNINGS = listings(
    pb.ListTuningsRequest,
    "tunings",
    order={"created_at": datetime, "tuning_id": str},
    filters={
        "project": "project",
        "statuses": "status",
        "name": "strpos(lower(name), lower({value})) > 0",
        "owner": "owner",
        "experiment_id": "experiment_id",
    },
)

_NAMED = NamedRows("tunings", "tuning")

_TRIALS = Listing(
    pb.ListTrialsRequest,
    "trials",
    order={"number": INT4},
    filters={"tuning_id": "tuning_id", "statuses": "status"},
)

_WATCH = RowWatch(
    pb.WatchTuningsRequest,
    "experiments",
    TUNINGS,
    kind="tuning",
    changed="updated_at",
    ids="tuning_ids",
    filters={"project": "project"},
)


class TuningQueriesServicer(rpc.TuningQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetTuning(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        by_id = bool(request.tuning_id)
        if not by_id and not request.project:
            raise invalid("tuning_id: is empty; give it, or project and name")
        async with self._read.view(**options) as db:
            if by_id:
                row = await db.fetchrow("select * from tunings where tuning_id = $1", request.tuning_id)
            else:
                of_name = "select * from tunings where project = $1 and name = $2 and deleted_at is null"
                row = await db.fetchrow(of_name, request.project, request.name)
        if row is None:
            raise not_found("tuning", request.tuning_id or request.name, options["as_of"])
        return pb.GetTuningResponse(tuning=_tuning(row))

    async def ListTunings(self, request: Any, context: Any) -> Any:
        query = by_lifecycle(_TUNINGS, request).query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        return pb.ListTuningsResponse(tunings=[_tuning(row) for row in page.rows], next_cursor=page.next_cursor)

    async def WatchTunings(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield pb.WatchTuningsResponse(tuning=_tuning(row))

    async def GetTrial(self, request: Any, context: Any) -> Any:
        options, key = read_options(request.options), (request.tuning_id, request.number)
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from trials where tuning_id = $1 and number = $2", *key)
            if row is None:
                known = await db.fetchval("select 1 from tunings where tuning_id = $1", request.tuning_id)
                kind = "tuning" if known is None else f"trial {request.number} of tuning"
                raise not_found(kind, request.tuning_id, options["as_of"])
            reported = await db.fetch(
                "select step, value from trial_reports where tuning_id = $1 and number = $2 and attempt = $3 "
                "order by step",
                *key,
                row["attempt"],
            )
        intermediate = [types.IntermediateValue(step=each["step"], value=each["value"]) for each in reported]
        return pb.GetTrialResponse(trial=_trial(row), intermediate=intermediate)

    async def ListTrials(self, request: Any, context: Any) -> Any:
        page = await _NAMED.page(self._read, _TRIALS, request, "give the tuning whose trials are wanted")
        return pb.ListTrialsResponse(trials=[_trial(row) for row in page.rows], next_cursor=page.next_cursor)


def _tuning(row: Any) -> Any:
    return to_message(dict(row), types.HyperparameterTuningJob)


def _trial(row: Any) -> Any:
    return to_message(dict(row), types.Trial)
