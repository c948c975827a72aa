"""Models of any flavor as MLflow keeps them: a folder with ``MLmodel``, read by ``mlflow.pyfunc``.

MLflow reads pickles and runs the model's own code, so that needs somebody's trust. Inputs and outputs are those of the
version's signature, else of ``MLmodel``'s. Columns are given to the model as a table of pandas; one tensor without a
name is called ``input``, what has no name in an answer ``prediction``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from events.language.deployments.serving import RuntimeSettings, ServedModel
from events.language.experiments.registry.models import TensorSpec
from forgelog.serve.problems import SIGN, Fault, NotServable, NotServableHere, ServingError, invalid
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows, disagreeing
from forgelog.serve.runtimes.python import as_tensors
from forgelog.serve.schema import TensorSchema, of_signature
from forgelog.serve.tensors import Array

DESCRIPTION = "MLmodel"
"""The file by which MLflow knows its models."""


def load(files: ModelFiles, _settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    root = _root(files)
    if not served.trust_pickle:
        raise NotServable(
            f"{DESCRIPTION} is read by MLflow, which runs what the model's author wrote. Save the model as ONNX or by "
            "skops, or set serving.trust_pickle (forgelog deploy --trust-pickle) if you trust its author"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before it is imported
    try:
        from mlflow import pyfunc
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    try:
        model = pyfunc.load_model(str(root))
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return MlflowModel(model, served)


def _root(files: ModelFiles) -> Path:
    """The folder of the outermost `DESCRIPTION`, or of the one that is named. Raises `NotServable`."""
    found = [files.only(DESCRIPTION)] if files.file else files.ending(DESCRIPTION)
    if not found:
        raise NotServable(f"the version has no file {DESCRIPTION}, as MLflow's models have; it has {files.listed()}")
    return min(found, key=lambda each: len(each.parts)).parent


def _missing(error: ModuleNotFoundError) -> NotServable:
    return NotServableHere(f"a model that MLflow keeps needs the module {error.name}, which is not installed here")


class MlflowModel:
    """A model by MLflow's interface for all flavors."""

    platform = "mlflow"
    streams = False
    concurrency = 1

    def __init__(self, model: Any, served: ServedModel) -> None:
        """Raises `NotServable`."""
        self._model = model
        said = model.metadata.signature
        inputs = served.signature.inputs or _specs(said and said.inputs)
        if not inputs:
            raise NotServable(
                f"{DESCRIPTION} has no signature, and requests are checked by one; log the model with "
                f"signature=mlflow.models.infer_signature(inputs, outputs), or {SIGN}"
            )
        self.inputs = _named(inputs, "input")
        outputs = served.signature.outputs or _specs(said and said.outputs)
        self.outputs: tuple[TensorSchema, ...] | None = _named(outputs, "prediction") or None
        self.mergeable = counts_rows(self.inputs) and (self.outputs is None or counts_rows(self.outputs))
        self._table = any(not each.shape for each in inputs)
        self._one = len(inputs) == 1 and not inputs[0].name
        self._params = {each.name for each in said.params} if said is not None and said.params else set()

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        params = {name: value for name, value in parameters.items() if name in self._params}
        return self._tensors(self._model.predict(self._given(inputs), **({"params": params} if params else {})))

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        yield self.predict(inputs, parameters)

    def close(self) -> None:
        self._model = None

    def _given(self, inputs: Mapping[str, Array]) -> Any:
        texts = {name: _decoded(array) for name, array in inputs.items()}
        if self._one and not self._table:
            return texts[self.inputs[0].name]
        if not self._table:
            return texts
        if problem := disagreeing(texts, {each.name: ("rows",) for each in self.inputs}):
            raise invalid(problem)
        import pandas

        table = pandas.DataFrame(texts)
        return table.rename(columns={self.inputs[0].name: 0}) if self._one else table

    def _tensors(self, answer: Any) -> dict[str, Array]:
        """What a model gave: a table, a column, an array, a list, or any of these by name. Raises `ServingError`."""
        if hasattr(answer, "columns") and hasattr(answer, "to_dict"):  # a table of pandas
            columns = [(str(name), answer[name].to_numpy()) for name in answer.columns]
            only = self.outputs[0].name if self.outputs and len(self.outputs) == len(columns) == 1 else ""
            return as_tensors({only or name: column for name, column in columns}, "predict")
        if isinstance(answer, Mapping):
            return as_tensors(answer, "predict")
        if answer is None or isinstance(answer, Iterator):
            raise ServingError(
                Fault.MODEL_FAILED, f"predict gave {type(answer).__name__}; it should give a table, an array or a list"
            )
        return as_tensors({self.outputs[0].name if self.outputs else "prediction": np.asarray(answer)}, "predict")


def _specs(schema: Any) -> tuple[TensorSpec, ...]:
    """The columns or tensors of one side of MLflow's signature. Raises `NotServable`."""
    found = []
    for each in schema or ():
        kind, shape = getattr(each.type, "name", str(each.type)), getattr(each, "shape", ())
        name = each.name if isinstance(each.name, str) else ""
        found.append(TensorSpec(name=name, type=kind, shape=shape, required=getattr(each, "required", True)))
    return tuple(found)


def _named(specs: Iterable[TensorSpec], unnamed: str) -> tuple[TensorSchema, ...]:
    found = of_signature(specs, unnamed)
    return tuple(replace(each, name=unnamed) for each in found) if len(found) == 1 and _nameless(specs) else found


def _nameless(specs: Iterable[TensorSpec]) -> bool:
    return not any(each.name for each in specs)


def _decoded(array: Array) -> Array:
    """Texts as pandas and people have them."""
    if array.dtype != object:
        return array
    texts = np.empty(array.shape, object)
    texts.reshape(-1)[:] = [each.decode("utf-8", "surrogateescape") for each in array.reshape(-1).tolist()]
    return texts
