"""Output: stable JSON, plain tables into pipes, nothing from a user's text that moves a terminal's cursor."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from forgelog.cli import render
from forgelog.cli.nodes import GPU_COLUMNS
from forgelog.cli.render import Column, Format, age_column, column, show_data, show_fields, show_rows, text_of

NOW = datetime(2026, 5, 9, 12, 0, tzinfo=UTC)
ROWS = [
    {"name": "train", "status": "running", "cpus": 2.0, "since": NOW - timedelta(minutes=3), "labels": {"a": "b"}},
    {"name": "a\x1b[31mb\n", "status": "failed", "cpus": 0.5, "since": None, "labels": {}},
]
COLUMNS: list[Column] = [
    column("Name"),
    column("Status", style=True),
    column("CPUs", "cpus", right=True),
    age_column("Since", "since", NOW),
]


def test_a_piped_table_is_aligned_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, COLUMNS, Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "NAME          STATUS   CPUS   SINCE",
        "train         running     2  3m ago",
        "a\\x1b[31mb\\n  failed    0.5",
    ]


def test_json_has_the_whole_rows_and_utc_times(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, COLUMNS, Format.JSON)
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {
        "name": "train",
        "status": "running",
        "cpus": 2.0,
        "since": "2026-05-09T11:57:00Z",
        "labels": {"a": "b"},
    }


def test_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    show_data({"a": [1, "x"], "at": NOW}, Format.YAML)
    assert capsys.readouterr().out == "a:\n- 1\n- x\nat: '2026-05-09T12:00:00Z'\n"


def test_an_empty_list_is_data_on_stdout_and_words_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], COLUMNS, Format.TABLE, empty="no jobs")
    assert capsys.readouterr() == ("", "no jobs\n")
    show_rows([], COLUMNS, Format.JSON)
    assert capsys.readouterr() == ("[]\n", "")


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields({"job": "j1", "reason": "", "exit code": 0, "signal": None, "metrics": {"training": {}, "test": []}})
    assert capsys.readouterr().out == "job:        j1\nexit code:  0\n"
    show_fields({"all": {"basic": {"epochs": None, "optimizer": {"name": None}}}, "labels": {"gpu": "", "team": "a"}})
    assert capsys.readouterr().out == "labels:  gpu, team=a\n"


def test_cells() -> None:
    assert text_of({"team": "vision", "gpu": ""}) == "team=vision,gpu"
    assert text_of([1, None, True]) == "1,,yes"
    assert text_of("日本 😀") == "日本 😀"


def test_a_node_s_gpus_and_who_holds_them(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 << 30, "health": "healthy", "mig_instances": []}
    rows = [
        {"gpu": {**gpu, "index": 0}, "job_id": "j1", "task": 0},
        {"gpu": {**gpu, "index": 1, "mig_instances": [{"profile": "1g.10gb"}]}, "job_id": "", "task": None},
    ]
    show_rows(rows, GPU_COLUMNS, Format.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "GPU  MODEL                  MEMORY  MIG      HEALTH   TASK",
        "  0  NVIDIA H100 80GB HBM3    80Gi           healthy  j1/0",
        "  1  NVIDIA H100 80GB HBM3    80Gi  1g.10gb  healthy",
    ]


def test_a_note_of_a_list_is_wrapped_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "20")
    render.note("  fires 02:30 and 03:30\u00a0+02", below="    ")
    assert stderr.getvalue() == "  fires 02:30 and\n    03:30 +02\n"
    monkeypatch.setattr(stderr, "isatty", lambda: False)
    render.note("  fires 02:30 and 03:30\u00a0+02", below="    ")
    assert stderr.getvalue().endswith("\n  fires 02:30 and 03:30 +02\n")
