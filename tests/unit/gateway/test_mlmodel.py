"""What a model's files tell of it: by their names, and by the file ``MLmodel`` as MLflow 3.17.2 writes it."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.experiments import ModelFramework as F
from events.language.experiments.registry import ModelFormat, ModelVersionSpec
from services.gateway.mlflow.mlmodel import format_of, told_by

OF_SKLEARN = b"""
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl}
  sklearn: {pickled_model: model.pkl, serialization_format: pickle}
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: '[{"name": "t", "default": 1.5, "shape": null, "type": "double"}]'
"""


def column(name: str, type: str, required: bool = True, shape: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"name": name, "type": type, "shape": list(shape), "required": required}


def test_a_description_tells_framework_and_signature() -> None:
    told = told_by(OF_SKLEARN)
    assert told == {
        "framework": F.CUSTOM,
        "signature": {
            "inputs": [column("a", "double"), column("b", "long", required=False)],
            "outputs": [column("", "int64", shape=(-1,))],
            "params": [column("t", "double", required=False)],
        },
    }
    assert ModelVersionSpec.model_validate({"bundle": {"digest": "7" * 64, "size": 1}, **told})


@pytest.mark.parametrize(
    ("flavors", "framework"),
    [
        ("{pytorch: {}, transformers: {}, python_function: {}}", F.HUGGINGFACE),
        ("{pytorch: {}, python_function: {}}", F.PYTORCH),
        ("{keras: {}}", F.TENSORFLOW),
        ("{xgboost: {}}", F.CUSTOM),
        ("{onnx: {}, python_function: {}}", None),
    ],
)
def test_frameworks_by_their_flavors(flavors: str, framework: F | None) -> None:
    assert told_by(f"flavors: {flavors}".encode()).get("framework") is framework


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "flavors: [sklearn",
        "\x00",
        "!!python/object/apply:os.system ['true']",
        "signature: {inputs: 'no json'}",
        "signature: {inputs: '[3]'}",
        "signature: {inputs: 3}",
        "signature: {inputs: [a], outputs: {a: b}}",
        'signature: {inputs: \'[{"name": "a"}]\'}',
        "signature: {{inputs: '[{}]'}}".format(", ".join(['{"type": "long"}'] * 1_001)),
        "[" * 5_000,
    ],
)
def test_what_cannot_be_read_tells_nothing(text: str) -> None:
    assert told_by(text.encode()) == {}


@pytest.mark.parametrize(
    ("paths", "format"),
    [
        (["MLmodel", "model.onnx"], ModelFormat.ONNX),
        (["model/weights.safetensors", "training_args.pkl"], ModelFormat.SAFETENSORS),
        (["data/model/saved_model.pb"], ModelFormat.SAVED_MODEL),
        (["data/model.pth"], ModelFormat.PICKLE),
        (["model.skops"], ModelFormat.OTHER),
    ],
)
def test_formats_by_the_names_of_files(paths: list[str], format: ModelFormat) -> None:
    assert format_of(paths) is format
