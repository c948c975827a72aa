"""The jobs service: ``python -m services.jobs``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from events.process.settings import Settings, SettingsError
from events.queries.queries import ReadModel
from events.service import Servicer, serve
from events.streams.intake import Intake
from forgelog_pb.jobs.v1.queries_pb2_grpc import add_JobQueriesServicer_to_server
from services.jobs.decide import Jobs
from services.jobs.output.follow import Follower
from services.jobs.output.stream import OutputStream
from services.jobs.projections import PROJECTION
from services.jobs.queries import JobQueriesServicer


def main() -> None:
    output = Intake(OutputStream())

    def servicers(read: ReadModel, _settings: Settings) -> Sequence[Servicer]:
        servicer = JobQueriesServicer(read, Follower(read, output))
        return [(servicer, add_JobQueriesServicer_to_server, "forgelog.jobs.v1.JobQueries")]

    try:
        serve(Jobs(), PROJECTION, servicers, intakes=[output])
    except SettingsError as error:
        sys.exit(f"jobs: {error}")


if __name__ == "__main__":
    main()
