"""Compares two versions of a dataset by what was registered of them: schema, counts, preprocessing, drift of columns.
Pure; reads no data.

A column has drifted if a measure is above its limit, and is no chance: at three standard errors or more, where counts
are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any, NamedTuple

from forgelog.errors import InvalidInput

Row = Mapping[str, Any]

LIMITS: Mapping[str, float] = {
    # A difference of the shares of missing values.
    "missing": 0.05,
    # Total variation distance of the shares of a column's values: the least share of samples that would have to change.
    "total_variation": 0.1,
    # Standardized mean difference (Cohen, 1988; 0.2 is called small): by the root of the mean of both variances.
    "mean_shift": 0.2,
    # The ratio of both standard deviations, the larger to the smaller, less 1.
    "spread": 0.25,
}
"""Measure → above what a column has drifted."""

_ERRORS = 3.0
"""Standard errors that are no chance."""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A column that is there, or of a type, in one version alone."""

    column: str
    before: str
    """Its type; empty if it was not there."""
    now: str


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a column is from what it was, by one measure."""

    column: str
    measure: str
    """Of `LIMITS`."""
    before: float
    """What is compared: the share of missing values, a mean, a standard deviation; of `total_variation` the share of
    the value whose share changed most."""
    now: float
    value: float
    limit: float
    drifted: bool
    kind: str = ""
    """Of `total_variation`: the value whose share changed most; empty for all that are not named."""


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step of preprocessing that differs, at its place."""

    place: int
    """The first is 1."""
    before: str
    """As `step_text` gives it; empty if there is none."""
    now: str


@dataclass(frozen=True, slots=True)
class DatasetComparison:
    """Two versions of a dataset, or two datasets."""

    before: str
    """``name/number``."""
    now: str
    samples: tuple[int | None, int | None]
    splits: dict[str, tuple[int, int]]
    """Those that differ."""
    schema: list[SchemaChange]
    steps: list[StepChange]
    columns: list[Drift]
    """Those with the greatest value by their limit first."""
    unmeasured: list[str]
    """Columns of both that have no statistics to compare."""

    @property
    def drifted(self) -> list[str]:
        """Columns that have, by name."""
        return sorted({each.column for each in self.columns if each.drifted})


def compared(before: Row, now: Row, limits: Mapping[str, float] | None = None) -> DatasetComparison:
    """What differs between two answers of `client.datasets.get`. `limits`: in place of those of `LIMITS`. Raises
    `InvalidInput` for an unknown measure, or a limit that is none."""
    given = {**LIMITS, **(limits or {})}
    if stray := sorted(given.keys() - LIMITS.keys()):
        raise InvalidInput(f"limits: there is no measure {stray[0]!r}; they are {', '.join(LIMITS)}")
    for measure, limit in given.items():
        if not 0 <= limit < inf:
            raise InvalidInput(f"limits: {measure} is {limit:g}; give a number of at least 0")
    old, new = before["columns"], now["columns"]
    either = sorted(old.keys() | new.keys())
    schema = [
        SchemaChange(name, old.get(name, ""), new.get(name, "")) for name in either if old.get(name) != new.get(name)
    ]
    columns: list[Drift] = []
    unmeasured = []
    then, since = before["statistics"], now["statistics"]
    common = sorted((old.keys() | then.keys()) & (new.keys() | since.keys()))
    for name in common:
        found = list(_measures(then.get(name) or {}, since.get(name) or {}))
        columns += [
            Drift(
                name,
                each.measure,
                each.before,
                each.now,
                each.value,
                limit := given[each.measure],
                each.value > limit and each.errors >= _ERRORS,
                each.kind,
            )
            for each in found
        ]
        if not found:
            unmeasured.append(name)
    columns.sort(key=lambda each: (not each.drifted, -(each.value / (each.limit or 1e-9)), each.column, each.measure))
    names = sorted(before["splits"].keys() | now["splits"].keys())
    splits = {name: (before["splits"].get(name, 0), now["splits"].get(name, 0)) for name in names}
    return DatasetComparison(
        f"{before['name']}/{before['number']}",
        f"{now['name']}/{now['number']}",
        (before["samples"], now["samples"]),
        {name: counts for name, counts in splits.items() if counts[0] != counts[1]},
        schema,
        _steps(before["preprocessing"], now["preprocessing"]),
        columns,
        unmeasured,
    )


