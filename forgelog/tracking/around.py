"""What a program's surroundings say of its run: which platform, project, experiment and run are meant, and which job's
process it is. Starts nothing.

A task of a job is told all of it by its node's agent, by the variables below.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from forgelog.errors import InvalidInput
from forgelog.tracking import checking
from forgelog.tracking.spool import Destination
from forgelog.where import DATA, GATEWAY, meant

RUN, PROJECT = "FORGELOG_RUN", "FORGELOG_PROJECT"
EXPERIMENT, EXPERIMENT_ID = "FORGELOG_EXPERIMENT", "FORGELOG_EXPERIMENT_ID"
JOB, TASK, ATTEMPT = "FORGELOG_JOB", "FORGELOG_TASK", "FORGELOG_ATTEMPT"


@dataclass(frozen=True, slots=True)
class Around:
    """What holds where the program says nothing else."""

    destination: Destination
    project: str
    experiment: str
    """By name; what it had when the process was started."""
    experiment_id: str
    """The same, whatever its name is now; empty where only the name is known."""
    run_id: str
    """The run that this process is to go on with; empty if it begins one."""
    process: dict[str, Any] | None
    """The process of a job that it is."""


def look(address: str | None, project: str) -> Around:
    """Raises InvalidInput, and `Unavailable` where no platform is known."""
    gateway, data = meant(address)
    return Around(
        Destination(gateway, data),
        checking.project(project or os.environ.get(PROJECT, "")),
        checking.text(os.environ.get(EXPERIMENT, ""), EXPERIMENT, checking.MAX_EXPERIMENT, empty=True),
        checking.id(known, EXPERIMENT_ID) if (known := os.environ.get(EXPERIMENT_ID, "")) else "",
        checking.id(run, RUN) if (run := os.environ.get(RUN, "")) else "",
        _process(),
    )


def taken_over() -> None:
    """The run of the environment is this program's: neither a second run of it nor a program that it starts is that."""
    os.environ.pop(RUN, None)


def environment(destination: Destination, token: str | None) -> dict[str, str]:
    """Of a process that is to speak with the same platform."""
    found = {**os.environ}
    if destination.gateway:
        found[GATEWAY] = destination.gateway
    else:
        found.pop(GATEWAY, None)
        found[DATA] = destination.data
    if token is not None:
        found["FORGELOG_TOKEN"] = token
    return found


def _process() -> dict[str, Any] | None:
    job = os.environ.get(JOB, "")
    if not job:
        return None
    numbers = {}
    for name, variable, default in (("task", TASK, "0"), ("attempt", ATTEMPT, "1")):
        text = os.environ.get(variable) or default
        if not text.isdecimal():
            raise InvalidInput(f"{variable}: {text[:60]!r} is no number; leave {JOB} to the platform's agents")
        numbers[name] = int(text)
    return {"job_id": checking.id(job, JOB), **numbers}
