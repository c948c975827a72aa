"""What the deployments service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from forgelog_pb.deployments.v1.queries_pb2_grpc import add_DeploymentQueriesServicer_to_server
from services.deployments.decide import Deployments
from services.deployments.projections import PROJECTION
from services.deployments.queries import DeploymentQueriesServicer
from services.deployments.wanting_routers import want_routers


def servicers(answering: Answering) -> Sequence[Servicer]:
    servicer = DeploymentQueriesServicer(answering.read)
    return [(servicer, add_DeploymentQueriesServicer_to_server, "forgelog.deployments.v1.DeploymentQueries")]


SERVICE = Service(deciders=Deployments, projection=PROJECTION, servicers=servicers, background=(want_routers,))
