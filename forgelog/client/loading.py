"""A version's files as a model, by its format, its framework, or their names: `client.models.load`. The libraries are
imported only where one is needed; none of them is a dependency. Blocks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

_PICKLES = (".pkl", ".pickle", ".joblib")
_DESCRIPTION = "MLmodel"
"""The file by which MLflow knows its models."""


@dataclass(frozen=True)
class Files:
    """A version's files in a folder, which may have others too."""

    folder: Path
    paths: Sequence[str]
    """As seen from the folder."""

    def ending(self, *endings: str) -> list[Path]:
        return [self.folder / path for path in sorted(self.paths) if path.endswith(endings)]

    def only(self, *endings: str) -> Path:
        """The one file with such an ending. Raises `InvalidInput`."""
        found = self.ending(*endings)
        if len(found) != 1:
            raise InvalidInput(
                f"the version has {len(found)} files that end in {' or '.join(endings)}, and one is loaded; download "
                "it and choose"
            )
        return found[0]


Loader = Callable[[Files], Any]


def load_files(files: Files, model_format: str | None, framework: str | None, trust_pickle: bool = False) -> Any:
    """What the files are.

    The format says how they are read, where that is ``other`` the framework does, and where that says nothing the names
    of the files. To read a pickle runs what its author wrote, so it is only read with `trust_pickle`; so is all else
    that may run code. Raises `InvalidInput` for what is not installed, and for files that are none of what is said.
    """
    with _explained():
        if model_format == "safetensors":
            return _safetensors(files, framework)
        if model_format == "pickle":
            return _pickle(files, framework, trust_pickle)
        if (load := _BY_FORMAT.get(model_format or "") or _BY_FRAMEWORK.get(framework or "")) is not None:
            return load(files)
        return _by_names(files, trust_pickle)


def _untrusted(problem: str) -> InvalidInput:
    return InvalidInput(f"{problem}; load it with trust_pickle=True if you trust who made it")


@contextmanager
def _explained() -> Iterator[None]:
    """What a library says of files that it can't read, and of what it lacks itself, as an error for people."""
    try:
        yield
    except InvalidInput:
        raise
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"the module {error.name} is needed to load it, and is not installed: install what the model was made with"
        ) from error
    except Exception as error:
        raise InvalidInput(
            f"the version's files can't be loaded as what it says they are: {type(error).__name__}: {error}"
        ) from error


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise InvalidInput(f"{package} is needed to load it, and is not installed; pip install {package}") from None


def _safetensors(files: Files, framework: str | None = None) -> Any:
    """Name → tensor, in the framework's own kind; numpy's for ``custom`` and where none is said."""
    kinds = {"pytorch": "torch", "huggingface": "torch", "tensorflow": "tensorflow", "jax": "flax"}
    library = _library(f"safetensors.{kinds.get(framework or '', 'numpy')}")
    return library.load_file(str(files.only(".safetensors")))


def _saved_model(files: Files) -> Any:
    root = files.only("saved_model.pb", "saved_model.pbtxt").parent
    return _library("tensorflow").saved_model.load(str(root))


def _onnx(files: Files) -> Any:
    return _library("onnxruntime").InferenceSession(str(files.only(".onnx")))


def _torchscript(files: Files) -> Any:
    return _library("torch").jit.load(str(files.only(".pt", ".pth", ".ts", ".torchscript")))


def _pickle(files: Files, framework: str | None, trust: bool) -> Any:
    if not trust:
        raise _untrusted("the version is a pickle: to load it runs what its author wrote")
    if framework == "pytorch":
        path = files.only(".pt", ".pth", ".bin", ".ckpt", *_PICKLES)
        return _library("torch").load(str(path), weights_only=False)
    path = files.only(*_PICKLES)
    if path.suffix == ".joblib":
        return _library("joblib").load(str(path))
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)


def _pytorch(files: Files) -> Any:
    """Tensors alone: what would run code is refused by PyTorch."""
    return _library("torch").load(str(files.only(".pt", ".pth", ".bin", ".ckpt")), weights_only=True)


def _tensorflow(files: Files) -> Any:
    return _library("keras").models.load_model(str(files.only(".keras", ".h5")))


def _huggingface(files: Files) -> Any:
    root = files.only("config.json").parent
    return _library("transformers").AutoModel.from_pretrained(str(root))


def _arrays(files: Files) -> Any:
    """Name → array of an ``.npz``, which holds no pickles."""
    import numpy as np

    with np.load(files.only(".npz"), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _skops(files: Files, trust: bool) -> Any:
    """An estimator of scikit-learn, whose types skops knows or somebody trusts."""
    library, path = _library("skops.io"), files.only(".skops")
    unknown = library.get_untrusted_types(file=path)
    if unknown and not trust:
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise _untrusted(f"{path.name} has types that skops does not know ({some}), whose code would run")
    return library.load(path, trusted=unknown)


def _mlflow(files: Files, trust: bool) -> Any:
    """A model that MLflow kept, in the kind of its flavor: what `mlflow.xgboost.load_model` gives, for example."""
    if not trust:
        raise _untrusted("the version is read by MLflow, which may run what its author wrote")
    import yaml

    path = min(files.ending(_DESCRIPTION), key=lambda each: len(each.parts))
    flavors = (yaml.safe_load(path.read_text()) or {}).get("flavors", {})
    flavor = next((name for name in flavors if name != "python_function" and name.isidentifier()), "pyfunc")
    return _library(f"mlflow.{flavor}").load_model(str(path.parent))


def _by_names(files: Files, trust: bool) -> Any:
    """What the files' names say: one of `_BY_NAME`, or that MLflow kept them."""
    known = [load for endings, load in _BY_NAME.items() if files.ending(*endings)]
    if len(known) == 1:
        return known[0](files, trust)
    if not known and any(path.rpartition("/")[2] == _DESCRIPTION for path in files.paths):
        return _mlflow(files, trust)
    which = "several ways" if known else "no way"
    raise InvalidInput(
        f"the version names neither a format nor a framework that says how it is loaded, and its files' names tell "
        f"{which}; publish it with model_format or framework, or download it"
    )


_BY_FORMAT: Mapping[str, Loader] = {"onnx": _onnx, "torchscript": _torchscript, "saved_model": _saved_model}

_BY_FRAMEWORK: Mapping[str, Loader] = {
    "pytorch": _pytorch,
    "tensorflow": _tensorflow,
    "jax": _arrays,
    "huggingface": _huggingface,
}

_BY_NAME: Mapping[tuple[str, ...], Callable[[Files, bool], Any]] = {
    (".npz",): lambda files, _: _arrays(files),
    (".onnx",): lambda files, _: _onnx(files),
    (".safetensors",): lambda files, _: _safetensors(files),
    (".skops",): _skops,
    _PICKLES: lambda files, trust: _pickle(files, None, trust),
}
