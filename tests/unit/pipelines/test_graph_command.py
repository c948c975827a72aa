"""`forgelog pipeline graph` of a file."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from forgelog.cli.pipelines import app

FILE = """
kind: Pipeline
name: daily-of-a-graph
stages:
  - id: report
    inputs: {sales: clean}
    after: [check]
  - id: clean
    name: Without duplicates
    inputs: {raw: load}
  - id: check
    after: [load]
  - id: load
"""


def test_a_file_is_drawn_before_anyone_defines_it(tmp_path: Path) -> None:
    file = tmp_path / "daily.yaml"
    file.write_text(FILE)
    drawn = CliRunner().invoke(app, ["graph", str(file)])
    assert drawn.output.splitlines() == [
        "●  load",
        "├─╮",
        "● │  clean: Without duplicates",
        "│ ●  check",
        "├─╯",
        "●  report",
    ]
    assert CliRunner().invoke(app, ["graph", str(file), "--svg", str(tmp_path / "daily.svg")]).exit_code == 0
    assert (tmp_path / "daily.svg").read_text().startswith("<svg ")


def test_a_drawing_is_of_one_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(f"{FILE}---{FILE.replace('daily', 'hourly')}")
    refused = CliRunner().invoke(app, ["graph", str(file), "--svg", str(tmp_path / "x.svg")])
    assert refused.exit_code == 2
    assert "the file has several pipelines (daily-of-a-graph, hourly-of-a-graph)" in refused.output
