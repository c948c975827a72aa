"""The attempts whose files `fetch` fetches, and the attempts that it waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from forgelog.client.fetching import choose
from forgelog.client.rows import AttemptRow, OutputRow

NOW = datetime(2026, 5, 9, tzinfo=UTC)


def attempt(task: int, number: int, *, ended: bool = True, started: bool = True, reason: str = "exited") -> AttemptRow:
    return AttemptRow(
        task=task,
        attempt=number,
        started_at=NOW if started else None,
        ended_at=NOW if ended else None,
        exit_reason=reason,
    )


def outputs(task: int, number: int) -> OutputRow:
    return OutputRow(task=task, attempt=number, files=1)


def chosen(attempts: list[AttemptRow], rows: list[OutputRow], only: int | None = None) -> tuple[Any, Any]:
    found = choose(attempts, rows, only)
    return [(row.task, row.attempt) for row in found.rows], cast(Any, found.waited_for)


def test_of_each_task_the_newest_attempt_is_meant() -> None:
    attempts = [attempt(0, 1), attempt(0, 2), attempt(1, 1)]
    assert chosen(attempts, [outputs(0, 1), outputs(0, 2), outputs(1, 1)]) == ([(0, 2), (1, 1)], [])


def test_an_attempt_that_ended_is_waited_for_though_an_earlier_one_has_files() -> None:
    assert chosen([attempt(0, 1), attempt(0, 2)], [outputs(0, 1)]) == ([], [(0, 2)])


def test_one_that_runs_or_was_lost_or_never_started_is_not_waited_for() -> None:
    for last in (attempt(0, 2, ended=False), attempt(0, 2, reason="lost"), attempt(0, 2, started=False)):
        assert chosen([attempt(0, 1), last], [outputs(0, 1)]) == ([(0, 1)], [])
        assert chosen([last], []) == ([], [])


def test_the_attempt_that_is_named_is_meant() -> None:
    attempts = [attempt(0, 1), attempt(0, 2)]
    assert chosen(attempts, [outputs(0, 1), outputs(0, 2)], only=1) == ([(0, 1)], [])
    assert chosen(attempts, [outputs(0, 2)], only=1) == ([], [(0, 1)])
    assert chosen(attempts, [outputs(0, 1), outputs(0, 2)], only=3) == ([], [])
