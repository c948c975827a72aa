"""How a run that has ended does by its experiment's practices. Pure; takes the tallies of its metrics as queries give
them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

from events.language.common import shown
from events.language.experiments.practices import BestPractices, CheckedValue, CheckResult, DataCheck, ValidationCheck


def results(practices: BestPractices, metrics: Sequence[Any]) -> list[CheckResult]:
    """One for each recommended metric, then one for each check. `metrics`: messages `Metric` of the run."""
    return [
        *(_logged(key, _series(metrics, key)) for key in practices.metrics),
        *(_checked(check, _series(metrics, check.metric)) for check in practices.checks),
    ]


def _series(metrics: Sequence[Any], key: str) -> list[Any]:
    """The series of a key: the run's own, and those of its models and datasets."""
    return [metric for metric in metrics if metric.key == key]


def _logged(key: str, series: Sequence[Any]) -> CheckResult:
    points = sum(each.count for each in series)
    finding = f"{points} point{'' if points == 1 else 's'}" if series else "it was not logged"
    return CheckResult(name=f"logs {key}", metric=key, passed=bool(series), finding=finding)


def _checked(check: ValidationCheck, series: Sequence[Any]) -> CheckResult:
    """Each series must pass; the finding is that of the first that does not."""
    if not series:
        return CheckResult(name=check.name, metric=check.metric, passed=False, finding="it was not logged")
    findings = [(each, *_finding(check, each)) for each in series]
    each, passed, finding = next((found for found in findings if not found[1]), findings[0])
    of = " and ".join(
        f"{kind} {shown(value)}" for kind, value in (("model", each.model_id), ("dataset", each.dataset)) if value
    )
    return CheckResult(
        name=check.name, metric=check.metric, passed=passed, finding=f"{finding} (of {of})" if of else finding
    )


def _finding(check: ValidationCheck, metric: Any) -> tuple[bool, str]:
    """Whether a series passes, and what was found."""
    word, value = _value(check.value, metric)
    if check.finite and metric.nans:
        return False, f"{metric.nans} of {metric.count} points are NaN"
    if check.finite and not all(map(isfinite, _known(metric))):
        return False, "it is infinite at some point"
    if value is None or isnan(value):
        return False, f"{word} is NaN"
    return within(check, word, value)


def within(check: ValidationCheck | DataCheck, what: str, value: float) -> tuple[bool, str]:
    """Whether a value keeps a check's bounds, and that in words. `what`: what it is a value of."""
    said = f"{what} is {value:g}"
    if check.at_least is not None and value < check.at_least:
        return False, f"{said}, less than {check.at_least:g}"
    if check.at_most is not None and value > check.at_most:
        return False, f"{said}, more than {check.at_most:g}"
    return True, said


def _value(which: CheckedValue, metric: Any) -> tuple[str, float | None]:
    match which:
        case CheckedValue.LAST:
            return "the last value", metric.value
        case CheckedValue.LEAST:
            return "the least value", metric.min if metric.HasField("min") else None
        case CheckedValue.MOST:
            return "the largest value", metric.max if metric.HasField("max") else None


def _known(metric: Any) -> list[float]:
    return [metric.value, *(getattr(metric, name) for name in ("min", "max") if metric.HasField(name))]
