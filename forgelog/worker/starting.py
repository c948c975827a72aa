"""What a worker is told at its start, by its job's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from events.language.pipelines.work import WorkerSpec

WORKER = "FORGELOG_WORKER"
SECRETS = "FORGELOG_SECRETS"
PROJECT = "FORGELOG_PROJECT"

_SCRATCH = ".forgelog-scratch"


class CantStart(Exception):
    """The worker's environment is none of a worker: says what to do."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is."""

    spec: WorkerSpec
    project: str
    folder: Path
    """Its working directory, which has the pipeline's code."""
    secrets: Path | None
    """The folder with a file for each secret; None if it has none."""

    @property
    def scratch(self) -> Path:
        """A folder for what a stage needs while it runs. It goes with the job's own folder."""
        return self.folder / _SCRATCH


def read(environment: Mapping[str, str] = os.environ) -> Start:
    """Raises CantStart."""
    text = environment.get(WORKER)
    if not text:
        raise CantStart(f"{WORKER} is not set: a worker is the job of a pipeline, which starts it by itself")
    try:
        spec = WorkerSpec.model_validate_json(text)
    except ValidationError as error:
        raise CantStart(
            f"{WORKER}: {problems_of(error)}; the pipeline and this worker are of different versions"
        ) from None
    secrets = environment.get(SECRETS)
    return Start(
        spec=spec,
        project=environment.get(PROJECT) or "local/default",
        folder=Path.cwd(),
        secrets=Path(secrets) if secrets else None,
    )


def problems_of(error: ValidationError) -> str:
    """The first few things that are wrong with a message, by field."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])


def secret_of(folder: Path | None, name: str) -> str:
    """A secret's value. Raises LookupError that says what to do."""
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        raise LookupError(
            f"this worker was given no secret {name!r}; put its value into a file of that name in the nodes' secrets "
            "folder, and name it by connection.secret of the pipeline's source or sink"
        )
    return path.read_text().rstrip("\r\n")
