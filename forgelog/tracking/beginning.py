"""Begins a run: `forgelog.run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from forgelog.capture import program_folder
from forgelog.tracking import checking
from forgelog.tracking.around import look, taken_over
from forgelog.tracking.ids import new_run_id
from forgelog.tracking.run import Run, batches
from forgelog.tracking.spool import Spool
from forgelog.tracking.starting import sender


def run(
    experiment: str = "",
    *,
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    parent: Run | str | None = None,
    run_id: str = "",
    capture: bool = True,
    seeds: Mapping[str, int] | None = None,
    project: str = "",
    address: str | None = None,
    token: str | None = None,
) -> Run:
    """Begin a run of an experiment, by name (made if there is none of it); use it with `with`, or `end` it.

        with forgelog.run("digits", params={"lr": 0.1}) as run:
            for step in range(100):
                run.log(loss=1 / (step + 1), step=step)

    It ends as `finished`, as `failed` with the exception's type if one is raised, or as `killed` by SIGTERM or an
    interrupt; without `with`, at the program's end at last.

    What the program runs is captured: code with its changes, command, packages, machine, and the `seeds` that are said,
    by names such as ``numpy``; `capture=False` leaves that. `run_id`: go on with this run instead of a new one.
    `parent`: the run that it is a part of. `project`, `address`, `token`: as those of `forgelog.Client`. In a job of
    the platform, what is left out is known: the run that the job is for, its experiment, its project, the platform and
    its key.

    Does not wait for the platform, which may be away. Raises `InvalidInput`, and `Unavailable` where no platform is
    known.
    """
    checking.text(experiment, "experiment", checking.MAX_EXPERIMENT, empty=True)
    checking.text(name, "name", checking.MAX_NAME, empty=True)
    seeded = checking.seeds(checking.merged(seeds, {}, "seeds"))
    first = checking.params(checking.merged(params, {}, "params"))
    tagged = checking.tags(checking.merged(tags, {}, "tags"))
    around = look(address, project)
    spool = Spool.find()
    spool.make()
    above = parent.id if isinstance(parent, Run) else checking.id(parent, "parent") if parent else ""
    going_on = checking.id(run_id, "run_id") if run_id else around.run_id
    id = going_on or new_run_id(around.project)
    known_as = experiment or around.experiment
    by_id = not experiment and bool(around.experiment_id)
    program = {"argv": sys.orig_argv, "folder": str(program_folder()), "seeds": seeded} if capture else None
    made = Run(spool, around, sender(spool, around.destination, token), id, known_as, name, program)
    if going_on:
        made.begin("ResumeRun", {})
        if not run_id:
            taken_over()
        if name:
            made.note("RenameRun", {"name": name})
        made.log_params(first)
        made.set_tags(tagged)
        return made
    of_params, of_tags = batches(first), batches({key: value for key, value in tagged.items() if value is not None})
    body: dict[str, Any] = {
        **({"experiment_id": around.experiment_id} if by_id else {"experiment": known_as}),
        "name": name,
        "parent_run_id": above,
        "process": around.process,
        "params": of_params[0] if of_params else {},
        "tags": of_tags[0] if of_tags else {},
        "started_at": datetime.now(UTC).isoformat(),
    }
    made.begin("CreateRun", {key: value for key, value in body.items() if value})
    for batch in of_params[1:]:
        made.log_params(batch)
    for batch in of_tags[1:]:
        made.set_tags(batch)
    return made
