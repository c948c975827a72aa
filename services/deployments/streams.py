"""The streams of this service: records of requests."""

from __future__ import annotations

from services.deployments.requests.stream import RequestStream

STREAMS = (RequestStream,)
