"""Models of each runtime: what they take, what they give, and which files are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import Fault, NotServable, ServingError
from forgelog.serve.runtimes import load_model
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, threads
from forgelog.serve.runtimes.command import outputs_of
from tests.serving.processes import write_digits_model, write_model

FLOATS = {"type": "float32", "shape": [-1]}


def served(**changes: Any) -> ServedModel:
    return ServedModel.model_validate({"name": "m", "version": 1, "bundle": {"digest": "0" * 64, "size": 0}, **changes})


def load(folder: Path, runtime: str | None, model: ServedModel | None = None, **settings: Any) -> LoadedModel:
    described = RuntimeSettings.model_validate({"name": runtime, **settings})
    return load_model(ModelFiles(folder), described, model or served())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimization": "none", "threads": 1},
        {"optimization": "basic", "quantization": "int8"},
        {"optimization": "extended", "quantization": "int4"},
        {"quantization": "bf16", "device": "cpu"},
    ],
)
def test_onnx_under_each_setting(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_digits_model(tmp_path)
    model = load(tmp_path, "onnx", **settings)
    assert [(each.name, each.datatype, each.shape) for each in model.inputs] == [("x", "FP32", (-1, 64))]
    assert model.mergeable
    assert model.predict({"x": np.zeros((2, 64), np.float32)}, {})["scores"].shape == (2, 10)


@pytest.mark.parametrize(("said", "told", "count"), [(3, "2", 3), (0, "2", 2)])
def test_a_batch_is_computed_by_as_many_threads_as_the_task_has_cpus(
    said: int, told: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert threads(RuntimeSettings(threads=said)) == count


def test_onnx_takes_texts(tmp_path: Path) -> None:
    texts = ("x", TensorProto.STRING, ["n"])
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    write_model(tmp_path / "m.onnx", nodes, [texts], [("y", TensorProto.STRING, ["n"])])
    model = load(tmp_path, "onnx")
    assert model.predict({"x": np.array([b"a", "ß".encode()], dtype=object)}, {})["y"].tolist() == ["a", "ß"]


def test_onnx_of_a_fixed_shape_is_not_merged(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    fixed = TensorProto.FLOAT, [1, 2]
    write_model(tmp_path / "m.onnx", nodes, [("x", *fixed)], [("y", *fixed)])
    assert not load(tmp_path, "onnx").mergeable


def test_onnx_says_which_input_is_wrong_where_dimensions_of_one_name_differ(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["a", "b"], ["y"])]
    tensor = TensorProto.FLOAT, ["batch", "n"]
    write_model(tmp_path / "m.onnx", nodes, [("a", *tensor), ("b", *tensor)], [("y", *tensor)])
    model = load(tmp_path, "onnx")
    with pytest.raises(ServingError, match=r"input 'b': dimension 1 \(n\) is 3, and that of input 'a' is 2") as error:
        model.predict({"a": np.ones((1, 2), np.float32), "b": np.ones((1, 3), np.float32)}, {})
    assert error.value.fault is Fault.INVALID
    # what the session takes all the same is the author's business
    found = model.predict({"a": np.ones((1, 2), np.float32), "b": np.ones((4, 2), np.float32)}, {})
    assert found["y"].shape == (4, 2)


def fitted() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit([[0.0, 0], [1, 1], [0, 1], [1, 0]], ["no", "yes", "no", "yes"])


def test_sklearn_from_skops(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    skops.dump(fitted(), tmp_path / "model.skops")
    model = load(tmp_path, "sklearn")
    assert [(each.name, each.datatype, each.shape) for each in model.inputs] == [("input", "FP64", (-1, 2))]
    found = model.predict({"input": np.array([[1.0, 1], [0, 0]])}, {})
    assert found["label"].tolist() == ["yes", "no"]
    assert found["probabilities"].shape == (2, 2)


def test_sklearn_takes_columns_of_a_signature_and_gives_its_outputs(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    skops.dump(fitted(), tmp_path / "model.skops")
    columns = [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]
    signature = {"inputs": columns, "outputs": [{"name": "answer", "type": "string"}]}
    model = load(tmp_path, "sklearn", served(signature=signature))
    found = model.predict({"a": np.array([1.0, 0]), "b": np.array([1.0, 0])}, {})
    assert {name: value.tolist() for name, value in found.items()} == {"answer": ["yes", "no"]}
    with pytest.raises(ServingError, match=r"input 'b': dimension 0 .* is 1, and that of input 'a' is 2") as error:
        model.predict({"a": np.array([1.0, 0]), "b": np.array([1.0])}, {})
    assert error.value.fault is Fault.INVALID


def kept(folder: Path, answer: Any, inputs: Any, **more: Any) -> Path:
    """A class of MLflow's own kind that gives this answer, as MLflow keeps it."""
    pytest.importorskip("mlflow.pyfunc")
    from mlflow.models import infer_signature
    from mlflow.pyfunc import PythonModel, save_model

    class Kept(PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return answer(model_input, params or {})

    signature = None if inputs is None else infer_signature(inputs, answer(inputs, more.get("params", {})), **more)
    save_model(str(folder / "model"), python_model=Kept(), signature=signature)
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_table_to_what_mlflow_keeps(tmp_path: Path) -> None:
    import pandas

    def answer(table: Any, params: Any) -> Any:
        return pandas.DataFrame({"said": "hi " + table["city"], "twice": table["age"] * 2 + params.get("add", 0.0)})

    kept(tmp_path, answer, pandas.DataFrame({"city": ["Rome"], "age": [1.0]}), params={"add": 0.0})
    with pytest.raises(NotServable, match=r"runs what the model's author wrote.*set serving.trust_pickle"):
        load(tmp_path, None)
    model = load(tmp_path, None, served(trust_pickle=True))
    assert model.platform == "mlflow"
    assert [(each.name, each.datatype, each.shape) for each in model.inputs] == [
        ("city", "BYTES", (-1,)),
        ("age", "FP64", (-1,)),
    ]
    assert model.mergeable
    given = {"city": np.array([b"Oslo", b"Rome"], object), "age": np.array([1.0, 2])}
    found = model.predict(given, {"add": 1.0, "other": 2})
    assert {name: value.tolist() for name, value in found.items()} == {
        "said": ["hi Oslo", "hi Rome"],
        "twice": [3.0, 5.0],
    }
    with pytest.raises(ServingError, match=r"input 'age': dimension 0 .* is 1") as error:
        model.predict({**given, "age": np.array([1.0])}, {})
    assert error.value.fault is Fault.INVALID


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tensor_to_what_mlflow_keeps_and_answers_of_any_kind(tmp_path: Path) -> None:
    kept(tmp_path, lambda rows, _: rows.sum(axis=1), np.ones((2, 3)))
    model = load(tmp_path, "mlflow", served(trust_pickle=True))
    assert [(each.name, each.shape) for each in model.inputs] == [("input", (-1, 3))]
    assert model.predict({"input": np.ones((2, 3))}, {})["prediction"].tolist() == [3.0, 3.0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_mlflow_keeps_without_a_signature_is_not_served(tmp_path: Path) -> None:
    kept(tmp_path, lambda rows, _: rows, None)
    with pytest.raises(NotServable, match=r"no signature.*infer_signature.*forgelog models publish --signature FILE"):
        load(tmp_path, "mlflow", served(trust_pickle=True))


def test_a_folder_that_mlflow_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(NotServable, match=r"no file MLmodel, as MLflow's models have; it has model.bin"):
        load(tmp_path, "mlflow", served(trust_pickle=True))


def test_types_that_nobody_trusts_are_not_made(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.tree import DecisionTreeClassifier

    skops.dump(DecisionTreeClassifier().fit([[0.0], [1]], [0, 1]), tmp_path / "model.skops")
    with pytest.raises(NotServable, match=r"sklearn\.tree\._tree\.Tree.*forgelog deploy --trusted-type"):
        load(tmp_path, "sklearn")
    trusted = served(trusted_types=["sklearn.tree._tree.Tree"])
    assert load(tmp_path, "sklearn", trusted).predict({"input": np.array([[1.0]])}, {})["label"].tolist() == [1]


class Harmful:
    def __reduce__(self) -> Any:
        return pytest.fail, ("it was run",)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib"])
def test_a_pickle_is_not_read_unless_it_is_trusted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(NotServable, match=r"is a pickle: to load it runs what its author wrote.*model\.trust_pickle"):
        load(tmp_path, "sklearn")
    (tmp_path / name).write_bytes(pickle.dumps(fitted()))
    assert load(tmp_path, "sklearn", served(trust_pickle=True)).predict({"input": np.array([[1.0, 1]])}, {})


def test_torchscript(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = torch.jit.trace(torch.nn.Linear(2, 1), torch.zeros(1, 2))
    module.save(str(tmp_path / "model.pt"))
    tensors = {
        "inputs": [{"name": "x", **FLOATS, "shape": [-1, 2]}],
        "outputs": [{"name": "y", **FLOATS, "shape": [-1, 1]}],
    }
    for settings in ({}, {"quantization": "bf16"}, {"optimization": "none"}):
        model = load(tmp_path, "torchscript", served(signature=tensors), **settings)
        assert model.predict({"x": np.zeros((3, 2), np.float32)}, {})["y"].shape == (3, 1)


def test_torchscript_without_pytorch_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotServable, match=r"pip install 'forgelog\[torch\]'"):
        load(tmp_path, "torchscript")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "has no Model"),
        ("class Model: pass", r"has no method predict\(inputs, parameters\)"),
        ("class Model:\n def predict(self, i, p): return i", "does not say what it takes"),
        (
            "class Model:\n inputs = [{'name': 'x'}]\n def predict(self, i, p): return i",
            r"Model\.inputs should be a list",
        ),
        ("import nothing_at_all", "needs nothing_at_all, which is not installed"),
        ("1/0", "ZeroDivisionError"),
    ],
)
def test_a_class_that_can_not_be_served_says_why(
    tmp_path: Path, source: str, words: str, request: pytest.FixtureRequest
) -> None:
    module = f"model_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(source)
    with pytest.raises(NotServable, match=words):
        load(tmp_path, "python", class_name=f"{module}:Model")


