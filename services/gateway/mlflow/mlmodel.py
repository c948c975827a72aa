"""What the files of a model tell of it, as MLflow writes them: its framework, its format, its signature. Pure.

Nothing of it is needed to publish a version. So what can't be read is left out, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from events.language.experiments import ModelFramework
from events.language.experiments.registry import ModelFormat, ModelSignature

NAME = "MLmodel"
"""The file in a model's folder that describes it."""

MAX_BYTES = 256 << 10
"""Of such a file that is read."""
MOST_EVENTS = 2_000
"""Keys, values, beginnings and ends in it; MLflow writes about a hundred."""
MOST_DEPTH = 20

_FRAMEWORKS: Mapping[str, ModelFramework] = {
    "transformers": ModelFramework.HUGGINGFACE,
    "sentence_transformers": ModelFramework.HUGGINGFACE,
    "diffusers": ModelFramework.HUGGINGFACE,
    "pytorch": ModelFramework.PYTORCH,
    "tensorflow": ModelFramework.TENSORFLOW,
    "keras": ModelFramework.TENSORFLOW,
}
"""By flavor. Who has one of the first is not told by the others: a model of transformers is one of PyTorch too."""

_NO_FRAMEWORKS = frozenset({"python_function", "onnx"})
"""Flavors that say how a model is loaded, not what it was made with."""

_ENDINGS: Mapping[str, ModelFormat] = {
    ".onnx": ModelFormat.ONNX,
    ".safetensors": ModelFormat.SAFETENSORS,
    "saved_model.pb": ModelFormat.SAVED_MODEL,
    ".pkl": ModelFormat.PICKLE,
    ".pickle": ModelFormat.PICKLE,
    ".joblib": ModelFormat.PICKLE,
    ".pth": ModelFormat.PICKLE,
}
"""How the name of a file ends in a version of a format. The first that some file has counts."""


def format_of(paths: Collection[str]) -> ModelFormat:
    """The format of a model with these files."""
    found = (format for ending, format in _ENDINGS.items() if any(path.endswith(ending) for path in paths))
    return next(found, ModelFormat.OTHER)


def told_by(data: bytes) -> dict[str, Any]:
    """What an ``MLmodel`` tells: fields of a `ModelVersionSpec`."""
    flavors: set[str] = set()
    signature: dict[str, str] = {}
    try:
        for path, value in _entries(data):
            if len(path) == 2 and path[0] == "flavors":
                flavors.add(path[1])
            elif len(path) == 2 and path[0] == "signature" and value is not None:
                signature[path[1]] = value
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    if (framework := _framework(flavors)) is not None:
        found["framework"] = framework
    if signature and (read := _signature(signature)) is not None:
        found["signature"] = read.model_dump(mode="json")
    return found


def _entries(data: bytes) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """The entries of a mapping of mappings: their keys from the outermost on, and the value, where that is a scalar.

    Read event by event: what is too deep or too long costs no more than what is read of it. Raises ValueError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml import events as yaml
    from ruamel.yaml.error import YAMLError

    keys: list[str | None] = []
    """Of each mapping and list around, the key whose value comes; None in a list, and before a key."""
    lists: list[bool] = []
    try:
        for number, event in enumerate(YAML(typ="safe", pure=True).parse(data)):
            if number > MOST_EVENTS or len(keys) > MOST_DEPTH or isinstance(event, yaml.AliasEvent):
                raise ValueError("it is no description that MLflow wrote")
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                keys.append(None)
                lists.append(isinstance(event, yaml.SequenceStartEvent))
                continue
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                keys.pop()
                lists.pop()
            elif not isinstance(event, yaml.ScalarEvent):
                continue
            elif keys and not lists[-1] and keys[-1] is None:
                keys[-1] = event.value
                if not any(lists):
                    yield _path(keys), None
                continue
            elif keys and not any(lists):
                yield _path(keys), event.value
            if keys:
                keys[-1] = None  # that was a value
    except YAMLError as error:
        raise ValueError(str(error)) from None


def _path(keys: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(key for key in keys if key is not None)


def _framework(flavors: Collection[Any]) -> ModelFramework | None:
    for flavor, framework in _FRAMEWORKS.items():
        if flavor in flavors:
            return framework
    return ModelFramework.CUSTOM if set(flavors) - _NO_FRAMEWORKS else None


def _signature(said: Mapping[str, str]) -> ModelSignature | None:
    try:
        return ModelSignature.model_validate(
            {name: list(_specs(said.get(name, "null"))) for name in ModelSignature.model_fields}
        )
    except (ValueError, ValidationError):  # it is no JSON, or has more than is kept
        return None


def _specs(text: str) -> Iterator[dict[str, Any]]:
    """The columns, tensors or parameters of one part of a signature. Raises ValueError."""
    listed = orjson.loads(text) or []
    if not isinstance(listed, list):
        raise ValueError("the part of a signature is a list")
    for each in listed:
        if not isinstance(each, dict):
            raise ValueError("a column is an object")
        tensor = each.get("tensor-spec")
        about: Mapping[str, Any] = tensor if isinstance(tensor, dict) else {}
        yield {
            "name": each.get("name") or "",
            "type": about.get("dtype") or each.get("type"),
            "shape": about.get("shape") or each.get("shape") or (),
            "required": each.get("required", "default" not in each),
        }
