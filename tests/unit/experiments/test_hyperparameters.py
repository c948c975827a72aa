"""A configuration's values as parameters of a run."""

from __future__ import annotations

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
