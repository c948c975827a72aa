"""`forgelog pipeline next` of a file, and what `validate` says of clock changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from forgelog.cli.pipeline_time import TICK_COLUMNS
from forgelog.cli.pipelines import app
from forgelog.cli.tables import lines_of

FILE = """
kind: Pipeline
name: night-of-a-clock
schedule: {cron: "30 2 * * *", timezone: Europe/Zurich}
stages:
  - id: load
    inputs: {raw: {type: file_system, path: in.csv, format: csv}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "night.yaml"
    path.write_text(FILE)
    return str(path)


def rows(*arguments: str) -> list[dict[str, Any]]:
    answer = CliRunner().invoke(app, ["next", *arguments, "-o", "json"])
    assert answer.exit_code == 0, answer.output
    found: list[dict[str, Any]] = json.loads(answer.output)
    return found


def test_eighty_columns_have_room_for_ticks_and_their_intervals(file: str) -> None:
    found = rows(file, "--from", "2026-03-28T12:00:00Z", "-n", "2")
    assert lines_of(found, TICK_COLUMNS, width=80) == [
        "FIRES              LOCALLY        FROM               TO                  LENGTH",
        "2026-03-29 01:00Z  Sun 03:00 +02  2026-03-28 01:30Z  2026-03-29 01:00Z  23h 30m",
        "2026-03-30 00:30Z  Mon 02:30 +02  2026-03-29 01:00Z  2026-03-30 00:30Z  23h 30m",
    ]


def test_the_next_ticks_of_a_file_have_their_intervals(file: str) -> None:
    found = rows(file, "--from", "2026-03-27T12:00:00Z", "-n", "3")
    assert [(row["at"], row["interval_start"], row["length"]) for row in found] == [
        ("2026-03-28T01:30:00Z", "2026-03-27T01:30:00Z", "1d"),
        ("2026-03-29T01:00:00Z", "2026-03-28T01:30:00Z", "23h 30m"),
        ("2026-03-30T00:30:00Z", "2026-03-29T01:00:00Z", "23h 30m"),
    ]
    assert found[1]["local"] == "Sun 29 Mar 03:00 +0200"


def test_ticks_of_a_time_that_is_yet_to_come_are_shown(file: str) -> None:
    (row,) = rows(file, "--from", "2300-06-01T12:00:00Z", "-n", "1")
    assert (row["at"], row["local"]) == ("2300-06-02T00:30:00Z", "Sat 02 Jun 02:30 +0200")
    (change, *_) = rows(file, "--from", "2090-01-01T00:00:00Z", "--changes")
    assert change["change"] == "26 Mar 2090, forward by 1h"


@pytest.mark.parametrize("time", ["9999-12-31", "0001-01-02"])
@pytest.mark.parametrize("more", [[], ["--changes"]])
def test_ticks_beyond_the_calendar_are_refused(file: str, time: str, more: list[str]) -> None:
    answer = CliRunner().invoke(app, ["next", file, "--from", time, *more])
    if time < "1" and more:
        assert "no clocks are changed" in answer.output
    else:
        assert (answer.exit_code, answer.output.startswith("error: --from: its ticks are not all in")) == (2, True)


def test_changes_of_clocks_are_shown_with_the_ticks_around_them(file: str) -> None:
    found = rows(file, "--from", "2026-03-01T00:00:00Z", "--changes", "-n", "2")
    assert [(row["change"], row["local"]) for row in found] == [
        ("29 Mar 2026, forward by 1h", "Sat 28 Mar 02:30 +0100"),
        ("29 Mar 2026, forward by 1h", "Sun 29 Mar 03:00 +0200"),
        ("29 Mar 2026, forward by 1h", "Mon 30 Mar 02:30 +0200"),
        ("25 Oct 2026, back by 1h", "Sun 25 Oct 02:30 +0200"),
        ("25 Oct 2026, back by 1h", "Mon 26 Oct 02:30 +0100"),
        ("25 Oct 2026, back by 1h", "Tue 27 Oct 02:30 +0100"),
    ]


def test_tables_of_several_changes_and_pipelines_have_titles_in_place_of_columns(file: str) -> None:
    other = FILE.replace("night-of-a-clock", "mornings").replace("30 2", "0 7")
    Path(file).write_text(f"{FILE}---\n{other}")
    shown = CliRunner().invoke(app, ["next", file, "--from", "2026-03-01T00:00:00Z", "--changes", "-n", "1"]).output
    assert shown.splitlines()[:5] == [
        "night-of-a-clock: 29 Mar 2026, forward by 1h",
        "FIRES              LOCALLY        FROM               TO                  LENGTH",
        "2026-03-28 01:30Z  Sat 02:30 +01  2026-03-27 01:30Z  2026-03-28 01:30Z       1d",
        "2026-03-29 01:00Z  Sun 03:00 +02  2026-03-28 01:30Z  2026-03-29 01:00Z  23h 30m",
        "",
    ]
    assert [line for line in shown.splitlines() if ": " in line and "Z" not in line] == [
        "night-of-a-clock: 29 Mar 2026, forward by 1h",
        "night-of-a-clock: 25 Oct 2026, back by 1h",
        "mornings: 29 Mar 2026, forward by 1h",
        "mornings: 25 Oct 2026, back by 1h",
    ]
    shown = CliRunner().invoke(app, ["next", file, "-n", "1"]).output.splitlines()
    assert [shown[0], shown[4]] == ["night-of-a-clock", "mornings"]


def test_validate_says_what_happens_when_clocks_change(file: str) -> None:
    said = CliRunner().invoke(app, ["validate", file]).output
    assert "night-of-a-clock: 1 stage, no errors" in said
    assert "forward by 1h: fires" in said


def test_a_zone_that_does_not_exist_is_an_error_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(FILE.replace("Europe/Zurich", "Europe/Zuerich"))
    refused = CliRunner().invoke(app, ["validate", str(path)])
    assert refused.exit_code == 2
    assert "line 4" in refused.output
    assert "'Europe/Zuerich' is no time zone of tzdata" in refused.output


def test_a_pipeline_without_a_schedule_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("\n".join(line for line in FILE.splitlines() if "schedule" not in line))
    refused = CliRunner().invoke(app, ["next", str(path)])
    assert refused.exit_code == 2
    assert "has no schedule" in refused.output
