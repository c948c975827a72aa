"""Runs side by side, and drawings of them: what differs comes first, and no text of a user becomes anything else."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from forgelog.cli.parallel import drawing
from forgelog.client.plain import Answer
from forgelog.comparing import compare
from forgelog.errors import InvalidInput
from forgelog.export_files import write_whole
from forgelog.plots.figures import Chart, Line, charts, differing_params, metric_keys, parallel
from forgelog.plots.image import charts_png, parallel_png
from forgelog.plots.page import chart_sections, page, parallel_section, table_section
from forgelog.plots.svg import ticks

EVIL = "</title><script>alert(1)</script><img src=//x onerror=1>\"'&$\\frac{1}{0}$\x1b[31m\u202e"
BEGAN = datetime(2026, 5, 9, tzinfo=UTC)


def run(id: str, params: dict[str, str], metrics: dict[str, float] | None = None, **more: Any) -> Answer:
    fields = {"name": "", "status": "finished", "experiment_id": "e1", "owner": "ada", "reason": "", "tags": {}}
    times = {"started_at": BEGAN, "ended_at": None}
    return Answer(run_id=id, params=params, metrics=metrics or {}, **{**fields, **times, **more})


def metric(run_id: str, key: str, value: float, *, least: float | None = None, count: int = 1) -> Answer:
    where = {"model_id": "", "dataset": "", "step": 3, "min_step": 0, "max_step": 3}
    return Answer(run_id=run_id, key=key, value=value, min=least, max=value, count=count, **where)


RUNS = [
    run("r1", {"lr": "0.1", "opt": "adam", "same": "x"}, {"loss": 0.5, "f1": 0.1}, tags={"team": "a"}),
    run("r2", {"lr": "0.001", "opt": "sgd", "same": "x"}, {"loss": math.nan}),
    run("r3", {"lr": "1e-05", "same": "x"}, {"loss": 0.25}, name=EVIL),
]


def test_what_differs_comes_first() -> None:
    rows = compare(RUNS, [metric("r1", "loss", 0.5), metric("r1", "a", 1.0), metric("r2", "a", 1.0)])
    shown = [(row.kind, row.key, row.differs) for row in rows if row.kind != "attribute"]
    assert shown == [
        ("param", "lr", True),
        ("param", "opt", True),
        ("param", "same", False),
        ("metric", "a", True),
        ("metric", "loss", True),
        ("tag", "team", True),
    ]


def test_datasets_that_runs_read_stand_side_by_side_with_what_is_said_of_them() -> None:
    said = {"source_type": "", "source": "", "columns": "", "role": "training"}
    inputs = [
        {"name": "mnist", "digest": digest, "profile": f"{rows} rows", "tags": {"split": f"first {rows}"}, **said}
        for digest, rows in (("a", 9), ("b", 8))
    ]
    rows = compare([run("r1", {}, inputs=inputs[:1]), run("r2", {}, inputs=inputs), run("r3", {})], [])
    assert [(row.kind, row.key, row.values) for row in rows if row.kind != "attribute"] == [
        ("dataset", "mnist (training)", ("a", "a, b", None)),
        ("dataset", "mnist (training) profile", ("9 rows", "8 rows, 9 rows", None)),
        ("dataset", "mnist (training) tags.split", ("first 9", "first 8, first 9", None)),
    ]


def test_a_metric_has_its_last_smallest_and_largest_value_and_nan_is_as_nan() -> None:
    (row,) = (
        row
        for row in compare(RUNS[:2], [metric(id, "loss", math.nan, least=0.5, count=3) for id in ("r1", "r2")])
        if row.kind == "metric"
    )
    assert not row.differs
    assert (row.values[0]["min"], row.values[0]["min_step"], row.values[0]["count"]) == (0.5, 0, 3)


def test_axes_are_numbers_or_words_and_what_a_run_lacks_has_no_place() -> None:
    assert (differing_params(RUNS), metric_keys(RUNS)) == (["lr", "opt"], ["loss", "f1"])
    rate, word, loss = parallel(RUNS, ["lr", "opt"], ["loss"]).axes
    assert rate.places == (1.0, pytest.approx(0.5), 0.0), "the scale is logarithmic"
    assert rate.ticks == ((0.0, "1e-05"), (1.0, "0.1"))
    assert (word.places, word.ticks) == ((0.0, 1.0, None), ((0.0, "adam"), (1.0, "sgd")))
    assert loss.places == (1.0, None, 0.0)


def test_parallel_coordinates_in_the_terminal() -> None:
    lines = list(drawing(parallel(RUNS, ["lr", "opt"], ["loss"]), 21, 4, colour=False))
    assert lines[0].split() == ["0.1", "sgd", "0.5"]
    assert [line.replace("\u2800", " ") for line in lines[1:5]] == [
        "⠑⠢⡀  ⢀⣀⠤⠔⠒⠉       ⢀⠔⠊",
        "⣀⠤⠜⠓⠭⡁    │    ⢀⡠⠒⠁ │",
        "│    ⠈⠒⢄⡀ │  ⣀⠔⠁    │",
        "⡀       ⠈⠢⢄⠔⠊       ⢀",
    ]
    assert [line.split() for line in lines[5:7]] == [["1e-05", "adam", "0.25"], ["lr", "opt", "loss"]]
    assert lines[7:9] == ["  ── r1", "  ── r2"]
    assert "\x1b" not in "".join(lines)


def test_round_numbers_stand_at_an_axis() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]
    assert ticks(5, 5) == [5]
    assert ticks(-1.7e308, 1.7e308) == [-1.7e308, 1.7e308]
    assert len(ticks(9e18, 9.2e18, whole=True)) <= 8
    assert ticks(0.0, 5e-324) == [0.0, 5e-324]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def curves(*lines: Line, by_time: bool = False) -> Chart:
    return Chart(EVIL, by_time, lines)


def test_a_page_needs_nothing_else_and_no_text_becomes_markup() -> None:
    evil = run("r4", {EVIL: EVIL, "lr": "1"}, {EVIL: 1.0}, name=EVIL, tags={EVIL: EVIL}, reason=EVIL)
    runs = [*RUNS, evil]
    chart = curves(Line(EVIL, [0, 1, 2], [1.0, math.nan, 2.0], 3), Line("b", [0], [math.inf], 1))
    rows = compare(runs, [metric("r4", EVIL, 1.0)])
    axes = parallel_section(parallel(runs, ["lr", EVIL], ["loss"]))
    made = page(EVIL, [table_section(runs, rows), axes, *chart_sections([chart])])
    found = Tags()
    found.feed(made)
    assert found.names <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "section", "table", "tr", "th", "td"),
        *("svg", "g", "line", "text", "polyline", "circle", "ul", "li", "span", "p"),
    }
    assert not {"href", "src", "onerror", "onload"} & found.attributes
    assert "<script>alert(1)</script>" in found.text
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert "default-src 'none'" in made


def test_curves_without_a_number_say_so() -> None:
    assert "nothing but NaN" in chart_sections([curves(Line("r", [0], [math.nan], 1))])[0]


def test_images_are_drawn_of_any_values_and_texts() -> None:
    chart = curves(Line(EVIL, [0, 10**12], [1.0, -math.inf], 2), Line("_b", [5], [2.0], 1), by_time=True)
    assert charts_png([chart, curves(Line("r", [0], [math.nan], 1))]).startswith(b"\x89PNG")
    assert parallel_png(parallel(RUNS, ["lr", "opt"], ["loss"])).startswith(b"\x89PNG")


def test_an_image_has_at_most_forty_drawings() -> None:
    with pytest.raises(InvalidInput, match="--png: 41 metrics are too many"):
        charts_png([curves(Line("r", [0], [1.0], 1))] * 41)


def test_without_matplotlib_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match=r"--png: needs matplotlib.*forgelog\[plots\].*--html"):
        charts_png([curves(Line("r", [0], [1.0], 1))])


def test_a_chart_has_the_lines_of_one_series() -> None:
    names = {"key": "loss", "model_id": "", "steps": [1], "times": [5], "values": [2.0], "points": 1}
    found = charts(
        [{"run_id": "r1", "dataset": "", **names}, {"run_id": "r2", "dataset": "test", **names}], "time", {"r1": "one"}
    )
    assert [(chart.title, chart.lines[0].name, chart.lines[0].xs) for chart in found] == [
        ("loss", "one", [5]),
        ("loss (on test)", "r2", [5]),
    ]


def test_a_file_is_replaced_whole_and_read_by_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    write_whole(file, b"new", "--html")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    with pytest.raises(InvalidInput, match=r"--html: .* is a folder"):
        write_whole(tmp_path, b"", "--html")
    with pytest.raises(InvalidInput, match=r"--html: .*can't be written: No such file"):
        write_whole(tmp_path / "none" / "a", b"", "--html")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
