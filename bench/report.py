"""What a benchmark says: a figure, its raw limit measured in the same run, their ratio, the runs behind the median."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from rich.table import Table


@dataclass(slots=True)
class Figure:
    """One row. `value` is the median of `runs`; `limit` the median of `limits`, in the same unit."""

    name: str
    unit: str
    runs: list[float]
    limits: list[float] = field(default_factory=list)
    limit_name: str = ""
    target: float | None = None
    higher_is_better: bool = True
    parts: dict[str, float] = field(default_factory=dict)
    """What the value is made of, in the same unit, where that is known."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """What `data` gave."""
        return cls(**{each.name: data[each.name] for each in fields(cls) if each.name in data})

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    @property
    def limit(self) -> float | None:
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratio(self) -> float | None:
        """Figure over limit, or limit over figure where lower is better: 1 is perfect."""
        if self.limit is None or not self.value:
            return None
        return self.value / self.limit if self.higher_is_better else self.limit / self.value

    @property
    def met(self) -> bool | None:
        """Whether the target of DESIGN section 7 is met."""
        if self.target is None:
            return None
        return self.value >= self.target if self.higher_is_better else self.value <= self.target

    def line(self) -> str:
        """In one line, while a run goes on."""
        beside = f", {self.ratio:.2f} of {number(self.limit)} {self.limit_name}" if self.ratio is not None else ""
        return f"{self.name}: {number(self.value)} {self.unit}{beside}"

    def data(self) -> dict[str, Any]:
        """For programs."""
        derived = {"value": self.value, "limit": self.limit, "ratio": self.ratio}
        rounded = {name: _short(value) for name, value in {**asdict(self), **derived}.items()}
        return {**rounded, "met": self.met}


HEADINGS = ("what", "value", "unit", "target", "met", "raw limit", "ratio", "min..max", "runs")


def cells(figure: Figure) -> list[str]:
    """A row, by `HEADINGS`."""
    return [
        figure.name,
        number(figure.value),
        figure.unit,
        ("≥ " if figure.higher_is_better else "≤ ") + number(figure.target) if figure.target is not None else "-",
        {True: "yes", False: "no", None: "-"}[figure.met],
        f"{number(figure.limit)} {figure.limit_name}" if figure.limit is not None else "-",
        f"{figure.ratio:.2f}" if figure.ratio is not None else "-",
        f"{number(min(figure.runs))}..{number(max(figure.runs))}",
        str(len(figure.runs)),
    ]


def table(figures: Sequence[Figure]) -> Table:
    """For people."""
    shown = Table(title="Forgelog benchmarks (medians)")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for figure in figures:
        shown.add_row(*cells(figure))
    return shown


def markdown(figures: Sequence[Figure]) -> str:
    """For docs/benchmarks.md."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(cells(figure) for figure in figures)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _short(value: Any) -> Any:
    """Numbers to five significant digits: more is noise."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case list():
            return [_short(each) for each in value]
        case dict():
            return {name: _short(each) for name, each in value.items()}
    return value


def number(value: float | None) -> str:
    """Three significant digits and thousands separated."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
