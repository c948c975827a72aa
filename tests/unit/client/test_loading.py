"""Given a version's files, when they are loaded, then its format or framework says by which library, and pickles run
only where they are trusted."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forgelog.client import loading
from forgelog.client.loading import Files
from forgelog.errors import InvalidInput


def load_files(folder: Path, *said: Any, **more: Any) -> Any:
    """Of all files of a folder."""
    paths = tuple(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
    return loading.load_files(Files(folder, paths), *said, **more)


class Library(ModuleType):
    """Any library: each call answers its own name and what it was called with."""

    def __init__(self, name: str, calls: tuple[str, ...]) -> None:
        super().__init__(name)
        for path in calls:
            owner: Any = self
            *above, last = path.split(".")
            for part in above:
                if not hasattr(owner, part):
                    setattr(owner, part, SimpleNamespace())
                owner = getattr(owner, part)
            setattr(owner, last, lambda *given, path=path, **more: (f"{name}.{path}", *given, more))


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, calls in {
        "torch": ("load", "jit.load"),
        "keras": ("models.load_model",),
        "tensorflow": ("saved_model.load",),
        "onnxruntime": ("InferenceSession",),
        "transformers": ("AutoModel.from_pretrained",),
        "safetensors": (),
        "safetensors.torch": ("load_file",),
        "safetensors.flax": ("load_file",),
        "safetensors.numpy": ("load_file",),
    }.items():
        monkeypatch.setitem(sys.modules, name, Library(name, calls))


@pytest.mark.parametrize(
    ("file", "model_format", "framework", "call", "given"),
    [
        ("m.onnx", "onnx", "pytorch", "onnxruntime.InferenceSession", "m.onnx"),
        ("m.pt", "torchscript", "pytorch", "torch.jit.load", "m.pt"),
        ("m.safetensors", "safetensors", "huggingface", "safetensors.torch.load_file", "m.safetensors"),
        ("m.safetensors", "safetensors", "jax", "safetensors.flax.load_file", "m.safetensors"),
        ("m.safetensors", "safetensors", "", "safetensors.numpy.load_file", "m.safetensors"),
        ("deep/saved_model.pb", "saved_model", "tensorflow", "tensorflow.saved_model.load", "deep"),
        ("m.pth", "other", "pytorch", "torch.load", "m.pth"),
        ("m.keras", "other", "tensorflow", "keras.models.load_model", "m.keras"),
        ("deep/config.json", "other", "huggingface", "transformers.AutoModel.from_pretrained", "deep"),
    ],
)
def test_the_format_or_else_the_framework_says_how(
    tmp_path: Path, file: str, model_format: str, framework: str, call: str, given: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"weights")
    found = load_files(tmp_path, model_format, framework)
    assert found[:2] == (call, str(tmp_path / given))
    assert call != "torch.load" or found[2] == {"weights_only": True}


def test_others_files_in_the_folder_are_none_of_the_version(tmp_path: Path) -> None:
    for name in ("m.npz", "earlier.npz"):
        np.savez(tmp_path / name, w=np.arange(3))
    assert loading.load_files(Files(tmp_path, ["m.npz"]), "other", "jax")["w"].tolist() == [0, 1, 2]


def test_where_nothing_is_said_the_names_of_the_files_say_it(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"weights")
    assert load_files(tmp_path, None, None)[0] == "onnxruntime.InferenceSession"
    np.savez(tmp_path / "m.npz", w=np.arange(3))
    with pytest.raises(InvalidInput, match="names tell several ways; publish it with model_format or framework"):
        load_files(tmp_path, "other", "custom")


def test_what_mlflow_kept_is_read_by_it_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "mlflow.xgboost"):
        monkeypatch.setitem(sys.modules, name, Library(name, ("load_model",)))
    (tmp_path / "m").mkdir()
    (tmp_path / "m/MLmodel").write_text("flavors: {python_function: {}, xgboost: {data: model.ubj}}")
    (tmp_path / "m/model.ubj").write_bytes(b"weights")
    with pytest.raises(InvalidInput, match="read by MLflow, which may run what its author wrote; load it with trust"):
        load_files(tmp_path, "other", "custom")
    found = load_files(tmp_path, "other", "custom", trust_pickle=True)
    assert found[:2] == ("mlflow.xgboost.load_model", str(tmp_path / "m"))


def test_files_that_are_not_what_is_said_are_told(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="can't be loaded as what it says they are: ValueError"):
        load_files(tmp_path, "other", "jax")
    (tmp_path / "m.pkl").write_bytes(b"cnot_installed\nModel\n.")
    with pytest.raises(InvalidInput, match="the module not_installed is needed to load it"):
        load_files(tmp_path, "pickle", "custom", trust_pickle=True)


@pytest.mark.parametrize("framework", ["jax", "custom"])
def test_arrays_are_loaded_without_pickles(tmp_path: Path, framework: str) -> None:
    np.savez(tmp_path / "m.npz", w=np.arange(3))
    assert load_files(tmp_path, "other", framework)["w"].tolist() == [0, 1, 2]


def test_a_pickle_is_read_only_where_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InvalidInput, match="runs what its author wrote"):
        load_files(tmp_path, "pickle", "custom")
    assert load_files(tmp_path, "pickle", "custom", trust_pickle=True) == [1, 2]
    with pytest.raises(InvalidInput, match="runs what its author wrote"):
        load_files(tmp_path, "other", "")
    assert load_files(tmp_path, "other", "", trust_pickle=True) == [1, 2]


def test_what_can_not_be_loaded_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"names neither a format nor a framework .* names tell no way"):
        load_files(tmp_path, "other", "")
    with pytest.raises(InvalidInput, match=r"has 0 files that end in .onnx"):
        load_files(tmp_path, "onnx", "")
    (tmp_path / "m.onnx").write_bytes(b"x")
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InvalidInput, match="onnxruntime is needed to load it, and is not installed"):
        load_files(tmp_path, "onnx", "")
