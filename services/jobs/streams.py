"""The streams of this service: what tasks print."""

from __future__ import annotations

from services.jobs.output.stream import OutputStream

STREAMS = (OutputStream,)
