"""What the pipelines service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from forgelog_pb.pipelines.v1.queries_pb2_grpc import add_PipelineQueriesServicer_to_server
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.projections import PROJECTION
from services.pipelines.queries import PipelineQueriesServicer


def servicers(answering: Answering) -> Sequence[Servicer]:
    read, package = answering.read, "forgelog.pipelines.v1"
    return [(PipelineQueriesServicer(read), add_PipelineQueriesServicer_to_server, f"{package}.PipelineQueries")]


SERVICE = Service(deciders=Pipelines, projection=PROJECTION, servicers=servicers)