def step_text(step: Row) -> str:
    """A step of preprocessing with its parameters: ``resize size=28``."""
    return " ".join([step["name"], *(f"{key}={value}" for key, value in sorted(step["parameters"].items()))])


def _steps(before: Sequence[Row], now: Sequence[Row]) -> list[StepChange]:
    old, new = [step_text(each) for each in before], [step_text(each) for each in now]
    longest = max(len(old), len(new))
    pairs = zip(old + [""] * (longest - len(old)), new + [""] * (longest - len(new)), strict=True)
    return [StepChange(place, was, is_) for place, (was, is_) in enumerate(pairs, 1) if was != is_]


class _Found(NamedTuple):
    measure: str
    before: float
    now: float
    value: float
    errors: float
    """How many standard errors the value is."""
    kind: str = ""


def _measures(before: Row, now: Row) -> Iterator[_Found]:
    was, is_ = before.get("count"), now.get("count")
    if was is not None and is_ is not None:
        nulls = before.get("nulls") or 0, now.get("nulls") or 0
        if was + nulls[0] and is_ + nulls[1]:
            yield _missing((was, is_), nulls)
        if was and is_ and (before.get("frequent") or now.get("frequent")):
            yield _total_variation(before, now)
            return  # a number of few values is a kind: its mean says nothing more
    if before.get("mean") is not None and now.get("mean") is not None:
        yield from _moments(before, now)


def _missing(counts: Sequence[int], nulls: Sequence[int]) -> _Found:
    sizes = [count + missing for count, missing in zip(counts, nulls, strict=True)]
    was, is_ = (missing / size for missing, size in zip(nulls, sizes, strict=True))
    pooled = sum(nulls) / sum(sizes)
    error = sqrt(pooled * (1 - pooled) * sum(1 / size for size in sizes))
    return _Found("missing", was, is_, abs(is_ - was), abs(is_ - was) / error if error else 0.0)


def _total_variation(before: Row, now: Row) -> _Found:
    old, new = dict(before.get("frequent") or {}), dict(now.get("frequent") or {})
    for named, count in ((old, before["count"]), (new, now["count"])):
        named[""] = count - sum(named.values())  # the rest; no value that is named is empty
    both = {kind: (old.get(kind, 0), new.get(kind, 0)) for kind in sorted(old.keys() | new.keys())}
    kinds = {kind: counts for kind, counts in both.items() if sum(counts)}
    totals = before["count"], now["count"]
    shares = {kind: (was / totals[0], is_ / totals[1]) for kind, (was, is_) in kinds.items()}
    most = max(shares, key=lambda kind: abs(shares[kind][1] - shares[kind][0]))
    value = sum(abs(is_ - was) for was, is_ in shares.values()) / 2
    if (freedom := len(kinds) - 1) == 0:
        return _Found("total_variation", *shares[most], 0.0, 0.0, most)
    # Pearson's chi-squared of homogeneity, as standard errors by Wilson and Hilferty (1931).
    chi = sum(
        (count - (expected := sum(counts) * total / sum(totals))) ** 2 / expected
        for counts in kinds.values()
        for count, total in zip(counts, totals, strict=True)
    )
    scale = 2 / (9 * freedom)
    errors = ((chi / freedom) ** (1 / 3) - (1 - scale)) / sqrt(scale)
    return _Found("total_variation", *shares[most], value, errors, most)


def _moments(before: Row, now: Row) -> Iterator[_Found]:
    was, is_ = before["mean"], now["mean"]
    one, other = before.get("deviation"), now.get("deviation")
    if one is None or other is None:
        return
    known = before.get("count") and now.get("count")
    sizes = (before["count"], now["count"]) if known else (inf, inf)
    shift, pooled = abs(is_ - was), sqrt((one**2 + other**2) / 2)
    if pooled:
        error = sqrt(one**2 / sizes[0] + other**2 / sizes[1])
        yield _Found("mean_shift", was, is_, shift / pooled, shift / error if error else inf)
    else:
        yield _Found("mean_shift", was, is_, inf if shift else 0.0, inf)
    if one and other:
        ratio = max(one, other) / min(one, other)
        error = sqrt(sum(1 / (2 * size) for size in sizes))
        yield _Found("spread", one, other, ratio - 1, log(ratio) / error if error else inf)
    elif one or other:
        yield _Found("spread", one, other, inf, inf)
