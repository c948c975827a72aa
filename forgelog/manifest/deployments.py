"""Deployments out of a manifest's documents. Sends nothing.

kind: Deployment
name: digits
model: digits@champion
replicas: 2
resources: {cpus: 1, memory: 1Gi}
strategy: canary
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from events.language.common import shown
from events.language.deployments.models import DeploymentSpec, NewDeploymentName
from forgelog.client.model_refs import parse_ref
from forgelog.errors import InvalidInput, Problem
from forgelog.manifest import kinds
from forgelog.manifest.nodes import Node, from_python, problem
from forgelog.manifest.programs import folder_of, program_of, with_arguments
from forgelog.manifest.shape import Shaper
from forgelog.manifest.shorthand import ENVIRONMENT, OF_JOBS, Shorthand

_NAME = TypeAdapter(NewDeploymentName)

_SHORTHAND = OF_JOBS | Shorthand(
    keys={
        DeploymentSpec: {
            **ENVIRONMENT,
            "queue": ("target", "queue"),
            "priority": ("target", "priority"),
            "region": ("target", "region"),
            "node_selector": ("target", "node_selector"),
            "tolerations": ("target", "tolerations"),
            "strategy": ("rollout", "strategy"),
        }
    }
)


@dataclass(frozen=True, slots=True)
class ManifestDeployment:
    """One deployment of a manifest."""

    name: str
    spec: DeploymentSpec
    upload: str = ""
    """The folder whose copy its replicas run in, to be uploaded before; empty for none."""


def _deployments(documents: Sequence[Node], problems: list[Problem]) -> list[ManifestDeployment]:
    found = [_deployment(node, problems) for node in documents]
    return [each for each in found if each is not None]


DEPLOYMENT = kinds.ManifestKind("Deployment", "name, and model or command", "forgelog deploy -f", _deployments)
"""A deployment; ``model`` may be written as ``digits@champion``."""


def _deployment(node: Node, problems: list[Problem]) -> ManifestDeployment | None:
    if node.kind != "map":
        problems.append(problem(node, "a deployment is a map of keys", "write for example 'name: digits'"))
        return None
    name = upload = ""
    rest: list[tuple[Node, Node]] = []
    args: list[Node] = []
    for key, value in node.pairs:
        if key.text == "name":
            name = _name(value, problems)
        elif key.text == "upload":
            upload = folder_of(value, problems)
        elif key.text == "command":
            program = program_of(value, args, problems)
            rest += [(key, program)] if program is not None else []
        elif key.text == "model" and value.kind == "scalar" and isinstance(value.value, str):
            rest.append((key, _model(value, problems)))
        elif key.text == "ports" and value.kind == "scalar" and isinstance(value.value, str):
            rest.append((key, Node("list", items=[value], line=value.line, column=value.column)))
        else:
            rest.append((key, value))
    rest = with_arguments(rest, args, problems)
    if not name and not any(key.text == "name" for key, _ in node.pairs):
        problems.append(problem(node, "has no name", "write for example 'name: digits'", "name"))
    shaper = Shaper(_SHORTHAND)
    data = shaper.shape(Node("map", pairs=rest, line=node.line, column=node.column), DeploymentSpec)
    spec = shaper.validated(data, DeploymentSpec)
    problems += shaper.problems
    if spec is None:
        return None
    if upload and (spec.environment.working_directory or spec.environment.bundle is not None):
        hint = "leave working_directory out: replicas run in their copies of the uploaded folder"
        problems.append(problem(node, "goes with no working_directory and no bundle", hint, "upload"))
    return ManifestDeployment(name, spec, upload)


def _name(value: Node, problems: list[Problem]) -> str:
    try:
        return _NAME.validate_python(value.text)
    except ValidationError:
        hint = "use 1 to 57 lower-case letters, digits and hyphens, no hyphen at an end"
        problems.append(problem(value, f"{shown(value.text)} is no name of a deployment", hint, "name"))
        return ""


def _model(value: Node, problems: list[Problem]) -> Node:
    """``digits@champion`` as a map."""
    try:
        ref = parse_ref(value.text)
    except InvalidInput as error:
        problems.append(problem(value, str(error), "", "model"))
        return value
    return Node("map", pairs=from_python(ref.choice()).pairs, line=value.line, column=value.column)
