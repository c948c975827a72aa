"""What the runs of an experiment run that the platform launches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.jobs.spec import JobSpec

MAX_PARALLEL = 10_000


class LaunchSpec(Model):
    """How an experiment's runs are launched."""

    job: JobSpec | None = None
    """Code, command, environment and resources of one process: what each runs that brings no job of its own. Its
    environment gets the run and its parameters."""
    parallel: Annotated[int, Field(ge=0, le=MAX_PARALLEL)] = 0
    """Most of them at a time; more wait, in the order in which the experiment took them. 0: any number."""
