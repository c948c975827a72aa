"""The streams of this service: records of requests, and windows of their counts."""

from __future__ import annotations

from services.deployments.requests.stream import RequestStream
from services.deployments.windows.stream import WindowStream

STREAMS = (RequestStream, WindowStream)
