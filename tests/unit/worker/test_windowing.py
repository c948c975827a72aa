"""Windows over event time: what a batch gives, what is late, and how far the watermark is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.pipelines.sources import DataSource, Streaming
from events.language.pipelines.windows import EventWindows, PartitionTime, StreamState
from forgelog.pipelines.io.context import Resolved
from forgelog.pipelines.problems import StageError
from forgelog.worker.counting import Counting
from forgelog.worker.inputs import Inputs, _windowed
from forgelog.worker.job import StageJob
from forgelog.worker.windowing import Windowed, compute, days_around, moved_on, with_places

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 5, 9, tzinfo=UTC)
Row = tuple[int, int, float]
"""Partition, offset, event time in seconds."""


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def streaming(late: str = "drop", delay: float = 10, idle: float = 300, **windows: Any) -> Streaming:
    given: dict[str, Any] = windows or {"size_seconds": 10}
    return Streaming.model_validate(
        {"windows": given, "event_time": "at", "delay_seconds": delay, "idle_seconds": idle, "late": late}
    )


@dataclass
class Stream:
    """Batches of one stream, as one stage after the other computes them."""

    settings: Streaming
    partitions: tuple[int, ...] = (0,)
    state: StreamState | None = None
    held: list[tuple[Any, ...]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    now: datetime = NOW

    def batch(self, rows: Sequence[Row]) -> dict[tuple[float, float], list[int]]:
        """The windows that are complete: begin and end → offsets of their rows, in order."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, given in (("new", rows), ("old", self.held)):
                connection.execute(f'CREATE TABLE {name} (_partition INT, _offset BIGINT, "at" TIMESTAMPTZ)')
                for partition, offset, time in given:
                    connection.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", [partition, offset, at(time)])
            made = self._made(connection)
            found: dict[tuple[float, float], list[int]] = {}
            query = "SELECT _offset, epoch(_window_start), epoch(_window_end) FROM win ORDER BY 2, 3, 1"
            for offset, start, end in connection.execute(query).fetchall():
                found.setdefault((start, end), []).append(offset)
        assert made is not None
        return found

    def _made(self, connection: Any) -> Windowed:
        made = compute(connection, "win", "new", "old", self.settings, self.state, self.partitions, self.now)
        if made.state is not None:
            self.state = made.state
            query = f'SELECT _partition, _offset, epoch("at") FROM "{made.held}"'
            self.held = connection.execute(query).fetchall()
            self.late += [offset for (offset,) in connection.execute('SELECT _offset FROM "win late"').fetchall()]
        return made


def known(*times: tuple[int, float | None, float]) -> list[PartitionTime]:
    """Partition, greatest event time, and for how long it had no rows."""
    return [
        PartitionTime(
            partition=number, greatest=None if time is None else at(time), active_at=NOW - timedelta(seconds=s)
        )
        for number, time, s in times
    ]


@pytest.mark.parametrize(
    ("before", "seen", "partitions", "mark", "expected"),
    [
        ([], {0: 100}, (0,), None, 90),
        ([], {0: 100, 1: 50}, (0, 1), None, 40),
        ([], {0: 100}, (0, 1), None, None),
        (known((0, 100, 1), (1, None, 299)), {0: 120}, (0, 1), 80, 80),
        (known((0, 100, 1), (1, None, 300)), {0: 120}, (0, 1), 80, 110),
        (known((0, 100, 1), (1, 20, 300)), {0: 120}, (0, 1), 10, 110),
        (known((0, 100, 1), (1, 20, 300)), {1: 30}, (0, 1), 90, 90),
        (known((0, 100, 500), (1, 20, 500)), {}, (0, 1), 10, 10),
        (known((0, 100, 1)), {0: 50}, (0,), 90, 90),
        (known((0, 100, 1)), {0: 130}, (0, 1), 90, 90),
    ],
    ids=[
        "one partition",
        "the least of two",
        "one without rows holds it back",
        "not idle yet",
        "idle without any row",
        "idle after rows",
        "back from idleness it does not go back",
        "all are idle",
        "an older row",
        "a new partition holds it",
    ],
)
def test_the_watermark_is_the_least_over_partitions_that_are_not_idle(
    before: list[PartitionTime],
    seen: dict[int, float],
    partitions: tuple[int, ...],
    mark: float | None,
    expected: float | None,
) -> None:
    _, found, _ = moved_on(
        before,
        {number: at(time) for number, time in seen.items()},
        partitions,
        None if mark is None else at(mark),
        now=NOW,
        delay_seconds=10,
        idle_seconds=300,
    )
    assert found == (None if expected is None else at(expected))


