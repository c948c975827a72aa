"""The resources service: ``python -m services.resources``. Settings come from FORGELOG_* variables.

`FORGELOG_NODE_LOST_SECONDS`: silence of an agent after which its node is lost; 15 when not given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from events.process.settings import Settings, SettingsError
from events.queries.queries import ReadModel
from events.service import Servicer, serve
from forgelog_pb.resources.v1.queries_pb2_grpc import add_ResourceQueriesServicer_to_server
from services.resources.decide import LOST_AFTER_SECONDS, Resources
from services.resources.projections import PROJECTION
from services.resources.queries import ResourceQueriesServicer

LOST_VARIABLE = "FORGELOG_NODE_LOST_SECONDS"


def lost_after(environment: Mapping[str, str]) -> float:
    """Seconds of silence after which a node is lost. Raises SettingsError."""
    text = environment.get(LOST_VARIABLE) or str(LOST_AFTER_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise SettingsError(f"{LOST_VARIABLE}: should be seconds from 0.1 to 86400, such as 15")
    return seconds


def servicers(read: ReadModel, _settings: Settings) -> Sequence[Servicer]:
    return [
        (
            ResourceQueriesServicer(read),
            add_ResourceQueriesServicer_to_server,
            "forgelog.resources.v1.ResourceQueries",
        )
    ]


def main() -> None:
    try:
        decider = Resources(lost_after(os.environ))
        serve(decider, PROJECTION, servicers)
    except SettingsError as error:
        sys.exit(f"resources: {error}")


if __name__ == "__main__":
    main()
