"""What the resources service is made of.

`FORGELOG_NODE_LOST_SECONDS`: silence of an agent after which its node is lost; 15 when not given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from events.hosting import Answering, Service, Servicer
from events.process.settings import SettingsError
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


def servicers(answering: Answering) -> Sequence[Servicer]:
    servicer = ResourceQueriesServicer(answering.read)
    return [(servicer, add_ResourceQueriesServicer_to_server, "forgelog.resources.v1.ResourceQueries")]


def _deciders() -> Resources:
    return Resources(lost_after(os.environ))


SERVICE = Service(deciders=_deciders, projection=PROJECTION, servicers=servicers)