@pytest.mark.parametrize(
    ("late", "batches", "given", "late_rows"),
    [
        ("drop", [[0, 5], [30]], [{}, {(0, 10): [0, 1]}], []),
        ("drop", [[0, 30], [5, 41]], [{(0, 10): [0]}, {}], [2]),
        ("side", [[0, 30], [5, 41]], [{(0, 10): [0]}, {}], [2]),
        ("update", [[0, 30], [5, 41]], [{(0, 10): [0]}, {(0, 10): [0, 2]}], [2]),
        ("drop", [[0, 19.999], [20]], [{}, {(0, 10): [0]}], []),
        ("drop", [[0], [20, 9]], [{}, {(0, 10): [0, 2]}], []),
    ],
    ids=["in time", "dropped", "set aside", "updated", "just open", "late by the clock, and its window is open"],
)
def test_late_rows_by_policy(
    late: str, batches: list[list[float]], given: list[dict[tuple[float, float], list[int]]], late_rows: list[int]
) -> None:
    stream, offset = Stream(streaming(late)), 0
    for times, expected in zip(batches, given, strict=True):
        assert stream.batch([(0, offset + number, time) for number, time in enumerate(times)]) == expected
        offset += len(times)
    assert stream.late == late_rows
    assert stream.state is not None
    assert stream.state.late_rows == len(late_rows)


def test_a_window_is_updated_until_its_rows_are_given_up() -> None:
    given = streaming("update").model_copy(update={"update_seconds": 60.0})
    stream = Stream(given)
    stream.batch([(0, 0, 0), (0, 1, 79)])
    assert stream.batch([(0, 2, 1)]) == {(0, 10): [0, 2]}
    stream.batch([(0, 3, 90)])
    assert stream.batch([(0, 4, 2)]) == {}, "it ended at 10, and is kept while the watermark is before 70"


def test_hopping_windows_and_sessions() -> None:
    hopping = Stream(streaming(kind="hopping", size_seconds=20, slide_seconds=10))
    assert hopping.batch([(0, 0, 15), (0, 1, 40)]) == {(0, 20): [0], (10, 30): [0]}
    session = Stream(streaming(kind="session", gap_seconds=5))
    assert session.batch([(0, 0, 0), (0, 1, 4.5), (0, 2, 9.5), (0, 3, 30)]) == {(0, 9.5): [0, 1], (9.5, 14.5): [2]}
    assert session.batch([(0, 4, 33), (0, 5, 60)]) == {(30, 38): [3, 4]}


def test_nothing_new_changes_nothing() -> None:
    stream = Stream(streaming())
    stream.batch([(0, 0, 0), (0, 1, 30)])
    before = stream.state
    assert stream.batch([]) == {}
    assert stream.state == before


def test_a_time_that_is_missing_or_no_time_is_named() -> None:
    with duckdb.connect() as connection:
        connection.execute('CREATE TABLE new AS SELECT 0 AS _partition, 7 AS _offset, NULL::TIMESTAMP AS "at"')
        with pytest.raises(StageError, match="offset 7 of partition 0 has no at"):
            compute(connection, "win", "new", None, streaming(), None, (0,))
        connection.execute("CREATE OR REPLACE TABLE new AS SELECT 0 AS _partition, 7 AS _offset, 'x' AS \"at\"")
        with pytest.raises(StageError, match="of type VARCHAR"):
            compute(connection, "other", "new", None, streaming(), None, (0,))


