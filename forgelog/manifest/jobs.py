"""Jobs out of a manifest's documents: commands as lists, and dependencies by name in an order that works.

Knows nothing of sending: a job that waits for other documents is completed by `ManifestJob.spec` once they have ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from events.language.common import Identifier, shown
from events.language.jobs.spec import DependencyKind, JobDependency, JobSpec
from forgelog.errors import Problem
from forgelog.manifest import kinds
from forgelog.manifest.nodes import Node, from_python, problem
from forgelog.manifest.programs import folder_of, program_of, with_arguments
from forgelog.manifest.shape import Shaper, suggest

_IDENTIFIER = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a job waits for: another document's index, or the id of a job that exists already."""

    kind: DependencyKind
    document: int | None = None
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class ManifestJob:
    """One job of a manifest."""

    index: int
    """Which document, from 0."""
    name: str
    job_id: str
    """As asked for; empty when the platform is to choose one."""
    base: JobSpec
    """The spec without dependencies."""
    dependencies: tuple[Dependency, ...] = ()
    upload: str = ""
    """The folder whose copy it runs in, to be uploaded before; empty for none."""

    def spec(self, ids: Mapping[int, str]) -> JobSpec:
        """The whole spec, given the ids of the documents this one depends on."""
        if not self.dependencies:
            return self.base
        resolved = tuple(
            JobDependency(job_id=item.job_id if item.document is None else ids[item.document], kind=item.kind)
            for item in self.dependencies
        )
        return self.base.model_copy(update={"depends_on": resolved})


def load(path: str | Path) -> list[ManifestJob]:
    """The jobs of a file, dependencies first; ``-`` reads standard input. Raises `ManifestError`."""
    return kinds.load(path, JOB)


def parse(text: str, name: str = "manifest") -> list[ManifestJob]:
    """The jobs of a YAML or JSON text, dependencies first. Raises `ManifestError` with every error there is."""
    return kinds.parse(text, name, JOB)


def job_from(data: Mapping[str, Any], name: str = "the job") -> ManifestJob:
    """A job from plain data with the same keys and units as a manifest. Raises `ManifestError`."""
    return kinds.described([from_python(dict(data))], name, JOB)[0]


@dataclass(slots=True)
class _Draft:
    node: Node
    name: str
    job_id: str
    spec: JobSpec | None
    depends_on: Node | None
    upload: str = ""


def _jobs(documents: Sequence[Node], problems: list[Problem]) -> list[ManifestJob]:
    drafts = [_draft(node, problems) for node in documents]
    dependencies = [_dependencies(index, drafts, problems) for index in range(len(drafts))]
    order = _order(drafts, dependencies, problems)
    if problems:
        return []
    jobs = []
    for index in order:
        draft = drafts[index]
        assert draft.spec is not None, "a draft without a spec always has a problem"
        found = tuple(item for item, _ in dependencies[index])
        jobs.append(ManifestJob(index, draft.name, draft.job_id, draft.spec, found, draft.upload))
    return jobs


JOB = kinds.ManifestKind("Job", "name and command", "forgelog submit", _jobs)
"""A job; its dependencies may be documents of the same file."""


def _draft(node: Node, problems: list[Problem]) -> _Draft:
    """A document's spec, without its dependencies."""
    if node.kind != "map":
        problems.append(problem(node, "a job is a map of keys", "write for example 'name: train'"))
        return _Draft(node, "", "", None, None)
    depends_on: Node | None = None
    job_id = upload = ""
    rest: list[tuple[Node, Node]] = []
    args: list[Node] = []
    for key, value in node.pairs:
        if key.text in ("job_id", "id"):
            job_id = value.text
            try:
                _IDENTIFIER.validate_python(job_id)
            except ValidationError:
                hint = "use 1-128 lower-case letters, digits and . _ -"
                problems.append(problem(value, f"{shown(job_id)} is not an id", hint, "job_id"))
        elif key.text == "depends_on":
            depends_on = value
        elif key.text == "keep" and value.kind == "scalar" and isinstance(value.value, str):
            rest.append((key, Node("list", items=[value], line=value.line, column=value.column)))
        elif key.text == "upload":
            upload = folder_of(value, problems)
        elif key.text == "command":
            program = program_of(value, args, problems)
            if program is not None:
                rest.append((key, program))
        else:
            rest.append((key, value))
    rest = with_arguments(rest, args, problems)
    shaper = Shaper()
    data = shaper.shape(Node("map", pairs=rest, line=node.line, column=node.column), JobSpec)
    _keep_running(data)
    spec = shaper.validated(data, JobSpec)
    problems.extend(shaper.problems)
    metadata = data.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    if upload and spec is not None and (spec.environment.working_directory or spec.environment.bundle is not None):
        hint = "leave working_directory out: the job runs in its copy of the uploaded folder"
        problems.append(problem(node, "goes with no working_directory and no bundle", hint, "upload"))
    return _Draft(node, name, job_id, spec, depends_on, upload)


