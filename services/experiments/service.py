"""What the experiments service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from events.hosting import Answering, Service, Servicer
from events.streams.intake import Intake
from events.writer.deciders import Deciders
from forgelog_pb.experiments.v1.artifact_queries_pb2_grpc import add_ArtifactQueriesServicer_to_server
from forgelog_pb.experiments.v1.capture_queries_pb2_grpc import add_CaptureQueriesServicer_to_server
from forgelog_pb.experiments.v1.logged_models_pb2_grpc import add_LoggedModelQueriesServicer_to_server
from forgelog_pb.experiments.v1.points_queries_pb2_grpc import add_PointQueriesServicer_to_server
from forgelog_pb.experiments.v1.purge_queries_pb2_grpc import add_PurgeQueriesServicer_to_server
from forgelog_pb.experiments.v1.queries_pb2_grpc import add_ExperimentQueriesServicer_to_server
from forgelog_pb.experiments.v1.registry_queries_pb2_grpc import add_RegistryQueriesServicer_to_server
from forgelog_pb.experiments.v1.result_queries_pb2_grpc import add_ResultQueriesServicer_to_server
from forgelog_pb.experiments.v1.seal_queries_pb2_grpc import add_SealQueriesServicer_to_server
from forgelog_pb.experiments.v1.templates_pb2_grpc import add_TemplateQueriesServicer_to_server
from forgelog_pb.experiments.v1.tunings_pb2_grpc import add_TuningQueriesServicer_to_server
from services.experiments.artifact_queries import ArtifactQueriesServicer
from services.experiments.capture_queries import CaptureQueriesServicer
from services.experiments.catalogue.decide import Catalogues
from services.experiments.checking import check_files
from services.experiments.costs import prices_of
from services.experiments.datasets.decide import DatasetCatalogues
from services.experiments.engine.extras import missing_algorithms
from services.experiments.engine.keeping import keep_engine
from services.experiments.following import follow_trials
from services.experiments.joblink.decide import JobLinks
from services.experiments.logged_model.decide import LoggedModels
from services.experiments.logged_model_queries import LoggedModelQueriesServicer
from services.experiments.points.answering import PointQueriesServicer, PointReader
from services.experiments.points.stream import PointStream
from services.experiments.projections import PROJECTION
from services.experiments.purge_queries import PurgeQueriesServicer
from services.experiments.purge_worker import purge_deleted
from services.experiments.queries import ExperimentQueriesServicer
from services.experiments.registry.decide import Registries
from services.experiments.registry_queries import RegistryQueriesServicer
from services.experiments.result_queries import ResultQueriesServicer
from services.experiments.run.decide import Runs
from services.experiments.seal_queries import SealQueriesServicer
from services.experiments.sealing import seal_points
from services.experiments.template_queries import TemplateQueriesServicer
from services.experiments.tuning.decide import Tunings
from services.experiments.tuning_queries import TuningQueriesServicer


def deciders() -> Deciders:
    return Deciders(
        Catalogues(missing_algorithms()),
        Runs(),
        LoggedModels(),
        JobLinks(),
        Tunings(),
        Registries(),
        DatasetCatalogues(),
    )


def _points() -> Intake:
    return Intake(PointStream())


def servicers(answering: Answering) -> Sequence[Servicer]:
    (points,) = answering.intakes
    read, package = answering.read, "forgelog.experiments.v1"
    reader = PointReader(read, points)
    return [
        (
            ExperimentQueriesServicer(read, reader),
            add_ExperimentQueriesServicer_to_server,
            f"{package}.ExperimentQueries",
        ),
        (PointQueriesServicer(reader), add_PointQueriesServicer_to_server, f"{package}.PointQueries"),
        (ArtifactQueriesServicer(read), add_ArtifactQueriesServicer_to_server, f"{package}.ArtifactQueries"),
        (CaptureQueriesServicer(read), add_CaptureQueriesServicer_to_server, f"{package}.CaptureQueries"),
        (
            LoggedModelQueriesServicer(read, reader),
            add_LoggedModelQueriesServicer_to_server,
            f"{package}.LoggedModelQueries",
        ),
        (
            ResultQueriesServicer(read, reader, prices_of(answering.settings)),
            add_ResultQueriesServicer_to_server,
            f"{package}.ResultQueries",
        ),
        (PurgeQueriesServicer(read, reader), add_PurgeQueriesServicer_to_server, f"{package}.PurgeQueries"),
        (SealQueriesServicer(read, reader), add_SealQueriesServicer_to_server, f"{package}.SealQueries"),
        (TuningQueriesServicer(read), add_TuningQueriesServicer_to_server, f"{package}.TuningQueries"),
        (TemplateQueriesServicer(read), add_TemplateQueriesServicer_to_server, f"{package}.TemplateQueries"),
        (RegistryQueriesServicer(read), add_RegistryQueriesServicer_to_server, f"{package}.RegistryQueries"),
    ]


SERVICE = Service(
    deciders=deciders,
    projection=PROJECTION,
    servicers=servicers,
    intakes=(_points,),
    background=(keep_engine, check_files, follow_trials, seal_points, purge_deleted),
)
