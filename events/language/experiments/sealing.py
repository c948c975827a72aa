"""Seals of points: some time after a run's end, an event says how many points it has and their digest. So the hash
chain covers them, and what is stored can be held against it. Points that come later are counted.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.objects import ObjectDigest, ObjectRef

EndNumber = Annotated[int, Field(ge=1, le=1_000_000)]
"""Which end of the run: one that goes on and ends again is sealed again."""


class SealedPoints(Model):
    """The points of a run as they were when it was sealed."""

    series: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    points: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    digest: ObjectDigest
    """BLAKE3 over all points of all series in order."""
    arrived_to: Timestamp | None = None
    """When the newest of them came; none if there are no points. What came later is not in the digest."""
    summary: ObjectRef | None = None
    """JSON with the last value, the extremes and the count of each series; none if there are none."""


class RunSeal(Model):
    """The newest seal of a run, as queries tell of it."""

    run_id: Identifier
    end_number: EndNumber
    sealed: SealedPoints
    sealed_at: Timestamp


class SealPoints(RunCommand):
    """Seal the points of a run that has ended. The platform's own worker says it."""

    end_number: EndNumber
    sealed: SealedPoints


class RunPointsSealed(RunEvent):
    """Its points were these, some time after its end."""

    end_number: EndNumber
    sealed: SealedPoints
