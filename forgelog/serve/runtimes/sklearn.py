"""Models of scikit-learn: files of skops, which make only types that somebody trusts; pickles only if they are trusted.

Without a signature a model takes ``input``, rows of its features, and gives ``label`` and ``probabilities``, or
``prediction``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import SIGN, NotServable, invalid, missing
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows, disagreeing
from forgelog.serve.schema import TensorSchema, of_signature
from forgelog.serve.tensors import Array

_PICKLES = (".pkl", ".pickle", ".joblib")


def load(files: ModelFiles, _settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    path = files.only(".skops") if files.file or files.ending(".skops") else files.only(*_PICKLES)
    model = _unpickled(path, served) if path.name.endswith(_PICKLES) else _from_skops(path, served)
    return SklearnModel(model, served)


def untrusted(path: Path) -> list[str]:
    """The types of a skops file that nobody is trusted to make by default. Raises `NotServable`."""
    try:
        from skops import io
    except ModuleNotFoundError:
        raise missing("skops", "sklearn", "a model in skops' format") from None
    return sorted(io.get_untrusted_types(file=str(path)))


def _from_skops(path: Path, served: ServedModel) -> Any:
    if unknown := sorted(set(untrusted(path)) - set(served.trusted_types)):
        raise NotServable(
            f"{path.name} has types that nobody has trusted yet: {', '.join(unknown[:20])}; look at them, and name "
            "those that may be made: forgelog deploy --trusted-type TYPE, or serving.trusted_types of a manifest"
        )
    from skops import io

    return io.load(str(path), trusted=list(served.trusted_types))


def _unpickled(path: Path, served: ServedModel) -> Any:
    if not served.trust_pickle:
        raise NotServable(
            f"{path.name} is a pickle: to load it runs what its author wrote. Save the model by skops or as ONNX, or "
            "set model.trust_pickle if you trust its author"
        )
    if path.suffix == ".joblib":
        try:
            import joblib
        except ModuleNotFoundError:
            raise missing("joblib", "sklearn", "a file of joblib") from None
        return joblib.load(str(path))
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)


class SklearnModel:
    """An estimator with `predict`, and `predict_proba` if it has that."""

    platform = "sklearn"
    streams = False
    concurrency = 1

    def __init__(self, model: Any, served: ServedModel) -> None:
        """Raises `NotServable`."""
        if not hasattr(model, "predict"):
            raise NotServable(f"the file holds a {type(model).__name__}, which has no predict; save an estimator")
        self._model = model
        self.inputs = of_signature(served.signature.inputs) or _inputs(model)
        known = of_signature(served.signature.outputs, "output")
        self.outputs: tuple[TensorSchema, ...] | None = known or None
        self.mergeable = counts_rows(self.inputs)
        self._columns = all(len(each.shape) == 1 for each in self.inputs)
        self._frame = _pandas() if hasattr(model, "feature_names_in_") else None
        probabilities = hasattr(model, "predict_proba") and (not known or len(known) > 1)
        own = ["label", "probabilities"] if hasattr(model, "classes_") else ["prediction"]
        self._names = [each.name for each in known] or own
        self._probabilities = probabilities and len(self._names) > 1

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        rows = self._rows(inputs)
        answers = [np.asarray(self._model.predict(rows))]
        if self._probabilities:
            answers.append(np.asarray(self._model.predict_proba(rows)))
        return dict(zip(self._names, answers, strict=False))

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        yield self.predict(inputs, parameters)

    def close(self) -> None:
        self._model = None

    def _rows(self, inputs: Mapping[str, Array]) -> Any:
        """The rows as the model was fitted with them: a table where it knows its columns' names."""
        if not self._columns:
            array = next(iter(inputs.values()))
            if self._frame is None:
                return array
            return self._frame.DataFrame(array, columns=list(self._model.feature_names_in_))
        if problem := disagreeing(inputs, {each.name: ("rows",) for each in self.inputs}):
            raise invalid(problem)
        columns = {each.name: _texts(inputs[each.name]) for each in self.inputs if each.name in inputs}
        return np.column_stack(list(columns.values())) if self._frame is None else self._frame.DataFrame(columns)


def _inputs(model: Any) -> tuple[TensorSchema, ...]:
    count = getattr(model, "n_features_in_", None)
    if count is None:
        raise NotServable(f"{type(model).__name__} does not say how many features it takes; {SIGN}")
    return (TensorSchema("input", "FP64", (-1, int(count))),)


def _texts(array: Array) -> Array:
    return np.array([each.decode() for each in array.tolist()]) if array.dtype == object else array


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        return None
    return pandas
