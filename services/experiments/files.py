"""Which files a thing has: a run, a logged model. Pure; the bytes are in the object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from events.language.common import absent, invalid, shown
from events.language.experiments import MAX_ARTIFACTS, Artifact
from services.experiments.refusals import exhausted

MOST = 20_000
"""Most files of one thing."""


class WithFiles(Protocol):
    """A state that has files."""

    artifacts: dict[str, str]
    """Path → digest of the file."""
    folders: dict[str, int]
    """Path → how many files are in it, at any depth."""


def logged(state: WithFiles, wanted: Sequence[Artifact], kind: str) -> tuple[Artifact, ...]:
    """Those that are new, or have other bytes. `kind`: of the thing, as refusals name it. Raises Refused for a path
    that is a folder, or goes through a file, or comes twice, and for too many files."""
    files: set[str] = set()
    folders: set[str] = set()
    for number, each in enumerate(wanted):
        field = f"artifacts.{number}.path"
        if each.path in files:
            raise invalid(field, f"{shown(each.path)} comes twice", "name each file once")
        if each.path in folders or each.path in state.folders:
            raise invalid(field, f"{shown(each.path)} is a folder of the {kind}", "give the file another path")
        above = list(_folders(each.path))
        if through := next((folder for folder in above if folder in files or folder in state.artifacts), ""):
            problem = f"{shown(each.path)} goes through {shown(through)}, which is a file of the {kind}"
            raise invalid(field, problem, "give the file another path")
        files.add(each.path)
        folders.update(above)
    if len(state.artifacts.keys() | files) > MOST:
        problem = f"the {kind} would have more than {MOST} files"
        raise exhausted("artifacts", problem, "log many small files as one archive")
    return tuple(each for each in wanted if state.artifacts.get(each.path) != each.file.digest)


def removed(state: WithFiles, wanted: Sequence[str], kind: str, hint: str) -> tuple[str, ...]:
    """The files that go. `hint`: how to see which there are. Raises Refused for a path that there is not, and for too
    many files."""
    found: dict[str, None] = {}
    for number, path in enumerate(wanted):
        field = f"paths.{number}"
        if path in state.artifacts:
            found[path] = None
        elif path in state.folders:
            if state.folders[path] > MAX_ARTIFACTS:
                problem = f"{shown(path)} has {state.folders[path]} files, and {MAX_ARTIFACTS} are removed at a time"
                raise invalid(field, problem, "remove what is in it part by part")
            found |= dict.fromkeys(file for file in state.artifacts if file.startswith(f"{path}/"))
        else:
            raise absent(field, f"the {kind} has no {shown(path)}", hint)
    if len(found) > MAX_ARTIFACTS:
        raise invalid("paths", f"have {len(found)} files", f"remove at most {MAX_ARTIFACTS} at a time")
    return tuple(found)


def add(state: WithFiles, artifacts: Iterable[Artifact]) -> None:
    """They are there from here on."""
    for each in artifacts:
        if each.path not in state.artifacts:
            _count(state, each.path, 1)
        state.artifacts[each.path] = each.file.digest


def take_away(state: WithFiles, paths: Iterable[str]) -> None:
    """They are there no more."""
    for path in paths:
        del state.artifacts[path]
        _count(state, path, -1)


def _count(state: WithFiles, path: str, by: int) -> None:
    """Count a file in the folders that it is in."""
    for folder in _folders(path):
        if count := state.folders.get(folder, 0) + by:
            state.folders[folder] = count
        else:
            del state.folders[folder]


def _folders(path: str) -> Iterator[str]:
    """The folders that a path is in: of ``a/b/c.pt`` are ``a`` and ``a/b``."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
