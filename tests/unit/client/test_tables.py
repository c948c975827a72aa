"""Tables in a terminal: they fit its width, no id is ever broken, and what matters least goes first."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgelog.cli.audit import HEADS
from forgelog.cli.jobs import job_columns
from forgelog.cli.tables import Column, Stream, column, lines_of, text_of, width_of

JOBS: list[dict[str, Any]] = [
    {
        "job": "jsssvaavj2i6jw",
        "name": "train the largest model there is",
        "status": "running",
        "node": "n0",
        "reason": "",
    },
    {
        "job": "jr3k5wq2mzb7a",
        "name": "eval",
        "status": "failed",
        "node": "a-node-with-a-long-name",
        "reason": "exit code 3",
    },
]
COLUMNS = [
    column("Job"),
    column("Name", rank=2, least=8),
    column("Status", style=True),
    column("Node", rank=3),
    column("Reason", rank=1, least=10),
]


def test_a_table_that_fits_is_shown_whole() -> None:
    assert lines_of(JOBS, COLUMNS, width=200) == [
        "JOB             NAME                              STATUS   NODE                     REASON",
        "jsssvaavj2i6jw  train the largest model there is  running  n0",
        "jr3k5wq2mzb7a   eval                              failed   a-node-with-a-long-name  exit code 3",
    ]


def test_without_a_width_nothing_is_cut() -> None:
    assert lines_of(JOBS, COLUMNS, width=None) == lines_of(JOBS, COLUMNS, width=200)


def test_the_column_of_the_highest_rank_goes_first_and_long_texts_are_cut() -> None:
    assert lines_of(JOBS, COLUMNS, width=60) == [
        "JOB             NAME                    STATUS   REASON",
        "jsssvaavj2i6jw  train the largest mod…  running",
        "jr3k5wq2mzb7a   eval                    failed   exit code 3",
    ]


def test_the_next_to_go_is_the_next_in_rank() -> None:
    assert lines_of(JOBS, COLUMNS, width=40)[0] == "JOB             STATUS   REASON"
    assert lines_of(JOBS, COLUMNS, width=30)[0] == "JOB             STATUS"


def test_a_column_without_a_value_leaves_its_room_to_others() -> None:
    rows = [{**row, "node": ""} for row in JOBS]
    assert "NODE" not in lines_of(rows, COLUMNS, width=60)[0]
    assert "NODE" in lines_of(rows, COLUMNS, width=None)[0], "a pipe's columns don't depend on the rows"


def test_the_terminal_too_small_for_the_ids_breaks_none() -> None:
    assert [line.split()[0] for line in lines_of(JOBS, COLUMNS, width=10)] == ["JOB", "jsssvaavj2i6jw", "jr3k5wq2mzb7a"]


def test_a_text_that_must_be_read_whole_is_wrapped() -> None:
    columns = [column("Check"), column("Fix", wrap=True, least=12)]
    rows = [{"check": "java", "fix": "install a Java of 17 or later"}, {"check": "disk", "fix": ""}]
    assert lines_of(rows, columns, width=24) == [
        "CHECK  FIX",
        "java   install a Java of",
        "       17 or later",
        "disk",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert [width_of(text) for text in ("abc", "日本", "e\u0301", "😀")] == [3, 4, 1, 2]
    columns = [column("Name", least=4), column("Job")]
    assert lines_of([{"name": "日本日本日本", "job": "j1"}], columns, width=10) == ["NAME   JOB", "日本…  j1"]


def test_a_stream_keeps_its_columns_in_place() -> None:
    stream = Stream([column("Time"), Column("What", lambda row: row["what"], least=6)], width=24)
    assert stream.lines({"time": "03:12", "what": "short"}) == ["03:12  short"]
    assert stream.lines({"time": "03:12", "what": "a longer text than fits"}) == [
        "03:12  a longer text tha…"[:23] + "…"
    ]


WORDS = st.text(string.ascii_letters + "日é ", max_size=40)


@given(
    rows=st.lists(st.fixed_dictionaries({"id": st.text(string.ascii_lowercase, min_size=1, max_size=14), "a": WORDS,
                                         "b": WORDS, "c": WORDS}), min_size=1, max_size=5),
    width=st.integers(20, 120),
)  # fmt: skip
def test_no_line_is_wider_than_the_terminal_and_no_id_is_cut(rows: list[dict[str, Any]], width: int) -> None:
    columns = [
        column("Id"),
        column("A", rank=3, least=6),
        column("B", rank=2),
        column("C", rank=1, least=4, wrap=True),
    ]
    lines = lines_of(rows, columns, width=width)
    assert all(width_of(line) <= width for line in lines)
    shown = iter(lines)
    assert all(any(line.startswith(row["id"]) for line in shown) for row in rows)


@pytest.mark.parametrize("width", [None, 20, 80])
def test_a_table_without_rows_has_its_titles(width: int | None) -> None:
    assert lines_of([], [column("Id"), column("Name")], width=width) == ["ID  NAME"]


def test_ps_in_80_columns_names_the_job_that_is_waited_for() -> None:
    now = datetime(2026, 5, 9, 12, tzinfo=UTC)
    tasks = {"total": 10_000, "completed": 9_998, "failed": 1}
    row = {
        "job_id": "jfne5egad35vvc",
        "name": "a-long-name-of-a-training-run",
        "status": "pending",
        "tasks": tasks,
        "priority": "best_effort",
        "node_id": "node-17",
        "exit_code": 137,
        "submitted_at": now - timedelta(minutes=3),
        "started_at": now,
        "ended_at": now,
        "reason": "waits for job jj2qpts33tqwye",
    }
    _, line = lines_of([row], job_columns(now), width=80)
    assert line.startswith("jfne5egad35vvc  a-")
    assert line.endswith("waits for job jj2qpts33tqwye")


def test_a_digest_is_whole_in_80_columns() -> None:
    digest = "0123456789abcdef" * 4
    row = {"place": "events.scheduling/63", "offset": 1_000_000_000, "time": datetime.now(UTC), "digest": digest}
    _, *lines = lines_of([row], HEADS, width=80)
    assert all(len(line) <= 80 for line in lines)
    assert "".join(line.split()[-1] for line in lines) == digest


def test_a_name_that_moves_the_cursor_is_shown_as_an_escape() -> None:
    assert text_of({"\x1b[31mred": "\x1b[0m", "plain\n": ""}) == r"\x1b[31mred=\x1b[0m,plain\n"
