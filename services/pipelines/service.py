"""What the pipelines service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from events.notices.notifier import notify
from events.writer.deciders import Deciders
from forgelog_pb.pipelines.v1.clock_queries_pb2_grpc import add_ClockQueriesServicer_to_server
from forgelog_pb.pipelines.v1.dataset_queries_pb2_grpc import add_DatasetQueriesServicer_to_server
from forgelog_pb.pipelines.v1.notice_queries_pb2_grpc import add_PipelineNoticeQueriesServicer_to_server
from forgelog_pb.pipelines.v1.queries_pb2_grpc import add_PipelineQueriesServicer_to_server
from forgelog_pb.pipelines.v1.run_queries_pb2_grpc import add_RunQueriesServicer_to_server
from forgelog_pb.pipelines.v1.template_queries_pb2_grpc import add_PipelineTemplateQueriesServicer_to_server
from forgelog_pb.pipelines.v1.work_pb2_grpc import add_WorkQueriesServicer_to_server
from services.pipelines.clock.queries import ClockQueriesServicer
from services.pipelines.dataset.decide import Datasets
from services.pipelines.dataset.queries import DatasetQueriesServicer
from services.pipelines.lineage_export import export_lineage
from services.pipelines.making_room import make_room
from services.pipelines.notice_queries import PipelineNoticeQueriesServicer
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.projections import PROJECTION
from services.pipelines.queries import PipelineQueriesServicer
from services.pipelines.run_queries import RunQueriesServicer
from services.pipelines.template.decide import Templates
from services.pipelines.template.queries import PipelineTemplateQueriesServicer
from services.pipelines.triggers.gauges import measure_streams
from services.pipelines.work_orders import WorkOrders
from services.pipelines.work_queries import WorkQueriesServicer


def deciders() -> Deciders:
    return Deciders(Pipelines(), Datasets(), Templates())


def servicers(answering: Answering) -> Sequence[Servicer]:
    read, package = answering.read, "forgelog.pipelines.v1"
    notices = PipelineNoticeQueriesServicer(read, answering.settings)
    templates = PipelineTemplateQueriesServicer(read)
    work = WorkQueriesServicer(WorkOrders(answering.settings))
    return [
        (PipelineQueriesServicer(read), add_PipelineQueriesServicer_to_server, f"{package}.PipelineQueries"),
        (DatasetQueriesServicer(read), add_DatasetQueriesServicer_to_server, f"{package}.DatasetQueries"),
        (RunQueriesServicer(read), add_RunQueriesServicer_to_server, f"{package}.RunQueries"),
        (work, add_WorkQueriesServicer_to_server, f"{package}.WorkQueries"),
        (ClockQueriesServicer(read), add_ClockQueriesServicer_to_server, f"{package}.ClockQueries"),
        (templates, add_PipelineTemplateQueriesServicer_to_server, f"{package}.PipelineTemplateQueries"),
        (notices, add_PipelineNoticeQueriesServicer_to_server, f"{package}.PipelineNoticeQueries"),
    ]


SERVICE = Service(
    deciders=deciders,
    projection=PROJECTION,
    servicers=servicers,
    background=(notify, export_lineage, measure_streams, make_room),
)
