"""Forgelog: what users import. `run` begins a run that a program logs to while it trains, `autolog` has MLflow
do it; `stage` and `pipeline` declare pipelines; `Client` and `AsyncClient` speak with a running platform; `errors` is
what they raise.

Importing this costs nothing: gRPC and pydantic are loaded when a client is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgelog.autologging import autolog
    from forgelog.client.aio import AsyncClient, AsyncJob
    from forgelog.client.sync import Client, Job
    from forgelog.errors import (
        Busy,
        ForgelogError,
        InvalidInput,
        ManifestError,
        NotFound,
        Refused,
        Timeout,
        Unavailable,
    )
    from forgelog.pipelines.declaring.pipelines import pipeline
    from forgelog.pipelines.declaring.places import dataset, files, table, topic
    from forgelog.pipelines.declaring.stages import stage
    from forgelog.tracking.beginning import run
    from forgelog.tracking.configured import config
    from forgelog.tracking.run import Run, RunWarning

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "forgelog.client.aio",
    "AsyncJob": "forgelog.client.aio",
    "Busy": "forgelog.errors",
    "Client": "forgelog.client.sync",
    "Job": "forgelog.client.sync",
    "ForgelogError": "forgelog.errors",
    "InvalidInput": "forgelog.errors",
    "ManifestError": "forgelog.errors",
    "NotFound": "forgelog.errors",
    "Refused": "forgelog.errors",
    "Run": "forgelog.tracking.run",
    "RunWarning": "forgelog.tracking.run",
    "Timeout": "forgelog.errors",
    "Unavailable": "forgelog.errors",
    "autolog": "forgelog.autologging",
    "config": "forgelog.tracking.configured",
    "dataset": "forgelog.pipelines.declaring.places",
    "files": "forgelog.pipelines.declaring.places",
    "pipeline": "forgelog.pipelines.declaring.pipelines",
    "run": "forgelog.tracking.beginning",
    "stage": "forgelog.pipelines.declaring.stages",
    "table": "forgelog.pipelines.declaring.places",
    "topic": "forgelog.pipelines.declaring.places",
}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Busy",
    "Client",
    "ForgelogError",
    "InvalidInput",
    "Job",
    "ManifestError",
    "NotFound",
    "Refused",
    "Run",
    "RunWarning",
    "Timeout",
    "Unavailable",
    "__version__",
    "autolog",
    "config",
    "dataset",
    "files",
    "pipeline",
    "run",
    "stage",
    "table",
    "topic",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'forgelog' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
