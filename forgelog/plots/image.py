"""Figures as a PNG, by matplotlib, which is loaded here and nowhere else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from forgelog.cli.tables import cut, text_of
from forgelog.errors import InvalidInput
from forgelog.plots.figures import Chart, Parallel
from forgelog.plots.svg import COLOURS

_INCHES = 9.0, 3.6
"""Of one drawing; several stand below each other."""
_MOST = 40
"""Most drawings of one image."""


def charts_png(charts: Sequence[Chart]) -> bytes:
    """Curves below each other. Raises `InvalidInput` without matplotlib, and for too many."""
    if len(charts) > _MOST:
        raise InvalidInput(f"--png: {len(charts)} metrics are too many for an image of {_MOST}; choose some with --key")

    def draw(axes: Sequence[Any]) -> None:
        for each, chart in zip(axes, charts, strict=True):
            _chart(each, chart)

    return _drawn(len(charts), draw)


def parallel_png(figure: Parallel) -> bytes:
    """Parallel coordinates. Raises `InvalidInput` without matplotlib."""
    return _drawn(1, lambda axes: _parallel(axes[0], figure))


def _drawn(count: int, draw: Callable[[Sequence[Any]], None]) -> bytes:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidInput(
            "--png: needs matplotlib, which is not installed; pip install 'forgelog[plots]' (or matplotlib), or give "
            "--html"
        ) from None
    written = BytesIO()
    # A user's text is no formula, and a character that the font lacks is no reason to speak.
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(_INCHES[0], _INCHES[1] * count), layout="constrained")
        draw(list(figure.subplots(count, 1, squeeze=False)[:, 0]))
        figure.savefig(written, format="png", dpi=120)
    return written.getvalue()


def _chart(axes: Any, chart: Chart) -> None:
    axes.set_title(text_of(chart.title))
    for index, line in enumerate(chart.lines):
        xs: Sequence[Any] = line.xs
        if chart.by_time:
            xs = [datetime.fromtimestamp(x / 1000, UTC) for x in xs]
        ys = [y if math.isfinite(y) else math.nan for y in line.ys]
        marker = "o" if len(ys) == 1 else None
        label = cut(text_of(line.name), 60)
        # A label that begins with an underscore would have no place in the legend.
        label = f" {label}" if label.startswith("_") else label
        axes.plot(xs, ys, color=COLOURS[index % len(COLOURS)], linewidth=1.2, marker=marker, label=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _parallel(axes: Any, figure: Parallel) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"]
    for run in range(len(figure.runs)):
        places = [axis.places[run] for axis in figure.axes]
        last = places[-1] if places else None
        ys = [math.nan if place is None else place for place in places]
        axes.plot(range(len(ys)), ys, color="0.6" if last is None else colours(last), linewidth=1, marker=".")
    for column, axis in enumerate(figure.axes):
        axes.axvline(column, color="0.3", linewidth=0.8)
        for place, label in axis.ticks[:: max(1, len(axis.ticks) // 12)]:
            axes.text(column + 0.02, place, cut(text_of(label), 18), va="center", fontsize=7)
    axes.set_xticks(range(len(figure.axes)), [cut(text_of(axis.name), 24) for axis in figure.axes])
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
