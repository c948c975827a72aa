"""A space of hyperparameters with conditions: what a tuning searches, or an experiment's tunings where they say nothing
else.
"""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import shown

MAX_DIMENSIONS = 1_000
MAX_CHOICES = 10_000
EXACT = 1 << 53
"""Whole numbers below it are doubles without loss."""


class DimensionKind(StrEnum):
    """What a hyperparameter's values are."""

    FLOAT = "float"
    INT = "int"
    CATEGORICAL = "categorical"


Choice = Annotated[str, StringConstraints(max_length=1_000), Field(examples=['"adam"'])]
"""JSON of a text, a number, true, false or null."""

DimensionName = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class Condition(Model):
    """When a dimension counts: as soon as another one, which stands before it, has one of these values."""

    name: DimensionName
    values: tuple[Choice, ...] = Field(min_length=1, max_length=MAX_CHOICES)

    @model_validator(mode="after")
    def _check(self) -> Condition:
        _check_scalars("values", self.values)
        return self


class Dimension(Model):
    """A hyperparameter, and what it may be."""

    name: DimensionName
    """As the program calls it; a dotted path names a field of `HyperparameterConfig`."""
    kind: DimensionKind
    low: float | None = None
    """Of a number: the least."""
    high: float | None = None
    """Of a number: the greatest."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Of a number: from one to the next, from `low` on. Whole numbers have 1 if it is left out."""
    log: bool = False
    """Whether each order of magnitude counts alike, instead of each unit."""
    choices: tuple[Choice, ...] = Field(default=(), max_length=MAX_CHOICES)
    """Of a categorical one."""
    when: Condition | None = None
    """Left out: it always counts."""

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        if self.kind is DimensionKind.CATEGORICAL:
            self._check_choices()
        else:
            self._check_range()
        return self

    def _check_choices(self) -> None:
        if not self.choices:
            raise ValueError("choices: is empty; give at least one value")
        _check_scalars("choices", self.choices)
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("choices: has a value twice; leave one out")
        if self.low is not None or self.high is not None or self.step is not None or self.log:
            raise ValueError("low, high, step and log go with numbers; leave them out, or set kind to float or int")

    def _check_range(self) -> None:
        low, high = self.low, self.high
        if self.choices:
            raise ValueError("choices: goes with kind categorical; give low and high")
        if low is None or high is None:
            raise ValueError(f"{'low' if low is None else 'high'}: is missing; numbers have both bounds")
        if low > high:
            raise ValueError(f"low: is {low:g}, which is above high, {high:g}; exchange them")
        if self.log and low <= 0:
            raise ValueError(f"low: is {low:g}; a logarithmic range begins above 0")
        if self.log and self.step is not None:
            raise ValueError("step: goes without log; leave one out")
        if self.kind is DimensionKind.INT:
            for name, bound in (("low", low), ("high", high), ("step", self.step)):
                if bound is not None and (bound != math.floor(bound) or abs(bound) > EXACT):
                    raise ValueError(f"{name}: is {bound!r}; an int has whole numbers of at most 2^53")


def problem_of(space: tuple[Dimension, ...]) -> str:
    """Why these dimensions are no space together; empty if they are one."""
    before: dict[str, Dimension] = {}
    for dimension in space:
        if dimension.name in before:
            return f"has {shown(dimension.name)} twice; give one another name"
        when = dimension.when
        if when is not None and (found := _problem_of_condition(before.get(when.name), when)):
            return f"{shown(dimension.name)}: when: {found}"
        before[dimension.name] = dimension
    return ""


def _problem_of_condition(other: Dimension | None, when: Condition) -> str:
    if other is None:
        return f"there is no {shown(when.name)} before it; put that first"
    if other.kind is DimensionKind.CATEGORICAL:
        for value in when.values:
            if value not in other.choices:
                return f"{value} is no choice of {shown(when.name)}; take one that is"
    return ""


class SearchSpace(Model):
    """What tunings may search; empty for none."""

    dimensions: tuple[Dimension, ...] = Field(default=(), max_length=MAX_DIMENSIONS)

    @model_validator(mode="after")
    def _is_one(self) -> SearchSpace:
        if problem := problem_of(self.dimensions):
            raise ValueError(f"dimensions: {problem}")
        return self


def numbers(space: tuple[Dimension, ...]) -> list[Dimension]:
    """The dimensions that are numbers, always count, and have more than one value."""
    return [
        each
        for each in space
        if each.kind is not DimensionKind.CATEGORICAL and each.when is None and each.low != each.high
    ]


def active(dimension: Dimension, chosen: dict[str, Any]) -> bool:
    """Whether a dimension counts, where those before it have these values (those that do not count are left out)."""
    when = dimension.when
    if when is None:
        return True
    return when.name in chosen and json.dumps(chosen[when.name]) in when.values


def _check_scalars(field: str, texts: tuple[str, ...]) -> None:
    """Raises ValueError for a text that is no JSON of a scalar, in Python's own form."""
    for text in texts:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(f"{field}: {shown(text)} is no JSON; write a text in quotes, or a number") from None
        if isinstance(found, list | dict):
            raise ValueError(f"{field}: {shown(text)} is no text, number, true, false or null")
        if json.dumps(found) != text:
            raise ValueError(f"{field}: {shown(text)} is not as it is compared; write {json.dumps(found)}")
