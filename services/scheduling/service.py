"""The parts of the scheduling service."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from forgelog_pb.scheduling.v1.queries_pb2_grpc import add_SchedulingQueriesServicer_to_server
from services.scheduling.decide import Scheduling
from services.scheduling.projections import PROJECTION
from services.scheduling.queries import SchedulingQueriesServicer


def servicers(answering: Answering) -> Sequence[Servicer]:
    servicer = SchedulingQueriesServicer(answering.read)
    return [(servicer, add_SchedulingQueriesServicer_to_server, "forgelog.scheduling.v1.SchedulingQueries")]


SERVICE = Service(deciders=Scheduling, projection=PROJECTION, servicers=servicers)
