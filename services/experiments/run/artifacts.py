"""Which files a run has. Pure; the bytes are in the object store."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, FieldError, Refused, invalid, shown
from events.language.experiments import (
    MAX_ARTIFACTS,
    ArtifactsLogged,
    ArtifactsRemoved,
    LogArtifacts,
    RemoveArtifacts,
)
from services.experiments.run.state import Run, folders_of

MOST = 20_000
"""Most files of a run."""


def logged(state: Run, command: LogArtifacts) -> Sequence[Event]:
    """The files that are new, or have other bytes. Raises Refused for a path that is a folder, or goes through a file,
    or comes twice, and for too many files."""
    files: set[str] = set()
    folders: set[str] = set()
    for number, each in enumerate(command.artifacts):
        field = f"artifacts.{number}.path"
        if each.path in files:
            raise invalid(field, f"{shown(each.path)} comes twice", "name each file once")
        if each.path in folders or each.path in state.folders:
            raise invalid(field, f"{shown(each.path)} is a folder of the run", "give the file another path")
        above = list(folders_of(each.path))
        if through := next((folder for folder in above if folder in files or folder in state.artifacts), ""):
            problem = f"{shown(each.path)} goes through {shown(through)}, which is a file of the run"
            raise invalid(field, problem, "give the file another path")
        files.add(each.path)
        folders.update(above)
    if len(state.artifacts.keys() | files) > MOST:
        problem = f"the run would have more than {MOST} files"
        error = FieldError(field="artifacts", problem=problem, hint="log many small files as one archive")
        raise Refused(ErrorCode.RESOURCE_EXHAUSTED, problem, [error])
    new = [each for each in command.artifacts if state.artifacts.get(each.path) != each.file.digest]
    return [ArtifactsLogged(run_id=command.run_id, artifacts=tuple(new))] if new else ()


def removed(state: Run, command: RemoveArtifacts) -> Sequence[Event]:
    """The files that go. Raises Refused for a path that the run does not have, and for too many files."""
    found: dict[str, None] = {}
    for number, path in enumerate(command.paths):
        field = f"paths.{number}"
        if path in state.artifacts:
            found[path] = None
        elif path in state.folders:
            if state.folders[path] > MAX_ARTIFACTS:
                problem = f"{shown(path)} has {state.folders[path]} files, and {MAX_ARTIFACTS} are removed at a time"
                raise invalid(field, problem, "remove what is in it part by part")
            found |= dict.fromkeys(file for file in state.artifacts if file.startswith(f"{path}/"))
        else:
            problem = f"the run has no {shown(path)}"
            error = FieldError(field=field, problem=problem, hint="forgelog runs artifacts shows what it has")
            raise Refused(ErrorCode.NOT_FOUND, problem, [error])
    if len(found) > MAX_ARTIFACTS:
        raise invalid("paths", f"have {len(found)} files", f"remove at most {MAX_ARTIFACTS} at a time")
    return [ArtifactsRemoved(run_id=command.run_id, paths=tuple(found))]