def _keep_running(data: dict[str, Any]) -> None:
    """A service that says nothing of restarts is run again after every end, without bound."""
    if data.get("service") is None:
        return
    scheduling = data.setdefault("scheduling", {})
    restart = scheduling.setdefault("restart", {}) if isinstance(scheduling, dict) else None
    if isinstance(restart, dict) and restart.setdefault("mode", "always") == "always":
        restart.setdefault("max_restarts", None)


def _dependencies(index: int, drafts: list[_Draft], problems: list[Problem]) -> list[tuple[Dependency, Node]]:
    node = drafts[index].depends_on
    if node is None or (node.kind == "scalar" and node.value is None):
        return []
    if node.kind != "list":
        node = Node("list", items=[node], line=node.line, column=node.column)
    found = []
    for item in node.items:
        dependency = _dependency(item, drafts, problems)
        if dependency is not None:
            found.append((dependency, item))
    return found


def _dependency(item: Node, drafts: list[_Draft], problems: list[Problem]) -> Dependency | None:
    field = "depends_on"
    kind = DependencyKind.AFTER_OK
    target, is_id = item, False
    if item.kind == "map":
        pairs = {key.text: (key, value) for key, value in item.pairs}
        for text, (key, _) in pairs.items():
            if text not in ("job", "job_id", "kind"):
                hint = suggest(text, ["job", "job_id", "kind"]) or "keys here are job, job_id, kind"
                problems.append(problem(key, f"unknown key {shown(text)}", hint, field))
        if "kind" in pairs:
            word = pairs["kind"][1]
            try:
                kind = DependencyKind(word.text)
            except ValueError:
                words = [member.value for member in DependencyKind]
                text = f"{shown(word.text)} is none of {', '.join(words)}"
                problems.append(problem(word, text, suggest(word.text, words), field))
        named = pairs.get("job") or pairs.get("job_id")
        if named is None:
            problems.append(problem(item, "names no job", "write {job: name, kind: after_ok}", field))
            return None
        target, is_id = named[1], "job" not in pairs
    if target.kind != "scalar" or not target.text or target.value is None:
        problems.append(problem(target, "needs to be a job's name or id", "", field))
        return None
    if not is_id:
        matches = [index for index, draft in enumerate(drafts) if draft.name == target.text]
        if len(matches) > 1:
            lines = " and ".join(str(drafts[index].node.line) for index in matches[:2])
            text = f"{shown(target.text)} names {len(matches)} jobs (lines {lines})"
            problems.append(problem(target, text, "give them different names", field))
            return None
        if matches:
            return Dependency(kind, document=matches[0])
        hint = suggest(target.text, [draft.name for draft in drafts if draft.name])
        if hint:
            problems.append(problem(target, f"there is no job {shown(target.text)} in this file", hint, field))
            return None
    if len(own := [index for index, draft in enumerate(drafts) if draft.job_id == target.text]) == 1:
        return Dependency(kind, document=own[0])  # even if the ending of its project is added to that id
    try:
        return Dependency(kind, job_id=_IDENTIFIER.validate_python(target.text))
    except ValidationError:
        problems.append(problem(target, f"{shown(target.text)} is no job of this file and not an id", "", field))
        return None


def _order(
    drafts: list[_Draft], dependencies: list[list[tuple[Dependency, Node]]], problems: list[Problem]
) -> list[int]:
    """The documents, each behind those it depends on; otherwise as in the file. Each cycle is a problem, named once."""
    order: list[int] = []
    done: set[int] = set()
    for root in range(len(drafts)):
        stack = [(root, iter(dependencies[root]))] if root not in done else []
        path = [root]
        while stack:
            index, rest = stack[-1]
            step = next(((item, node) for item, node in rest if item.document is not None), None)
            if step is None:
                stack.pop()
                path.pop()
                if index not in done:
                    done.add(index)
                    order.append(index)
                continue
            following = step[0].document
            assert following is not None, "steps lead to documents"
            if following in path:
                names = [drafts[i].name for i in [*path[path.index(following) :], following]]
                text = f"the jobs wait for each other: {' → '.join(names)}"
                problems.append(problem(step[1], text, "take one away", "depends_on"))
            elif following not in done:
                stack.append((following, iter(dependencies[following])))
                path.append(following)
    return order
