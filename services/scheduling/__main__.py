"""The scheduling service: ``python -m services.scheduling``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from events.process.settings import Settings, SettingsError
from events.queries.queries import ReadModel
from events.service import Servicer, serve
from forgelog_pb.scheduling.v1.queries_pb2_grpc import add_SchedulingQueriesServicer_to_server
from services.scheduling.decide import Scheduling
from services.scheduling.projections import PROJECTION
from services.scheduling.queries import SchedulingQueriesServicer


def servicers(read: ReadModel, _settings: Settings) -> Sequence[Servicer]:
    return [
        (
            SchedulingQueriesServicer(read),
            add_SchedulingQueriesServicer_to_server,
            "forgelog.scheduling.v1.SchedulingQueries",
        )
    ]


def main() -> None:
    try:
        serve(Scheduling(), PROJECTION, servicers)
    except SettingsError as error:
        sys.exit(f"scheduling: {error}")


if __name__ == "__main__":
    main()
