"""Streams: topics of data that is too much for events. A context names its own in its `ContextSpec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StreamTopic:
    """A stream's topic."""

    name: str
    """``<word>.<context>``, without the platform's prefix, such as ``logs.jobs``."""
    days: str = ""
    """Name of the setting (`events.process.settings`) with the number of days that the topic keeps its records; empty:
    it keeps them without limit."""
    compression: Literal["none", "zstd"] = "none"
    """How the broker keeps it. ``none``: as its producers send it."""
    from_agents: bool = False
    """Whether node agents write to it."""
    from_producers: bool = False
    """Whether programs of users write to it."""


OUTPUT = StreamTopic("logs.jobs", days="output_days", from_agents=True)
"""What tasks print."""

POINTS = StreamTopic("points.experiments", compression="zstd", from_producers=True)
"""Points of runs: what their metrics were, at which step and time."""

TRAFFIC = StreamTopic("traffic.deployments", days="inference_days", compression="zstd")
"""Counts of requests to deployments, by router and minute."""

WINDOWS = StreamTopic("windows.deployments", days="windows_days", compression="zstd")
"""Counts of requests to deployments, by minute: what is made of those of all routers."""

REQUESTS = StreamTopic("inference.deployments", days="inference_days", compression="zstd")
"""What became of each request to a deployment."""
