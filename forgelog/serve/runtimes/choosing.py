"""Which runtime serves a version: the one that is named, else the one that its format or its files ask for."""

from __future__ import annotations

from collections.abc import Mapping

from events.language.deployments.serving import (
    RuntimeSettings,
    ServedModel,
    runtime_by_format,
)
from events.language.experiments.registry.models import ModelFormat
from forgelog.serve.problems import NotServable
from forgelog.serve.runtimes.base import ModelFiles

_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "sklearn": (".skops", ".joblib", ".pkl", ".pickle"),
    "torchscript": (".pt", ".pth", ".ts", ".torchscript"),
    "mlflow": ("MLmodel",),
}
"""Runtime → how the file of its models ends, in the order in which they are looked for."""

_OF_OTHER_FILES = "onnx"
"""What loads a file that is named and whose ending says nothing."""

_MLFLOWS_CLASS = "python_model.pkl"


def chosen(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> str:
    """The runtime's name. Raises `NotServable` for files of which no runtime is known.

    1. A runtime that is named; ``python`` for a class that is named.
    2. Of a file that is named: what its ending says; ``onnx`` if that says nothing.
    3. What the format says.
    4. What the files' endings say, those of ``onnx`` first.
    """
    if files.file:
        return runtime_by_format(settings, ModelFormat.OTHER) or _of_file(files.file) or _OF_OTHER_FILES
    return runtime_by_format(settings, served.format) or _of_files(files, served.format)


def _of_file(path: str) -> str:
    return next((runtime for runtime, endings in _ENDINGS.items() if path.endswith(endings)), "")


def _of_files(files: ModelFiles, format: ModelFormat) -> str:
    kept = bool(files.ending(*_ENDINGS["mlflow"]))
    for runtime, endings in _ENDINGS.items():
        found = files.ending(*endings)
        # What torch.save writes ends as TorchScript does, and is a pickle.
        if runtime == "torchscript" and (kept or format is ModelFormat.PICKLE):
            continue
        # A class of MLflow's own kind, which has another predict.
        if kept and runtime == "sklearn" and all(path.name == _MLFLOWS_CLASS for path in found):
            continue
        if found:
            return runtime
    known = "; ".join(f"{runtime}: {', '.join(endings)}" for runtime, endings in _ENDINGS.items())
    raise NotServable(
        f"no runtime is known for the version's files, which are {files.listed()}. Files are known by their endings "
        f"({known}). Name a runtime by serving.runtime: python with class_name, or command with backend; or name the "
        "file by serving.file"
    )
