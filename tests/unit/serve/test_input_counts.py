"""Values of requests are counted by column, by the bins of a training set, whatever shape they come in."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from events.language.deployments.drift import TrainedColumn, TrainingData
from events.language.deployments.serving import DriftMonitoring, EndpointMonitoring, ServingSpec, TensorRule
from forgelog.serve.callers import Callers
from forgelog.serve.drift_counts import DriftCounts
from forgelog.serve.input_counts import MOST_ROWS, InputCounts
from forgelog.serve.schema import TensorSchema

AGE = TrainedColumn(name="age", edges=(20.0, 40.0), counts=(1, 1, 1))
SIZE = TrainedColumn(name="size", edges=(0.5,), counts=(1, 1), missing=1)
KIND = TrainedColumn(name="kind", kinds=("cat", "dog"), counts=(2, 1, 0))
DATA = TrainingData(dataset="pets/1", columns=(AGE, SIZE, KIND))


def counts(*tensors: TensorSchema, features: tuple[str, ...] = (), rules: tuple[TensorRule, ...] = ()) -> InputCounts:
    return InputCounts(DATA, features, tensors, rules)


def told(subject: InputCounts) -> dict[int, list[int]]:
    return {each["column"]: each["counts"] for each in subject.told()}


def test_inputs_by_their_names() -> None:
    subject = counts(
        TensorSchema("age", "INT64", (-1,)),
        TensorSchema("kind", "BYTES", (-1, 1)),
        TensorSchema("other", "FP32", (-1,)),
    )
    assert subject
    assert subject.uncounted == ["size"]
    kinds = np.array([[b"cat"], [b"bird"], [b""]], dtype=object)
    inputs: dict[str, Any] = {"age": np.array([20, 21, 90]), "kind": kinds, "other": np.zeros(3)}
    subject.add(inputs, 3)
    inputs["age"][:] = 0  # a script may change what it was given
    subject.add({"age": np.array([40])}, 1)
    assert told(subject) == {0: [1, 2, 1], 2: [1, 0, 1, 2]}
    assert told(subject) == {0: [1, 2, 1], 2: [1, 0, 1, 2]}, "what is told is all since the start"


def test_a_row_of_all_columns_in_the_order_that_is_named() -> None:
    subject = counts(TensorSchema("x", "FP32", (-1, 3)), features=("size", "unknown", "age"))
    subject.add({"x": np.array([[0.4, 9, 30], [0.6, 9, 50]], dtype=np.float32)}, 2)
    assert told(subject) == {0: [0, 1, 1], 1: [1, 1]}
    assert subject.uncounted == ["kind"]
    assert not counts(TensorSchema("x", "FP32", (-1, 3))), "without names nothing is guessed"
    assert not counts(TensorSchema("x", "FP32", (-1, -1)), features=("size", "unknown", "age"))


def test_missing_numbers_count_where_the_model_takes_them() -> None:
    tensor = TensorSchema("size", "FP64", (-1, 1))
    subject = counts(tensor, rules=(TensorRule(name="size", allow_nan=True),))
    subject.add({"size": np.array([[np.nan], [0.1], [np.inf]])}, 3)
    assert told(subject) == {1: [1, 1, 1]}
    optional = counts(TensorSchema("size", "FP64", (-1,), required=False), TensorSchema("age", "FP64", (-1,)))
    optional.add({"age": np.array([1.0, 2.0])}, 2)
    assert told(optional) == {0: [2, 0, 0], 1: [0, 0, 2]}


def test_of_a_large_request_some_rows_count() -> None:
    subject = counts(TensorSchema("age", "FP32", (-1,)))
    subject.add({"age": np.linspace(0, 60, 100_000, dtype=np.float32)}, 100_000)
    (found,) = told(subject).values()
    assert sum(found) <= MOST_ROWS
    assert found == pytest.approx([MOST_ROWS / 3] * 3, abs=2)


def test_a_row_costs_little() -> None:
    columns = tuple(TrainedColumn(name=f"p{n}", edges=tuple(map(float, range(9))), counts=(1,) * 10) for n in range(64))
    training = TrainingData(dataset="digits/1", columns=columns)
    subject = InputCounts(training, [each.name for each in columns], [TensorSchema("x", "FP32", (-1, 64))], ())
    row = {"x": np.zeros((1, 64), dtype=np.float32)}
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(1024):
            subject.add(row, 1)
        best = min(best, (time.process_time() - began) / 1024)
    assert best < 50e-6, f"{best * 1e6:.1f} µs a row"


def test_only_the_nodes_agent_is_told() -> None:
    scope = {"path": "/forgelog/report", "headers": [(b"x-forgelog-replica-key", b"secret")]}
    assert not Callers("secret").is_agent(scope), "a router's client"
    assert Callers("secret").is_agent({**scope, "headers": [(b"x-forgelog-agent-key", b"secret")]})
    assert Callers("").is_agent(scope)


def spec(**drift: Any) -> ServingSpec:
    return ServingSpec(
        deployment_id="pets",
        model={"name": "pets", "version": 1, "bundle": {"digest": "0" * 64, "size": 0}},
        endpoints=("rest",),
        training=DATA,
        monitoring=EndpointMonitoring(drift=DriftMonitoring(**drift)),
    )


def told_of(subject: DriftCounts) -> dict[int, list[int]]:
    return {each["column"]: each["counts"] for each in subject.told()}


def test_what_a_script_makes_is_counted_where_requests_have_other_inputs() -> None:
    raw, own = [TensorSchema("text", "BYTES", (-1,))], [TensorSchema("age", "FP32", (-1,))]
    came, made = {"text": np.array([b"a"], object)}, {"age": np.array([30.0])}
    subject = DriftCounts(spec(), raw, own)
    subject.asked(came, made)
    assert told_of(subject) == {0: [0, 1, 0]}
    subject = DriftCounts(spec(), own, [])
    subject.asked(made, {})
    assert told_of(subject) == {0: [0, 1, 0]}
    assert DriftCounts(spec(), raw, []).told() == []
    off = DriftCounts(spec(enabled=False), own, [])
    off.know_outputs(own)
    off.asked(made, made)
    off.answered(made)
    assert off.told() == []


def test_answers_are_counted_as_the_column_that_they_predict(caplog: pytest.LogCaptureFixture) -> None:
    subject = DriftCounts(spec(outputs={"label": "kind"}), [TensorSchema("age", "FP32", (-1,))], [])
    subject.know_outputs([TensorSchema("label", "BYTES", (-1,)), TensorSchema("scores", "FP32", (-1, 3))])
    assert "no inputs and no outputs that are known: size;" in caplog.text
    subject.asked({"age": np.array([1.0, 30.0])}, {})
    subject.answered({"label": np.array(["cat", "bird"], object), "scores": np.zeros((2, 3))})
    subject.answered({})
    assert told_of(subject) == {0: [1, 1, 0], 2: [1, 0, 1, 0]}


def test_an_output_of_a_columns_name_is_that_column_unless_an_input_is() -> None:
    columns = [TensorSchema("age", "FP32", (-1,)), TensorSchema("size", "FP32", (-1, 1))]
    subject = DriftCounts(spec(), columns[:1], [])
    subject.know_outputs(columns)
    subject.answered({"age": np.array([1.0]), "size": np.array([[0.7]])})
    assert told_of(subject) == {0: [0, 0, 0], 1: [0, 1]}


def test_a_model_may_be_compared_by_its_answers_alone() -> None:
    subject = DriftCounts(spec(outputs={"label": "kind"}), [TensorSchema("pixels", "UINT8", (-1, 64))], [])
    subject.know_outputs([TensorSchema("label", "BYTES", (-1,))])
    subject.asked({"pixels": np.zeros((1, 64), np.uint8)}, {})
    subject.answered({"label": np.array([b"dog"], object)})
    assert told_of(subject) == {2: [0, 1, 0, 0]}
