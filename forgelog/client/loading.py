"""A version's files as a model, by its format and its framework: `client.models.load`. The libraries are imported only
where one is needed; none of them is a dependency. Blocks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from forgelog.errors import InvalidInput

_PICKLES = (".pkl", ".pickle", ".joblib")

Loader = Callable[[Path], Any]


def load_files(folder: Path, model_format: str | None, framework: str | None, trust_pickle: bool = False) -> Any:
    """What the files of a folder are.

    The format says how they are read, and where that is ``other`` the framework does. To read a pickle runs what its
    author wrote, so it is only read with `trust_pickle`. Raises `InvalidInput` for what is not installed, and for files
    that are none of what is said.
    """
    if model_format == "pickle" and not trust_pickle:
        raise InvalidInput(
            "the version is a pickle: to load it runs what its author wrote; load it with trust_pickle=True if you "
            "trust them"
        )
    if model_format == "safetensors":
        return _safetensors(folder, framework)
    if model_format == "pickle":
        return _pickle(folder, framework)
    if (load := _BY_FORMAT.get(model_format or "") or _BY_FRAMEWORK.get(framework or "")) is not None:
        return load(folder)
    raise InvalidInput(
        "the version names neither a format nor a framework; publish it with model_format or framework, or download it"
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise InvalidInput(f"{package} is needed to load it, and is not installed; pip install {package}") from None


def _only(folder: Path, *endings: str) -> Path:
    """The one file with such an ending. Raises `InvalidInput`."""
    found = sorted(each for each in folder.rglob("*") if each.is_file() and each.name.endswith(endings))
    if len(found) != 1:
        raise InvalidInput(
            f"the version has {len(found)} files that end in {' or '.join(endings)}, and one is loaded; download it "
            "and choose"
        )
    return found[0]


def _safetensors(folder: Path, framework: str | None) -> Any:
    """Name → tensor, in the framework's own kind; numpy's for ``custom`` and where none is said."""
    kinds = {"pytorch": "torch", "huggingface": "torch", "tensorflow": "tensorflow", "jax": "flax"}
    library = _library(f"safetensors.{kinds.get(framework or '', 'numpy')}")
    return library.load_file(str(_only(folder, ".safetensors")))


def _saved_model(folder: Path) -> Any:
    root = _only(folder, "saved_model.pb", "saved_model.pbtxt").parent
    return _library("tensorflow").saved_model.load(str(root))


def _onnx(folder: Path) -> Any:
    return _library("onnxruntime").InferenceSession(str(_only(folder, ".onnx")))


def _torchscript(folder: Path) -> Any:
    return _library("torch").jit.load(str(_only(folder, ".pt", ".pth", ".ts", ".torchscript")))


def _pickle(folder: Path, framework: str | None) -> Any:
    if framework == "pytorch":
        path = _only(folder, ".pt", ".pth", ".bin", ".ckpt", *_PICKLES)
        return _library("torch").load(str(path), weights_only=False)
    path = _only(folder, *_PICKLES)
    if path.suffix == ".joblib":
        return _library("joblib").load(str(path))
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)


def _pytorch(folder: Path) -> Any:
    """Tensors alone: what would run code is refused by PyTorch."""
    return _library("torch").load(str(_only(folder, ".pt", ".pth", ".bin", ".ckpt")), weights_only=True)


def _tensorflow(folder: Path) -> Any:
    return _library("keras").models.load_model(str(_only(folder, ".keras", ".h5")))


def _huggingface(folder: Path) -> Any:
    root = _only(folder, "config.json").parent
    return _library("transformers").AutoModel.from_pretrained(str(root))


def _arrays(folder: Path) -> Any:
    """Name → array of an ``.npz``, which holds no pickles."""
    import numpy as np

    with np.load(_only(folder, ".npz"), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


_BY_FORMAT: Mapping[str, Loader] = {"onnx": _onnx, "torchscript": _torchscript, "saved_model": _saved_model}

_BY_FRAMEWORK: Mapping[str, Loader] = {
    "pytorch": _pytorch,
    "tensorflow": _tensorflow,
    "jax": _arrays,
    "huggingface": _huggingface,
    "custom": _arrays,
}
