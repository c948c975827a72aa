"""`python -m proto.golden`: writes a golden sample for every command and event version, and every model, without one.

tests/golden/ keeps one recorded value of every version ever shipped. They are history: an existing file is never
changed. When a version is raised, its old sample stays and must still be readable through an upcaster.

``models/`` there has the models that messages are made of, as ``context.Class``. A model has no version of its own.
When the versions of all messages that hold it were raised for a change that its sample does not survive, delete the
sample and record it anew.

``defaults.json`` there keeps the default of every field that can be in a message, by ``context.Class``: what is not
written means its default, so a default never changes either. Fields that come later are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from events.language.base import Message, Model
from events.language.registry import command_types, event_types
from proto.generate import ROOT
from proto.samples import full
from proto.shapes import PACKAGES, qualified, types_of

FOLDER = ROOT / "tests/golden"
MODELS = "models"
DEFAULTS = "defaults.json"


def wanted() -> Mapping[str, type[Model]]:
    """What has a sample, by its file below the folder without ``.json``: ``forgelog.jobs.v1.SubmitJob``,
    ``models/jobs.JobSpec``."""
    models = [kind for context in PACKAGES for kind in types_of(context) if issubclass(kind, Model)]
    inner = {f"{MODELS}/{qualified(kind)}": kind for kind in models if not issubclass(kind, Message)}
    return {**command_types(), **event_types(), **inner}


def missing(folder: Path = FOLDER) -> list[str]:
    """Which of `wanted` have no sample."""
    return [name for name in wanted() if not (folder / f"{name}.json").exists()]


def write_missing(folder: Path = FOLDER) -> list[str]:
    """Records a sample for each that has none; their names."""
    (folder / MODELS).mkdir(parents=True, exist_ok=True)
    models = wanted()
    names = missing(folder)
    for name in names:
        record = {"type": name.removeprefix(f"{MODELS}/"), "value": json.loads(full(models[name]).model_dump_json())}
        (folder / f"{name}.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return names


def every_model() -> set[type[BaseModel]]:
    """Every message, and every model that can be in one."""
    found: set[type[BaseModel]] = set()
    todo: list[type[BaseModel]] = [*command_types().values(), *event_types().values()]
    while todo:
        model = todo.pop()
        if model not in found:
            found.add(model)
            todo += (inner for info in model.model_fields.values() for inner in _models_in(info.annotation))
    return found


def defaults() -> dict[str, dict[str, Any]]:
    """``context.Class`` → field → default, of every message and every model that can be in one."""
    found = {
        qualified(model): {
            name: to_jsonable_python(info.get_default(call_default_factory=True, validated_data={}))
            for name, info in model.model_fields.items()
            if not info.is_required()
        }
        for model in every_model()
    }
    return dict(sorted(found.items()))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def recorded_defaults(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The defaults as they were when each field was first shipped."""
    path = folder / DEFAULTS
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write_defaults(folder: Path = FOLDER) -> None:
    """Add the defaults of new fields to those that are recorded."""
    recorded = recorded_defaults(folder)
    merged = {model: {**fields, **recorded.get(model, {})} for model, fields in {**recorded, **defaults()}.items()}
    (folder / DEFAULTS).write_text(json.dumps(dict(sorted(merged.items())), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for written in write_missing():
        print(f"recorded {written}")
    write_defaults()
