"""What the pipelines service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from forgelog_pb.pipelines.v1.queries_pb2_grpc import add_PipelineQueriesServicer_to_server
from forgelog_pb.pipelines.v1.work_pb2_grpc import add_WorkQueriesServicer_to_server
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.projections import PROJECTION
from services.pipelines.queries import PipelineQueriesServicer
from services.pipelines.work_orders import WorkOrders
from services.pipelines.work_queries import WorkQueriesServicer


def servicers(answering: Answering) -> Sequence[Servicer]:
    read, package = answering.read, "forgelog.pipelines.v1"
    work = WorkQueriesServicer(WorkOrders(answering.settings))
    return [
        (PipelineQueriesServicer(read), add_PipelineQueriesServicer_to_server, f"{package}.PipelineQueries"),
        (work, add_WorkQueriesServicer_to_server, f"{package}.WorkQueries"),
    ]


SERVICE = Service(deciders=Pipelines, projection=PROJECTION, servicers=servicers)
