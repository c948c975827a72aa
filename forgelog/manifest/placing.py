"""Where jobs run: the folders that callers name by relative paths, and the caller's own. Sends nothing.

A relative path means a folder of the caller's, so it has to be there; an absolute one is the node's to find.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from events.language.objects import ObjectRef
from events.process.same_folder import folder_identity
from forgelog.errors import InvalidInput, ManifestError, Problem
from forgelog.manifest.jobs import ManifestJob


def resolved(jobs: Iterable[ManifestJob], base: Path | None = None) -> list[ManifestJob]:
    """The jobs with relative working directories as absolute paths; `base` (the current folder when None) is where
    they begin. Raises `ManifestError` naming each that is not there."""
    placed: list[ManifestJob] = []
    problems: list[Problem] = []
    for job in jobs:
        if job.upload:
            folder = (base or current_folder()).joinpath(job.upload).resolve()
            if not folder.is_dir():
                text = f"there is no folder {folder}, which job {job.name!r} is to upload"
                problems.append(Problem("upload", text, "make it, or name another"))
            placed.append(replace(job, upload=str(folder)))
            continue
        named = job.base.environment.working_directory
        if not named or named.startswith("/"):
            placed.append(job)
            continue
        folder = (base or current_folder()).joinpath(named).resolve()
        if not folder.is_dir():
            hint = "make it, or name another; a path that does not begin with / is a folder of yours"
            problems.append(
                Problem("working_directory", f"there is no folder {folder}, which job {job.name!r} names", hint)
            )
        placed.append(_at(job, folder))
    if problems:
        raise ManifestError("the job can't run where it is to", problems)
    return placed


def in_callers_folder(jobs: Iterable[ManifestJob]) -> list[ManifestJob]:
    """Those that say nothing of a working directory run in the current folder, on nodes that see the same one."""
    folder = current_folder()
    identity = folder_identity(str(folder))
    if not identity:
        return list(jobs)  # no node sees this machine's folders
    return [
        job
        if job.upload
        or job.base.environment.bundle is not None
        or "working_directory" in job.base.environment.model_fields_set
        else _at(job, folder, identity)
        for job in jobs
    ]


def with_bundle(job: ManifestJob, bundle: ObjectRef) -> ManifestJob:
    """The job as it is submitted, once its folder is uploaded."""
    environment = job.base.environment.model_copy(update={"bundle": bundle})
    return replace(job, base=job.base.model_copy(update={"environment": environment}), upload="")


def current_folder() -> Path:
    """Raises `InvalidInput` when it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        hint = "go to another one, or give --no-chdir"
        raise InvalidInput(f"the current folder is not there any more; {hint}") from None


def _at(job: ManifestJob, folder: Path, identity: str = "") -> ManifestJob:
    environment = job.base.environment.model_copy(
        update={"working_directory": str(folder), "working_directory_id": identity}
    )
    return replace(job, base=job.base.model_copy(update={"environment": environment}))
