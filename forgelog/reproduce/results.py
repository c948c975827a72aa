"""Compares two runs: final metrics, parameters, datasets. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple


class ComparedMetric(NamedTuple):
    """The last value of a metric in both runs; None where one has none."""

    key: str
    model_id: str
    dataset: str
    then: float | None
    now: float | None
    equal: bool


class Results(NamedTuple):
    """How a reproduction compares with its run."""

    metrics: Sequence[ComparedMetric]
    params: Mapping[str, tuple[str | None, str | None]]
    """Those that differ: name → then, now."""
    datasets: Sequence[str]
    """How what both read differs, in words."""

    @property
    def equal(self) -> bool:
        """Whether there is a metric, and all are equal."""
        return bool(self.metrics) and all(each.equal for each in self.metrics)


def compare(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    metrics: Iterable[Mapping[str, Any]],
    inputs: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]] = ((), ()),
    *,
    ignore: Sequence[str] = (),
    tolerance: float = 0.0,
) -> Results:
    """`then`, `now`: the runs, with their parameters. `metrics`: of both. `ignore`: patterns of keys, such as
    ``time/*``. `tolerance`: relative."""
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for each in metrics:
        name = each["key"], each["model_id"], each["dataset"]
        values.setdefault(name, {})[each["run_id"]] = each["value"]
    compared = []
    for name, found in sorted(values.items()):
        if any(fnmatchcase(name[0], pattern) for pattern in ignore):
            continue
        one, other = found.get(then["run_id"]), found.get(now["run_id"])
        compared.append(ComparedMetric(*name, one, other, same(one, other, tolerance)))
    params = {
        name: (then["params"].get(name), now["params"].get(name))
        for name in sorted({*then["params"], *now["params"]})
        if then["params"].get(name) != now["params"].get(name)
    }
    return Results(compared, params, _datasets(*inputs))


def same(one: float | None, other: float | None, tolerance: float = 0.0) -> bool:
    """Whether two values are equal, within a relative tolerance. NaN is NaN."""
    if one is None or other is None:
        return False
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or (tolerance > 0 and math.isclose(one, other, rel_tol=tolerance))


def _datasets(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs in what was read: content, and of the same content what the programs said of it."""
    had, has = ({(f"{each['name']}@{each['digest']}", each["role"]): each for each in inputs} for inputs in (then, now))
    names = [{name for name, _ in each} for each in (had, has)]
    found = [f"{each} was read then, and not now" for each in sorted(names[0] - names[1])]
    found += [f"{each} is read now, and was not then" for each in sorted(names[1] - names[0])]
    for key in sorted(had.keys() & has.keys()):
        for detail, what in _DETAILS.items():
            one, other = had[key][detail], has[key][detail]
            if one and other and one != other:
                found.append(f"{key[0]}: its {what} was {_cut(one)} then, and is {_cut(other)} now")
    return found


_DETAILS = {"source_type": "kind of source", "columns": "schema", "profile": "profile"}
"""What programs say of datasets that follows from the content, by what people call it. (Where it was read is no part of
it.)"""


def _cut(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
