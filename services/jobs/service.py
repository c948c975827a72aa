"""The parts of the jobs service."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from events.streams.intake import Intake
from forgelog_pb.jobs.v1.queries_pb2_grpc import add_JobQueriesServicer_to_server
from services.jobs.decide import Jobs
from services.jobs.output.follow import Follower
from services.jobs.output.stream import OutputStream
from services.jobs.projections import PROJECTION
from services.jobs.queries import JobQueriesServicer


def _output() -> Intake:
    return Intake(OutputStream())


def servicers(answering: Answering) -> Sequence[Servicer]:
    (output,) = answering.intakes
    servicer = JobQueriesServicer(answering.read, Follower(answering.read, output))
    return [(servicer, add_JobQueriesServicer_to_server, "forgelog.jobs.v1.JobQueries")]


SERVICE = Service(deciders=Jobs, projection=PROJECTION, servicers=servicers, intakes=(_output,))
