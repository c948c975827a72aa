"""Which runtime serves a version when none is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import NotServable
from forgelog.serve.runtimes.base import ModelFiles
from forgelog.serve.runtimes.choosing import chosen


def runtime(folder: Path, names: list[str], *, file: str = "", format: str = "other", **settings: Any) -> str:
    """The runtime of a version with files of these names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    model = {"name": "m", "version": 1, "bundle": {"digest": "0" * 64, "size": 0}, "format": format}
    served = ServedModel.model_validate(model)
    return chosen(ModelFiles(folder, file), RuntimeSettings.model_validate(settings), served)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.onnx"], "onnx"),
        (["model.skops"], "sklearn"),
        (["model.joblib"], "sklearn"),
        (["model/MLmodel", "model/conda.yaml", "model/model.pkl"], "sklearn"),
        (["model/MLmodel", "model/conda.yaml", "model/model.onnx"], "onnx"),
        (["MLmodel", "python_model.pkl"], "mlflow"),
        (["MLmodel", "data/model.pth", "data/pickle_module_info.txt"], "mlflow"),
        (["MLmodel", "model.xgb"], "mlflow"),
        (["python_model.pkl"], "sklearn"),
        (["model.pt"], "torchscript"),
        (["model.skops", "small/model.onnx"], "onnx"),
    ],
)
def test_the_files_say_it(tmp_path: Path, names: list[str], found: str) -> None:
    assert runtime(tmp_path, names) == found


def test_the_format_says_it_where_files_could_mean_several(tmp_path: Path) -> None:
    assert runtime(tmp_path, ["model.onnx", "model.pt"], format="torchscript") == "torchscript"


@pytest.mark.parametrize(("file", "found"), [("a.skops", "sklearn"), ("b.onnx", "onnx"), ("weights", "onnx")])
def test_a_file_that_is_named_says_it(tmp_path: Path, file: str, found: str) -> None:
    assert runtime(tmp_path, ["a.skops", "b.onnx", "weights"], file=file) == found


def test_a_runtime_that_is_named_is_taken(tmp_path: Path) -> None:
    assert runtime(tmp_path, ["model.onnx"], format="onnx", name="of-another-package") == "of-another-package"
    assert runtime(tmp_path, ["model.onnx"], format="onnx", class_name="model:Model") == "python"
    assert runtime(tmp_path, ["model.onnx", "model.skops"], format="other", name="sklearn") == "sklearn"
    assert runtime(tmp_path, ["model.skops", "model.onnx"], format="torchscript", name="onnx") == "onnx"
    assert runtime(tmp_path, ["model.skops"], file="model.skops", name="onnx") == "onnx"


@pytest.mark.parametrize(
    ("names", "format"),
    [(["weights.npz"], "other"), (["model.pt"], "pickle"), (["model.keras"], "other"), ([], "other")],
)
def test_files_of_no_runtime_are_told_with_what_could_be_served(tmp_path: Path, names: list[str], format: str) -> None:
    with pytest.raises(NotServable) as error:
        runtime(tmp_path, names, format=format)
    said = f"which are {', '.join(names) or 'none'}. Files are known by their endings (onnx: .onnx; sklearn: .skops"
    assert said in str(error.value)
    assert "python with class_name, or command with backend" in str(error.value)
