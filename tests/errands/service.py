"""What the errands service is made of."""

from __future__ import annotations

from events.hosting import Service

from .decide import Errands
from .projections import PROJECTION

SERVICE = Service(deciders=Errands, projection=PROJECTION, servicers=lambda _: ())