def _utc(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("zone", "instant", "start", "end"),
    [
        ("America/New_York", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("Europe/Zurich", "2026-03-29T00:30", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Zurich", "2024-02-29T12:00", "2024-02-28T23:00", "2024-02-29T23:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00", "2026-04-04T13:00", "2026-04-05T13:30"),
        ("Australia/Lord_Howe", "2026-10-03T15:00", "2026-10-03T13:30", "2026-10-04T13:00"),
        ("Africa/Cairo", "2026-04-23T22:00", "2026-04-23T22:00", "2026-04-24T21:00"),
        ("Africa/Cairo", "2026-10-29T21:30", "2026-10-28T21:00", "2026-10-29T22:00"),
        ("Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
    ],
)
def test_days_follow_the_clocks_of_their_zone(zone: str, instant: str, start: str, end: str) -> None:
    time = _utc(instant)
    windows = EventWindows(days=1, timezone=zone)
    found = [each for each in days_around([time // 86_400_000_000], windows) if each[0] <= time < each[1]]
    assert found == [(_utc(start), _utc(end))]


KINDS: list[dict[str, Any]] = [
    {"size_seconds": 10},
    {"kind": "hopping", "size_seconds": 20, "slide_seconds": 7},
    {"kind": "session", "gap_seconds": 4},
    {"days": 1, "timezone": "Africa/Cairo"},
]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[dict[str, Any], list[Row], list[list[Row]]]:
    """Windows, rows that come within the delay, and the same in batches."""
    kind = draw(st.sampled_from(KINDS))
    scale = 5_000 if "days" in kind else 1
    times = draw(st.lists(st.integers(0, 80), min_size=1, max_size=25))
    lags = draw(st.lists(st.integers(0, 9), min_size=len(times), max_size=len(times)))
    order = sorted(range(len(times)), key=lambda each: times[each] + lags[each])
    rows = [(0, offset, float(times[number] * scale)) for offset, number in enumerate(order)]
    cuts = sorted(draw(st.sets(st.integers(1, len(rows)), max_size=5)))
    batches = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    return {"delay": 10 * scale, **kind}, rows, batches


def _through(batches: Sequence[Sequence[Row]], given: dict[str, Any]) -> Iterator[Any]:
    stream = Stream(streaming(**given))
    for batch in batches:
        yield from stream.batch(batch).items()
    # what comes much later ends all windows
    yield from stream.batch([(0, 1_000, 1e9)]).items()
    assert stream.late == []


@settings(max_examples=25, deadline=None)
@given(arrivals())
def test_any_order_within_the_delay_and_any_cut_give_one_batchs_windows(
    case: tuple[dict[str, Any], list[Row], list[list[Row]]],
) -> None:
    given, rows, batches = case
    assert sorted(_through(batches, given)) == sorted(_through([rows], given))


def _work(folder: Path, first: int, end: int, states: list[Any]) -> StageJob:
    given = streaming("side").model_dump(mode="json", exclude_defaults=True)
    kafka = {"type": "kafka", "topic": "orders", "connection": {"url": "here:9092"}, "streaming": given}
    ranges = [{"partition": 0, "start": first, "end": end}]
    return StageJob.of(
        {
            "phase": "run",
            "run_id": "daily.7",
            "attempt": 1,
            "stage": {"id": "hours", "inputs": {"raw": {"source": kafka}}},
            "worker": {"pipeline_id": "daily", "worker": "pipe.daily.w1", "pipeline_version": 1},
            "project": "local/default",
            "limit": 1 << 30,
            "topics": [{"trigger": "orders", "topic": "orders", "url": "here:9092", "ranges": ranges}],
            "streams": states,
        },
        folder,
        lambda _: None,
    )


def test_rows_of_open_windows_go_to_the_next_batch_with_the_watermark(tmp_path: Path) -> None:
    states: list[Any] = []
    for times, complete, held, late in (([0, 5, 30], 2, 1, 0), ([3, 51], 1, 1, 1)):
        first = 3 if states else 0
        job = _work(tmp_path, first, first + len(times), states)
        source = job.stage.inputs["raw"].source
        assert source is not None
        resolved = Resolved(source, job.context(), (), offsets={0: (first, first + len(times))})
        inputs = Inputs(Counting(None))
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            values = ", ".join(f"({first + n}, {time})" for n, time in enumerate(times))
            columns = '0 AS _partition, o AS _offset, make_timestamptz(t * 1000000) AS "at"'
            connection.execute(f"CREATE TABLE records AS SELECT {columns} FROM (VALUES {values}) AS v(o, t)")
            _windowed(connection, job, "raw", "records", resolved, inputs)
            assert connection.execute("SELECT count(*) FROM raw").fetchall() == [(complete,)]
            found = [connection.execute(each.query).fetchall() for each in inputs.aside]
            assert [[(rules, json.loads(row)["_offset"]) for rules, _, row in rows] for rows in found] == (
                [[(["late"], 3)]] * late
            )
        (state,) = inputs.streams
        assert (state.input, state.held.rows, state.late_rows) == ("raw", held, late)
        assert inputs.metrics["held_rows"] == held
        assert inputs.metrics["late_rows"] == late
        states = [state.model_dump(mode="json")]


def test_a_run_without_a_batch_has_no_windows(tmp_path: Path) -> None:
    job = dataclasses.replace(_work(tmp_path, 0, 1, []), topics=())
    source = job.stage.inputs["raw"].source
    assert source is not None
    with pytest.raises(StageError, match="was given no batch of the topic by a trigger"):
        _windowed(None, job, "raw", "records", Resolved(source, job.context(), ()), Inputs(Counting(None)))


@pytest.mark.parametrize(
    ("columns", "hidden"),
    [
        ([], []),
        (["at"], ["_partition", "_offset", "_timestamp"]),
        (["_OFFSET", "at"], ["_partition", "_timestamp"]),
    ],
)
def test_rows_say_which_records_they_are_and_the_stage_sees_what_it_asked_for(
    columns: list[str], hidden: list[str]
) -> None:
    types = {"at": "TIMESTAMPTZ", "_OFFSET": "BIGINT"}
    given = {"type": "kafka", "topic": "orders", "columns": [{"name": each, "type": types[each]} for each in columns]}
    source, found = with_places(DataSource.model_validate({**given, "connection": {"url": "here:9092"}}))
    assert list(found) == hidden
    assert [column.name for column in source.columns] == [*columns, *hidden]
    with duckdb.connect() as connection:
        rows = 'SELECT 0 AS _partition, 7::BIGINT AS _offset, now() AS _timestamp, make_timestamptz(0) AS "at"'
        connection.execute(f"CREATE TABLE new AS {rows}")
        made = compute(connection, "win", "new", None, streaming(), None, (0,), hidden=found)
        seen = {"_partition", "_offset", "_timestamp", "at", "_window_start", "_window_end"} - set(hidden)
        assert {column.name for column in made.columns} == seen
        assert {"_partition", "_offset"} <= {
            each for each, *_ in connection.execute(f'DESCRIBE "{made.held}"').fetchall()
        }


def test_what_is_open_and_what_holds_it_is_told() -> None:
    stream = Stream(streaming(), partitions=(0, 1))
    stream.batch([(0, 0, 5), (0, 1, 31), (1, 0, 12), (1, 1, 33)])
    assert stream.state is not None
    assert (stream.state.watermark, stream.state.held_by) == (at(21), 0)
    assert (stream.state.open_windows, stream.state.next_end) == (1, at(40))
    stream.batch([(0, 2, 1_000), (1, 2, 45)])
    assert (stream.state.watermark, stream.state.held_by) == (at(35), 1)
    assert (stream.state.open_windows, stream.state.next_end) == (3, at(40))