def test_files_that_are_no_model_say_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(NotServable, match="runtime onnx can't load the model"):
        load(tmp_path, "onnx")
    (tmp_path / "other.onnx").write_text("")
    with pytest.raises(NotServable, match=r"2 files that end in .onnx.*It has model.onnx, other.onnx"):
        load(tmp_path, "onnx")


def answered(**changes: Any) -> bytes:
    return json.dumps(
        {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1, 2], **changes}]}
    ).encode()


def test_what_a_program_answers() -> None:
    assert outputs_of(200, answered())["y"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("status", "body", "fault", "said"),
    [
        (400, b'{"error": "too low"}', Fault.INVALID, "answered 400: too low"),
        (500, b"oops", Fault.MODEL_FAILED, "answered 500: no outputs as JSON"),
        (200, b"<html>", Fault.MODEL_FAILED, "answered 200: no outputs as JSON"),
        (200, answered(shape=[3]), Fault.MODEL_FAILED, "answered wrongly: output 'y'"),
        (200, answered(shape="2"), Fault.MODEL_FAILED, "answered wrongly: output 'y': shape should be a list"),
        (200, answered(datatype="float"), Fault.MODEL_FAILED, "answered wrongly: output 'y': datatype 'float' is none"),
        (200, answered(data=["a", 1]), Fault.MODEL_FAILED, "answered wrongly: output 'y': data has 'a'"),
        (200, answered(data=None), Fault.MODEL_FAILED, "answered wrongly: output 'y'"),
    ],
)
def test_a_program_that_answers_wrongly_is_at_fault_and_not_who_asked(
    status: int, body: bytes, fault: Fault, said: str
) -> None:
    with pytest.raises(ServingError) as error:
        outputs_of(status, body)
    assert error.value.fault is fault
    assert said in error.value.message
