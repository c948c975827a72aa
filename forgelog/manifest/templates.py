"""``template.yaml``: what a template of experiments is, beside the files that it stands among. Sends nothing.

framework: pytorch
architecture: resnet50
hyperparameters: {basic: {learning_rate: 0.1, epochs: 30}}
resources: {cpus: 4, memory: 8Gi, gpus: 1}
scripts: {training: train.py, evaluation: evaluate.py}
practices:
  metrics: [loss, accuracy]
  checks: [{name: better than guessing, metric: accuracy, at_least: 0.5}]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, create_model

from events.language.base import Model
from events.language.experiments.templates import ScriptRole, TemplateSpec
from events.language.file_paths import FilePath
from forgelog.errors import Problem
from forgelog.manifest.kinds import ManifestKind
from forgelog.manifest.nodes import Node, only_map, problem
from forgelog.manifest.shape import Shaper, suggest

NAME = "template.yaml"

_fields: dict[str, Any] = {
    name: (info.annotation, info) for name, info in TemplateSpec.model_fields.items() if name != "files"
}
TemplateDocument: type[Model] = create_model(
    "TemplateDocument",
    __base__=Model,
    **_fields,
    scripts=(dict[str, FilePath], Field(default_factory=dict)),
)
"""A `TemplateSpec` whose files are those beside it; `scripts`: role → path."""

_ROLES = [role.value for role in ScriptRole if role is not ScriptRole.OTHER]


def _templates(documents: Sequence[Node], problems: list[Problem]) -> list[dict[str, Any]]:
    """The fields of `TemplateSpec` without `files`, and `scripts`."""
    node = only_map(documents, problems, "a template", "write for example 'framework: pytorch'")
    if node is None:
        return []
    shaper = Shaper()
    data = shaper.shape(node, TemplateDocument)
    scripts = data.get("scripts", {})
    for role in scripts if isinstance(scripts, dict) else ():
        if role not in _ROLES:
            place = shaper.places.get(("scripts", role, "[key]"), node)
            hint = suggest(role, _ROLES) or f"the roles are {', '.join(_ROLES)}"
            problems.append(problem(place, f"{role!r} is no role of a script", hint, "scripts"))
    found = shaper.validated(data, TemplateDocument)
    problems += shaper.problems
    return [] if found is None else [found.model_dump(mode="json", exclude_defaults=True)]


TEMPLATE = ManifestKind("Template", "framework or scripts", "forgelog templates save", _templates)
"""A template of experiments; its files are those of its folder."""
