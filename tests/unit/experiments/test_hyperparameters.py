"""A configuration's values as parameters of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.language.experiments import (
    AdvancedHyperparameters,
    ArchitectureHyperparameters,
    BasicHyperparameters,
    DataHyperparameters,
    DistributedStrategy,
    HyperparameterConfig,
    MixedPrecision,
    TrainingHyperparameters,
)
from events.language.experiments.hyperparameters import configuration, typed

WHOLE = HyperparameterConfig(
    basic=BasicHyperparameters(learning_rate=0.1, batch_size=32, epochs=10, optimizer="adamw"),
    architecture=ArchitectureHyperparameters(
        model_type="resnet50", hidden_layers=(64, 32), dropout=0.2, activation="gelu"
    ),
    training=TrainingHyperparameters(
        gradient_clipping=1, weight_decay=0.01, warmup_epochs=2, learning_rate_schedule="cosine"
    ),
    data=DataHyperparameters(
        train_split=0.5, validation_split=0.25, test_split=0.25, augmentation=("random_crop", "flip")
    ),
    advanced=AdvancedHyperparameters(
        mixed_precision=MixedPrecision.BF16,
        gradient_accumulation_steps=4,
        distributed_strategy=DistributedStrategy.FULLY_SHARDED,
    ),
    custom={"margin": "0.3"},
)


def test_each_value_is_a_parameter_of_its_group() -> None:
    assert WHOLE.params() == {
        "basic.learning_rate": "0.1",
        "basic.batch_size": "32",
        "basic.epochs": "10.0",
        "basic.optimizer": "adamw",
        "architecture.model_type": "resnet50",
        "architecture.hidden_layers": "64,32",
        "architecture.dropout": "0.2",
        "architecture.activation": "gelu",
        "training.gradient_clipping": "1.0",
        "training.weight_decay": "0.01",
        "training.warmup_epochs": "2.0",
        "training.learning_rate_schedule": "cosine",
        "data.train_split": "0.5",
        "data.validation_split": "0.25",
        "data.test_split": "0.25",
        "data.augmentation": "random_crop,flip",
        "advanced.mixed_precision": "bf16",
        "advanced.gradient_accumulation_steps": "4",
        "advanced.distributed_strategy": "fully_sharded",
        "margin": "0.3",
    }


def test_it_has_the_defaults_where_it_has_no_value_of_its_own() -> None:
    own = HyperparameterConfig(basic=BasicHyperparameters(epochs=5), custom={"margin": "0.4"})
    assert own.over(WHOLE).params() == {**WHOLE.params(), "basic.epochs": "5.0", "margin": "0.4"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-0.5", -0.5), ("1e-05", 1e-05), ("true", True), ("False", False), ("null", None), ("None", None),
        ("adam", "adam"), ("007", "007"), ("nan", "nan"), ("1e999", "1e999"), ("[1, 2]", "[1, 2]"), ("", ""),
        ('"quoted"', '"quoted"'), ("[" * 5_000, "[" * 5_000),
    ],
)  # fmt: skip
def test_a_parameter_is_what_a_program_takes_it_for(text: str, value: Any) -> None:
    found = typed(text)
    assert (found, type(found)) == (value, type(value))


def test_a_program_is_told_the_parameters_of_its_run() -> None:
    told = configuration({"lr": "0.1", "net.opt": "adam", "x": "1"}, {"x": 2.5})
    assert {name: json.loads(text) for name, text in told.items()} == {
        "FORGELOG_CONFIG": {"lr": 0.1, "net.opt": "adam", "x": 2.5}
    }
    assert configuration({}) == {}
    assert configuration({str(number): "x" * 6_000 for number in range(20)}) == {}
