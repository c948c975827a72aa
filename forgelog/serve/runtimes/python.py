"""A user's Python class.

    class Model:
        inputs = [{"name": "x", "type": "float32", "shape": [-1, 4]}]   # where the version has no signature
        outputs = [{"name": "y", "type": "float32", "shape": [-1]}]

        def load(self, path): ...                      # the folder of the version's files, a pathlib.Path
        def predict(self, inputs, parameters): ...     # dicts of numpy arrays by name; gives such a dict
        def stream(self, inputs, parameters): ...      # optional: a generator of such dicts
        def metrics(self): ...                         # optional: numbers by name, to scale by; beside predict

`forgelog.serve.weights` reads safetensors for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from events.language.deployments.serving import RuntimeSettings, ServedModel
from events.language.experiments.registry.models import TensorSpec
from events.language.wording import told
from forgelog.serve.problems import SIGN, Fault, NotServable, NotServableHere, ServingError
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows
from forgelog.serve.schema import TensorSchema, of_signature
from forgelog.serve.tensors import Array, of_objects


def load(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    module_name, _, class_name = settings.class_name.partition(":")
    if not class_name:
        raise NotServable("runtime python needs class_name: module and class of the version's files, as model:Model")
    sys.path.insert(0, str(files.folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise NotServableHere(f"{module_name} needs {error.name}, which is not installed here") from error
        raise NotServable(f"runtime.class_name: the version has no module {module_name}") from error
    made = getattr(module, class_name, None)
    if made is None:
        raise NotServable(f"runtime.class_name: module {module_name} has no {class_name}")
    model = made()
    if not callable(getattr(model, "predict", None)):
        raise NotServable(f"{class_name} has no method predict(inputs, parameters)")
    if hasattr(model, "load"):
        model.load(files.folder)
    return PythonModel(model, served)


class PythonModel:
    """Somebody's object with `predict`."""

    platform = "python"
    concurrency = 1

    def __init__(self, model: Any, served: ServedModel) -> None:
        """Raises `NotServable`."""
        self._model = model
        self.inputs = of_signature(served.signature.inputs or _declared(model, "inputs"))
        if not self.inputs:
            raise NotServable(
                f"{type(model).__name__} does not say what it takes; give it an attribute inputs, such as "
                "[{'name': 'x', 'type': 'float32', 'shape': [-1, 4]}], or "
                f"{SIGN}"
            )
        outputs = of_signature(served.signature.outputs or _declared(model, "outputs"), "output")
        self.outputs: tuple[TensorSchema, ...] | None = outputs or None
        self.mergeable = counts_rows(self.inputs) and (not outputs or counts_rows(outputs))
        self.streams = callable(getattr(model, "stream", None))
        metrics = getattr(model, "metrics", None)
        self.metrics: Callable[[], Any] | None = metrics if callable(metrics) else None

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        return as_tensors(self._model.predict(dict(inputs), dict(parameters)), "predict")

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        for part in self._model.stream(dict(inputs), dict(parameters)):
            yield as_tensors(part, "stream")

    def close(self) -> None:
        self._model = None


def as_tensors(given: Any, who: str) -> dict[str, Array]:
    """What somebody's function gave, as arrays by name. Raises `ServingError`."""
    if not isinstance(given, Mapping):
        raise ServingError(
            Fault.MODEL_FAILED, f"{who} gave {type(given).__name__}; it should give a dict of numpy arrays by name"
        )
    return {str(name): _array(value) for name, value in given.items()}


def _array(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # of ml_dtypes
        return array.astype(np.float32)
    return of_objects(array.reshape(-1).tolist(), array.shape) if array.dtype.kind in "US" else array


def _declared(model: Any, name: str) -> tuple[TensorSpec, ...]:
    try:
        return tuple(TensorSpec.model_validate(each) for each in getattr(model, name, ()))
    except (ValidationError, TypeError) as error:
        which = f"{type(model).__name__}.{name}"
        raise NotServable(f"{which} should be a list of name, type and shape: {told(error)}") from None
