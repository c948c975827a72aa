"""What the experiments service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from events.streams.intake import Intake
from events.writer.deciders import Deciders
from forgelog_pb.experiments.v1.points_queries_pb2_grpc import add_PointQueriesServicer_to_server
from forgelog_pb.experiments.v1.queries_pb2_grpc import add_ExperimentQueriesServicer_to_server
from forgelog_pb.experiments.v1.tunings_pb2_grpc import add_TuningQueriesServicer_to_server
from services.experiments.catalogue.decide import Catalogues
from services.experiments.engine.keeping import keep_engine
from services.experiments.joblink.decide import JobLinks
from services.experiments.points.answering import PointQueriesServicer, PointReader
from services.experiments.points.stream import PointStream
from services.experiments.projections import PROJECTION
from services.experiments.queries import ExperimentQueriesServicer
from services.experiments.run.decide import Runs
from services.experiments.tuning.decide import Tunings
from services.experiments.tuning_queries import TuningQueriesServicer


def deciders() -> Deciders:
    return Deciders(Catalogues(), Runs(), JobLinks(), Tunings())


def _points() -> Intake:
    return Intake(PointStream())


def servicers(answering: Answering) -> Sequence[Servicer]:
    (points,) = answering.intakes
    reader = PointReader(answering.read, points)
    experiments, tunings = ExperimentQueriesServicer(answering.read, reader), TuningQueriesServicer(answering.read)
    return [
        (experiments, add_ExperimentQueriesServicer_to_server, "forgelog.experiments.v1.ExperimentQueries"),
        (PointQueriesServicer(reader), add_PointQueriesServicer_to_server, "forgelog.experiments.v1.PointQueries"),
        (tunings, add_TuningQueriesServicer_to_server, "forgelog.experiments.v1.TuningQueries"),
    ]


SERVICE = Service(
    deciders=deciders,
    projection=PROJECTION,
    servicers=servicers,
    intakes=(_points,),
    background=(keep_engine,),
)
