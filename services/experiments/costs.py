"""What runs cost, as far as the platform ran their processes: hours of CPUs that they used and of GPUs that they were
given, by the prices of the settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from events.process.settings import Settings

HOUR = 3600.0


class Prices(NamedTuple):
    """Of an hour."""

    cpu: float
    gpu: float

    def of(self, run: Mapping[str, Any]) -> float | None:
        """What a run cost; None where no price is known."""
        if not (self.cpu or self.gpu):
            return None
        return float(run["cpu_seconds"] / HOUR * self.cpu + run["gpu_seconds"] / HOUR * self.gpu)


def prices_of(settings: Settings) -> Prices:
    return Prices(settings.cpu_hour_price, settings.gpu_hour_price)
