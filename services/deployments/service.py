"""What the deployments service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from events.notices.notifier import notify
from events.streams.intake import Intake
from events.writer.deciders import Deciders
from forgelog_pb.deployments.v1.key_queries_pb2_grpc import add_KeyQueriesServicer_to_server
from forgelog_pb.deployments.v1.notice_queries_pb2_grpc import add_DeploymentNoticeQueriesServicer_to_server
from forgelog_pb.deployments.v1.queries_pb2_grpc import add_DeploymentQueriesServicer_to_server
from forgelog_pb.deployments.v1.telemetry_queries_pb2_grpc import add_TelemetryQueriesServicer_to_server
from services.deployments.decide import Deployments
from services.deployments.following import Followers
from services.deployments.issuer import issuer
from services.deployments.key_queries import KeyQueriesServicer
from services.deployments.notice_queries import DeploymentNoticeQueriesServicer
from services.deployments.projections import PROJECTION
from services.deployments.queries import DeploymentQueriesServicer
from services.deployments.requests.queries import TelemetryQueriesServicer
from services.deployments.requests.stream import RequestStream
from services.deployments.wanting_routers import want_routers
from services.deployments.windows.keeping import keep_windows
from services.deployments.windows.measuring import Prices
from services.deployments.windows.stream import WindowStream


def _requests() -> Intake:
    return Intake(RequestStream())


def _windows() -> Intake:
    return Intake(WindowStream())


def servicers(answering: Answering) -> Sequence[Servicer]:
    requests, windows = answering.intakes
    prices = Prices(answering.settings.cpu_hour_price, answering.settings.gpu_hour_price)
    read, package = answering.read, "forgelog.deployments.v1"
    notices = DeploymentNoticeQueriesServicer(read, answering.settings)
    keys = KeyQueriesServicer(read, issuer(answering.settings))
    return [
        (DeploymentQueriesServicer(read), add_DeploymentQueriesServicer_to_server, f"{package}.DeploymentQueries"),
        (keys, add_KeyQueriesServicer_to_server, f"{package}.KeyQueries"),
        (notices, add_DeploymentNoticeQueriesServicer_to_server, f"{package}.DeploymentNoticeQueries"),
        (
            TelemetryQueriesServicer(read, requests, windows, prices),
            add_TelemetryQueriesServicer_to_server,
            f"{package}.TelemetryQueries",
        ),
    ]


def deciders() -> Deciders:
    return Deciders(Deployments(), Followers())


SERVICE = Service(
    deciders=deciders,
    projection=PROJECTION,
    servicers=servicers,
    intakes=(_requests, _windows),
    background=(want_routers, keep_windows, notify),
)
