"""What a training is configured with, in six groups. A run has each value that is given as a parameter, named by its
group and field, such as ``training.weight_decay``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName, printable
from events.language.experiments.enums import DistributedStrategy, MixedPrecision

ParamKey = Annotated[str, StringConstraints(min_length=1, max_length=250), AfterValidator(printable)]
"""A parameter's, tag's or metric's name: 1 to 250 printable characters, any script; ``/`` and spaces are fine."""

ParamValue = Annotated[str, StringConstraints(max_length=6000)]

MAX_ENTRIES = 1_000
"""Most parameters, and most tags, in one command."""

Share = Annotated[float, Field(ge=0, le=1)]

SPLIT_TOLERANCE = 1e-6


class BasicHyperparameters(Model):
    """What every training has."""

    learning_rate: Annotated[float, Field(gt=0, le=1e6)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    epochs: Annotated[float, Field(gt=0, le=10_000_000)] | None = None
    optimizer: DisplayName | None = None
    """Such as ``adamw``."""


class ArchitectureHyperparameters(Model):
    """The model's shape."""

    model_type: DisplayName | None = None
    """Such as ``resnet50``."""
    hidden_layers: tuple[Annotated[int, Field(ge=1, le=100_000_000)], ...] = Field(default=(), max_length=1_000)
    """Units of each, from input to output."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    activation: DisplayName | None = None


class TrainingHyperparameters(Model):
    """How it is optimized."""

    gradient_clipping: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Largest norm of the gradient."""
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] | None = None
    warmup_epochs: Annotated[float, Field(ge=0, le=10_000_000)] | None = None
    """In which the learning rate rises; fewer than `epochs`."""
    learning_rate_schedule: DisplayName | None = None
    """Such as ``cosine``."""


class DataHyperparameters(Model):
    """How the data is used. The three shares are given together and sum to 1."""

    train_split: Share | None = None
    validation_split: Share | None = None
    test_split: Share | None = None
    augmentation: tuple[DisplayName, ...] = Field(default=(), max_length=100)
    """What is done to training samples, in order, such as ``random_crop``."""

    @model_validator(mode="after")
    def _whole(self) -> DataHyperparameters:
        shares = (self.train_split, self.validation_split, self.test_split)
        given = [share for share in shares if share is not None]
        if given and len(given) < len(shares):
            raise ValueError("train_split, validation_split and test_split go together; give all three (0 for none)")
        if given and abs(sum(given) - 1) > SPLIT_TOLERANCE:
            raise ValueError(f"train_split, validation_split and test_split sum to {sum(given):g}; make it 1")
        return self


class AdvancedHyperparameters(Model):
    """How the hardware is used."""

    mixed_precision: MixedPrecision | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    distributed_strategy: DistributedStrategy | None = None


class HyperparameterConfig(Model):
    """A training's configuration. What is left out is the program's choice."""

    basic: BasicHyperparameters = BasicHyperparameters()
    architecture: ArchitectureHyperparameters = ArchitectureHyperparameters()
    training: TrainingHyperparameters = TrainingHyperparameters()
    data: DataHyperparameters = DataHyperparameters()
    advanced: AdvancedHyperparameters = AdvancedHyperparameters()
    custom: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    """Whatever else the program takes, by the program's own names."""

    @model_validator(mode="after")
    def _warms_up_first(self) -> HyperparameterConfig:
        warmup, epochs = self.training.warmup_epochs, self.basic.epochs
        if warmup is not None and epochs is not None and warmup >= epochs:
            raise ValueError(
                f"training.warmup_epochs is {warmup:g} and basic.epochs {epochs:g}; warm up for fewer epochs"
            )
        return self

    def params(self) -> dict[str, str]:
        """Every value that is given, as text by its dotted name; those of `custom` by their own names."""
        return {name: _text(value) for name, value in self._given()} | dict(self.custom)

    def _given(self) -> Iterator[tuple[str, Any]]:
        said = self.model_dump(mode="json", exclude_defaults=True)  # once: most runs give nothing
        for group in ("basic", "architecture", "training", "data", "advanced"):
            for name, value in said.get(group, {}).items():
                yield f"{group}.{name}", value

    def over(self, defaults: HyperparameterConfig) -> HyperparameterConfig:
        """This configuration, with the values of `defaults` where it has none. Raises pydantic's ValidationError when
        both together can't be."""
        mine, theirs = self.model_dump(exclude_defaults=True), defaults.model_dump(exclude_defaults=True)
        return HyperparameterConfig.model_validate(
            {group: {**theirs.get(group, {}), **mine.get(group, {})} for group in {*mine, *theirs}}
        )


CONFIG = "FORGELOG_CONFIG"
"""The variable by which a job's program knows what its run is configured with."""

MAX_CONFIG = 100_000
"""Most bytes of it; Linux hands a process at most 128 KiB in one variable."""

_WORDS = {"True": True, "False": False, "None": None}
"""As Python writes them."""


def typed(text: str) -> Any:
    """A parameter as a program takes it: a number, a truth value or nothing where the text is one, else the text."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    plain = found is None or isinstance(found, bool | int) or (isinstance(found, float) and math.isfinite(found))
    return found if plain else text


def configuration(params: Mapping[str, str], chosen: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The variable that tells a program the parameters of its run, by their names, as JSON; none where there are none,
    or more than `MAX_CONFIG`. `chosen`: values that count before them."""
    told = {name: typed(text) for name, text in params.items()} | dict(chosen or {})
    said = json.dumps(told)
    return {CONFIG: said} if told and len(said) <= MAX_CONFIG else {}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
