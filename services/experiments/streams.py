"""The streams of this service: points of runs."""

from __future__ import annotations

from services.experiments.points.stream import PointStream

STREAMS = (PointStream,)
