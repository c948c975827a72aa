"""What `history` shows of an event: a reason whole, in as many lines as it takes; lists and maps in short."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from forgelog.cli.event_table import event_columns
from forgelog.cli.tables import lines_of

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
REASON = "could not be started: 'trian' is not found; PATH on this node is '/usr/local/sbin:/usr/local/bin:/usr/sbin'"


def lines(width: int | None, **data: Any) -> list[str]:
    event = {
        "time": NOW, "position": "events.jobs/3@46", "type": "forgelog.jobs.v1.JobFailed", "actor": "node:laptop-0",
        "data": data,
    }  # fmt: skip
    return lines_of([event], event_columns(NOW.date()), width=width)


def test_a_reason_is_whole_in_eighty_columns() -> None:
    found = lines(80, job_id="j1", reason=REASON, exit_code=1)
    assert max(map(len, found)) <= 80
    said = "".join("".join(line[line_start(found) :].split()) for line in found[1:])
    assert said == f"exit_code=1 reason={REASON}".replace(" ", "")


def line_start(found: list[str]) -> int:
    return found[0].index("WHAT")


def test_in_a_pipe_it_is_one_line() -> None:
    (_, line) = lines(None, reason=REASON, counts={f"number-{n}": n for n in range(50)})
    assert line.endswith(f"… reason={REASON}")


def test_a_huge_text_is_cut() -> None:
    (_, line) = lines(None, reason="x" * 50_000)
    assert len(line) < 1_200
