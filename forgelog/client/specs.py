"""Converts any description of a job (a spec, a path, a dict, keyword arguments) to `ManifestJob`s. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.manifest.jobs import ManifestJob

Described = "JobSpec | Mapping[str, Any] | str | Path"


def jobs_of(described: Any, fields: Mapping[str, Any]) -> list[ManifestJob]:
    """The jobs that are described, dependencies first. Keyword `fields` replace a dict's keys.

    A relative working directory begins at the manifest's folder, else at the current one. Raises `ManifestError` with
    all that is wrong.
    """
    from forgelog.manifest import resolved

    is_file = isinstance(described, str | Path) and str(described) != "-"
    return resolved(_described(described, fields), Path(described).absolute().parent if is_file else None)


def _described(described: Any, fields: Mapping[str, Any]) -> list[ManifestJob]:
    from events.language.jobs.spec import JobSpec
    from forgelog.manifest import ManifestJob, job_from, load

    if described is None or isinstance(described, Mapping):
        return [job_from({**(described or {}), **fields})]
    if fields:
        raise InvalidInput(f"{', '.join(fields)}: keyword arguments go with no other description but a dict")
    if isinstance(described, JobSpec):
        return [ManifestJob(0, described.metadata.name, "", described)]
    if isinstance(described, str | Path):
        return load(described)
    raise InvalidInput(f"a job can't be read from a {type(described).__name__}; give a path, a dict or a JobSpec")


def one_of(jobs: list[ManifestJob], described: object) -> ManifestJob:
    """The one job there is. Raises `InvalidInput` if there are several."""
    if len(jobs) != 1:
        raise InvalidInput(f"{described} describes {len(jobs)} jobs; use submit_many, which gives one handle for each")
    return jobs[0]


def in_callers_folder(jobs: list[ManifestJob]) -> list[ManifestJob]:
    """Those that name no working directory run in the current folder. Raises `InvalidInput` when it is gone."""
    from forgelog.manifest import in_callers_folder as placed

    return placed(jobs)
