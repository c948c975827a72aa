"""Answers about datasets, their versions, quality and lineage, from the projection's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Listing, Page
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.pipelines.v1 import dataset_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import dataset_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types
from services.pipelines.dataset.lineage_queries import lineage

_DATASETS = Listing(
    pb.ListDatasetsRequest,
    "datasets",
    order={"created_at": datetime, "dataset_id": str},
    descending=True,
    filters={
        "project": "project",
        "name": "(strpos(name, lower({value})) > 0 or strpos(location, {value}) > 0)",
        "stale": "stale",
    },
)

_VERSIONS = Listing(
    pb.ListDataVersionsRequest,
    "data_versions",
    order={"version": INT4},
    descending=True,
    filters={"dataset_id": "dataset_id", "statuses": "status"},
)

_SCHEMAS = Listing(
    pb.ListDataSchemasRequest,
    "data_schemas",
    order={"schema_version": INT4},
    descending=True,
    filters={"dataset_id": "dataset_id"},
)

_CHECKS = Listing(
    pb.ListQualityChecksRequest,
    "quality_checks",
    order={
        "evaluated_at": datetime,
        "run_id": str,
        "stage_id": str,
        "attempt": INT4,
        "rule_id": str,
        "revision": INT4,
    },
    descending=True,
    filters={
        "dataset_id": "dataset_id",
        "pipeline_id": "pipeline_id",
        "run_id": "run_id",
        "rule_id": "rule_id",
        "breached": "breached",
    },
)

_RECORDS = Listing(
    pb.ListRuleRecordsRequest, "rule_records", order={"rule_id": str}, filters={"dataset_id": "dataset_id"}
)

_NAMED = NamedRows("datasets", "dataset")

_QUARANTINED = """
    select max(version) from data_versions
    where dataset_id = $1 and version <= $2 and quarantined > 0 and status = 'published'
"""


class DatasetQueriesServicer(rpc.DatasetQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetDataset(self, request: Any, context: Any) -> Any:
        row = await _NAMED.get(self._read, request)
        return pb.GetDatasetResponse(dataset=_message(row, types.Dataset))

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        query = _DATASETS.query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_message(row, types.Dataset) for row in page.rows]
        return pb.ListDatasetsResponse(datasets=found, next_cursor=page.next_cursor)

    async def GetDataVersion(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.dataset_id
        async with self._read.view(**options) as db:
            await _NAMED.check(db, id, options["as_of"])
            number = request.version or await db.fetchval("select version from datasets where dataset_id = $1", id)
            if request.quarantined:
                number = await db.fetchval(_QUARANTINED, id, number)
            key = "where dataset_id = $1 and version = $2"
            row = await db.fetchrow(f"select * from data_versions {key}", id, number)
            files = await db.fetchrow(f"select * from data_manifests {key}", id, number)
        if row is None or files is None:
            what = f"version {request.version}" if request.version else "version"
            what += " with rows in quarantine" if request.quarantined else ""
            raise not_found(f"{what} of dataset", id, options["as_of"])
        version, manifest = _message(row, types.DataVersion), _message(files, types.DataManifest)
        return pb.GetDataVersionResponse(version=version, files=manifest)

    async def ListDataVersions(self, request: Any, context: Any) -> Any:
        page = await self._of_dataset(_VERSIONS, request)
        found = [_message(row, types.DataVersion) for row in page.rows]
        return pb.ListDataVersionsResponse(versions=found, next_cursor=page.next_cursor)

    async def ListDataSchemas(self, request: Any, context: Any) -> Any:
        page = await self._of_dataset(_SCHEMAS, request)
        found = [_message(row, types.DataSchema) for row in page.rows]
        return pb.ListDataSchemasResponse(schemas=found, next_cursor=page.next_cursor)

    async def ListRuleRecords(self, request: Any, context: Any) -> Any:
        page = await self._of_dataset(_RECORDS, request)
        found = [_message(row, types.RuleRecord) for row in page.rows]
        return pb.ListRuleRecordsResponse(records=found, next_cursor=page.next_cursor)

    async def ListQualityChecks(self, request: Any, context: Any) -> Any:
        page = await _NAMED.page(self._read, _CHECKS, request)
        found = [_message(row, types.QualityCheck) for row in page.rows]
        return pb.ListQualityChecksResponse(checks=found, next_cursor=page.next_cursor)

    async def GetDataLineage(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            return await lineage(db, request, options["as_of"])

    async def _of_dataset(self, listing: Listing, request: Any) -> Page:
        return await _NAMED.page(self._read, listing, request, "give the dataset")


def _message(row: Any, kind: Any) -> Any:
    return to_message(dict(row), kind)
