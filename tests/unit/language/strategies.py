"""Hypothesis strategies for every model of the language, made from its own bounds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from pydantic import AwareDatetime, StringConstraints, ValidationError

from events.language.base import Model
from events.language.task_ranges import format_ranges
from proto.samples import full
from proto.shapes import unwrap

M = TypeVar("M", bound=Model)

TASK_RANGES = st.sets(st.integers(0, 9_999), min_size=1, max_size=20).map(format_ranges)
NAMES = st.text(
    st.characters(min_codepoint=33, codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30
)
TIMES = st.datetimes(
    datetime(1971, 1, 1),
    datetime(2999, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]),
)


def models(model: type[M]) -> st.SearchStrategy[M]:
    """Instances of a model. A draw that breaks a rule across fields is replaced by the model's sample."""
    return _plain(model).map(lambda data: _valid(model, data))


def _valid(model: type[M], data: dict[str, Any]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError:
        return full(model)  # type: ignore[return-value]


@cache
def _plain(model: type[Model]) -> st.SearchStrategy[dict[str, Any]]:
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, info in model.model_fields.items():
        strategy = _value(name, info.annotation, tuple(info.metadata))
        (required if info.is_required() else optional)[name] = strategy
    return st.fixed_dictionaries(required, optional=optional)


def _value(name: str, annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    kind, bounds, nullable = unwrap(annotation, metadata)
    strategy = _of(name, kind, bounds)
    return st.none() | strategy if nullable else strategy


def _of(name: str, kind: Any, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin = get_origin(kind)
    if origin is tuple:
        return st.lists(_value(name, get_args(kind)[0], ()), min_size=1, max_size=2)
    if origin is dict:
        key, value = get_args(kind)
        return st.dictionaries(_value("key", key, ()), _value("value", value, ()), max_size=2)
    if kind is AwareDatetime:
        return TIMES
    if issubclass(kind, Model):
        return st.deferred(lambda: models(kind))
    if issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    if kind is bool:
        return st.booleans()
    if kind in (int, float):
        return _number(kind, bounds)
    return _text(name, bounds)


def _number(kind: type, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    low: Any = None
    high: Any = None
    exclusive = False
    for bound in bounds:
        if isinstance(bound, Ge):
            low = bound.ge
        elif isinstance(bound, Gt):
            low, exclusive = bound.gt, True
        elif isinstance(bound, Le):
            high = bound.le
        elif isinstance(bound, Lt):
            high = bound.lt - 1  # type: ignore[operator]
    if kind is int:
        return st.integers(-(1 << 63) if low is None else low + exclusive, (1 << 63) - 1 if high is None else high)
    return st.floats(low, high, exclude_min=exclusive, allow_nan=False, allow_infinity=False)


def _text(name: str, bounds: tuple[Any, ...]) -> st.SearchStrategy[str]:
    rules = [item for item in bounds if isinstance(item, StringConstraints)]
    patterns = [rule.pattern for rule in rules if rule.pattern]
    if name in ("tasks", "rest"):
        return TASK_RANGES
    if not patterns:
        return NAMES
    longest = min([rule.max_length for rule in rules if rule.max_length], default=200)
    ascii_only = st.characters(min_codepoint=0, max_codepoint=127)
    strategy = st.from_regex(re.compile(str(patterns[0])), fullmatch=True, alphabet=ascii_only)
    return strategy.filter(lambda text: len(text) <= longest)
