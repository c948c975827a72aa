"""Windows over event time, for one batch of a stream.

What a batch gives depends on its own rows and on what the batch before has left (`StreamState`) alone:

1. Its rows and the held ones are put into windows.
2. A window that ended when the last batch was through, or before, is complete: rows of it that come now are late.
3. The watermark moves on to the least, over partitions that are not idle, of greatest event time less delay.
4. Windows that end then or before are complete: their rows go to the stage, whole and once. What is left is held.

Times are whole microseconds since 1970 in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from events.language.pipelines.clock.zones import first_instant, zone_of
from events.language.pipelines.columns import Column
from events.language.pipelines.sources import DataSource, LatePolicy, Streaming
from events.language.pipelines.windows import EventWindows, PartitionTime, StreamState, WindowKind
from forgelog.pipelines.engine.running import describe, execute
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError

START, END = "_window_start", "_window_end"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_DAY = 86_400_000_000
_FIRST = datetime.min.replace(tzinfo=UTC)
_NEVER = -(1 << 62)
"""Before any time."""
_TIMES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_MS", "TIMESTAMP_S", "TIMESTAMP_NS")
LATE_RULE, LATE_REASON = "late", "came after its window was complete"
_PLACES = (
    Column(name="_partition", type="INTEGER"),
    Column(name="_offset", type="BIGINT"),
    Column(name="_timestamp", type="TIMESTAMP WITH TIME ZONE"),
)
"""Columns that say which record of its topic a row is, and the record's own time."""


@dataclass(frozen=True, slots=True)
class Windowed:
    """What came of a batch. Relations are of the connection."""

    columns: tuple[Column, ...]
    """Of the rows of complete windows."""
    state: StreamState | None = None
    """None: there was nothing to read, and nothing has changed. `held` is not in it."""
    held: str = ""
    held_rows: int = 0
    late: str | None = None
    """Rows to be set aside; None: there are none."""
    late_rows: int = 0


def moved_on(
    known: Iterable[PartitionTime],
    seen: Mapping[int, datetime],
    partitions: Iterable[int],
    before: datetime | None,
    *,
    now: datetime,
    delay_seconds: float,
    idle_seconds: float,
) -> tuple[tuple[PartitionTime, ...], datetime | None, int | None]:
    """How far partitions are after a batch, the watermark, and the partition that holds it back: the least of those
    that are not idle. It never goes back; while a partition that is not idle had no row, and while all are idle, it
    stays.

    `seen`: the greatest event time of the batch, by partition. `before`: the watermark until now.
    """
    last = {each.partition: each for each in known}
    after: list[PartitionTime] = []
    for number in sorted({*partitions, *last, *seen}):
        old, new = last.get(number), seen.get(number)
        greatest = max((each for each in (old.greatest if old else None, new) if each is not None), default=None)
        active = now if old is None or new is not None else old.active_at
        after.append(PartitionTime(partition=number, greatest=greatest, active_at=active))
    awake = [each for each in after if (now - each.active_at).total_seconds() < idle_seconds]
    if not awake:
        return tuple(after), before, None
    least = min(awake, key=lambda each: each.greatest or _FIRST)
    if least.greatest is None:
        return tuple(after), before, least.partition
    mark = least.greatest - timedelta(seconds=delay_seconds)
    return tuple(after), mark if before is None else max(before, mark), least.partition


def days_around(days: Iterable[int], windows: EventWindows) -> list[tuple[int, int]]:
    """Windows of days that hold all instants of these days of UTC (counted from 1970-01-01): begin and end of each."""
    zone, size = zone_of(windows.timezone), windows.days
    numbers = {(day + shift) // size for day in days for shift in (-1, 0, 1)}
    found = {(_midnight(zone, number * size), _midnight(zone, (number + 1) * size)) for number in numbers}
    return sorted((start, end) for start, end in found if start < end)


def _midnight(zone: Any, day: int) -> int:
    wall = datetime.combine(date(1970, 1, 1) + timedelta(days=day), datetime.min.time())
    return _us(first_instant(zone, wall))


def with_places(source: DataSource) -> tuple[DataSource, tuple[str, ...]]:
    """A source whose rows say which records they are, since windows tell and hold them by that; and which columns of it
    the stage has not asked for."""
    asked = {column.name.lower() for column in source.columns}
    added = tuple(column for column in _PLACES if asked and column.name not in asked)
    return source.model_copy(update={"columns": (*source.columns, *added)}), tuple(each.name for each in added)


def all_windows(
    connection: Any, name: str, records: str, streaming: Streaming, hidden: Sequence[str] = ()
) -> tuple[Column, ...]:
    """Of a sample: all windows, complete or not. See `compute`."""
    rows = _assigned(connection, name, records, None, streaming)
    execute(connection, f"CREATE VIEW {quoted(name)} AS {_shown(rows, 'true', hidden)}")
    return describe(connection, name)


def compute(
    connection: Any,
    name: str,
    records: str,
    held: str | None,
    streaming: Streaming,
    state: StreamState | None,
    partitions: tuple[int, ...],
    now: datetime | None = None,
    hidden: Sequence[str] = (),
) -> Windowed:
    """Make the relation `name` of the rows of windows that are complete with this batch. `records` and `held` are the
    relations of its rows and of those that were kept; `hidden`: their columns that the stage does not see. Raises
    StageError."""
    now = now or datetime.now(UTC)
    ((count,),) = execute(connection, f"SELECT count(*) FROM {quoted(records)}")
    rows = _assigned(connection, name, records, held, streaming)
    if not count:
        execute(connection, f"CREATE VIEW {quoted(name)} AS {_shown(rows, 'false', hidden)}")
        return Windowed(describe(connection, name))
    found = execute(connection, f"SELECT _partition, max(f_time) FROM {quoted(rows)} WHERE f_new GROUP BY ALL")
    seen = {partition: _time(greatest) for partition, greatest in found}
    before = state.watermark if state is not None else None
    after, mark, held_by = moved_on(
        state.partitions if state is not None else (),
        seen,
        partitions,
        before,
        now=now,
        delay_seconds=streaming.delay_seconds,
        idle_seconds=streaming.idle_seconds,
    )
    old = _us(before) if before is not None else _NEVER
    new = _us(mark) if mark is not None else _NEVER
    updates = streaming.late is LatePolicy.UPDATE
    kept = round(streaming.update_seconds * 1_000_000) if updates else 0
    complete = f"f_end > {old} AND f_end <= {new}"
    if updates:
        changed = f"SELECT f_start FROM {quoted(rows)} WHERE f_new AND f_end <= {old} AND f_end > {old - kept}"
        complete = f"({complete}) OR (f_end <= {old} AND f_start IN ({changed}))"
    execute(connection, f"CREATE VIEW {quoted(name)} AS {_shown(rows, complete, hidden)}")
    # a row of several windows is held, and counted as late, once
    once = "QUALIFY row_number() OVER (PARTITION BY _partition, _offset) = 1"
    own = "SELECT * EXCLUDE (f_time, f_new, f_start, f_end)"
    keep, late = f"{name} kept", f"{name} late"
    execute(connection, f"CREATE TABLE {quoted(keep)} AS {own} FROM {quoted(rows)} WHERE f_end > {new - kept} {once}")
    was_late = f"f_new AND f_end <= {old}"
    query = f"{own} FROM {quoted(rows)} WHERE {was_late} {once}"
    execute(connection, f"CREATE TABLE {quoted(late)} AS {query}")
    ((held_rows,),) = execute(connection, f"SELECT count(*) FROM {quoted(keep)}")
    ((late_rows,),) = execute(connection, f"SELECT count(*) FROM {quoted(late)}")
    sessions = "".join(f", {quoted(each)}" for each in streaming.windows.by) if streaming.windows is not None else ""
    opened = f"SELECT DISTINCT f_start, f_end{sessions} FROM {quoted(rows)} WHERE f_end > {new}"
    ((open_windows, next_end),) = execute(connection, f"SELECT count(*), min(f_end) FROM ({opened})")
    left = StreamState(
        input="rows",
        batch=state.batch + 1 if state is not None else 1,
        watermark=mark,
        partitions=after,
        late_rows=late_rows + (state.late_rows if state is not None else 0),
        open_windows=open_windows,
        next_end=_time(next_end) if next_end is not None else None,
        held_by=held_by,
    )
    aside = late if late_rows and streaming.late is LatePolicy.SIDE else None
    return Windowed(describe(connection, name), left, keep, held_rows, aside, late_rows)


def _shown(rows: str, condition: str, hidden: Sequence[str]) -> str:
    """What the stage sees of rows in windows."""
    without = ", ".join(["f_time", "f_new", "f_start", "f_end", *hidden])
    times = f"make_timestamptz(f_start) AS {START}, make_timestamptz(f_end) AS {END}"
    return f"SELECT * EXCLUDE ({without}), {times} FROM {quoted(rows)} WHERE {condition}"


def _assigned(connection: Any, name: str, records: str, held: str | None, streaming: Streaming) -> str:
    """A table of all rows, each once for each window that it is in: with its time, whether it is of this batch, and the
    window's begin and end. Raises StageError."""
    windows, column = streaming.windows, streaming.event_time or "_timestamp"
    assert windows is not None
    types = {each.name.lower(): each.type for each in describe(connection, records)}
    _check(types, column, windows)
    # a time without a zone is one of UTC, whatever the session's is
    zoned = types[column.lower()] == "TIMESTAMP WITH TIME ZONE"
    time = f"epoch_us({quoted(column)}{'' if zoned else '::TIMESTAMP'})"
    both = f"SELECT *, true AS f_new FROM {quoted(records)}"
    if held is not None:
        both += f" UNION ALL BY NAME SELECT *, false AS f_new FROM {quoted(held)}"
    timed = f"{name} timed"
    execute(connection, f"CREATE TABLE {quoted(timed)} AS SELECT *, {time} AS f_time FROM ({both})")
    query = f"SELECT _partition, _offset FROM {quoted(timed)} WHERE f_time IS NULL LIMIT 1"
    for partition, offset in execute(connection, query):
        problem = f"the record at offset {offset} of partition {partition} has no {column}, and is in no window"
        raise StageError("streaming.event_time", problem, "set such rows aside by a completeness rule of the source")
    rows = f"{name} in windows"
    execute(connection, f"CREATE TABLE {quoted(rows)} AS {_in_windows(connection, timed, windows)}")
    return rows


def _check(types: Mapping[str, str], column: str, windows: EventWindows) -> None:
    if (kind := types.get(column.lower())) is None or kind not in _TIMES:
        problem = f"is {column!r}, " + ("which the rows do not have" if kind is None else f"of type {kind}")
        raise StageError("streaming.event_time", problem, "give it in columns, with the type TIMESTAMPTZ")
    for each in windows.by:
        if each.lower() not in types:
            raise StageError("streaming.windows.by", f"has {each!r}, which the rows do not have", "correct it")
    reserved = (START, END, "f_time", "f_new", "f_start", "f_end")
    if taken := next((each for each in reserved if each in types), ""):
        raise StageError("columns", f"{taken!r} is a name that windows need", "name the column otherwise")


def _in_windows(connection: Any, timed: str, windows: EventWindows) -> str:
    """The query that puts rows into windows."""
    source, size = quoted(timed), round(windows.size_seconds * 1_000_000)
    if windows.kind is WindowKind.SESSION:
        gap = round(windows.gap_seconds * 1_000_000)
        by = ", ".join(map(quoted, windows.by))
        part = f"PARTITION BY {by} " if by else ""
        order = f"OVER ({part}ORDER BY f_time, _partition, _offset)"
        session = ", ".join([*map(quoted, windows.by), "f_session"])
        marked = f"SELECT *, coalesce(f_time - lag(f_time) {order} >= {gap}, true)::BIGINT AS f_first FROM {source}"
        rising = f"sum(f_first) OVER ({part}ORDER BY f_time, _partition, _offset ROWS UNBOUNDED PRECEDING)"
        numbered = f"SELECT * EXCLUDE (f_first), {rising} AS f_session FROM ({marked})"
        ends = f"min(f_time) OVER w AS f_start, max(f_time) OVER w + {gap} AS f_end"
        return f"SELECT * EXCLUDE (f_session), {ends} FROM ({numbered}) WINDOW w AS (PARTITION BY {session})"
    if windows.days:
        days = [day for (day,) in execute(connection, f"SELECT DISTINCT f_time // {_DAY} FROM {source}")]
        bounds = ", ".join(f"({start}, {end})" for start, end in days_around(map(_floored, days), windows))
        table = f"(VALUES {bounds or '(0, 0)'}) AS bounds(f_start, f_end)"
        return f"SELECT * FROM {source} ASOF JOIN {table} ON f_time >= f_start"
    slide = round(windows.slide_seconds * 1_000_000) or size
    most = math.ceil(size / slide)
    start = f"f_time - ((f_time % {slide}) + {slide}) % {slide} - f_back * {slide}"
    begun = f"SELECT *, {start} AS f_start FROM {source}, (SELECT range AS f_back FROM range({most}))"
    query = f"SELECT * EXCLUDE (f_back), f_start + {size} AS f_end FROM ({begun})"
    return f"SELECT * FROM ({query}) WHERE f_time < f_end"


def _floored(day: int) -> int:
    """SQL divides towards zero; a day more on that side does no harm."""
    return day if day >= 0 else day - 1


def _us(time: datetime) -> int:
    return (time - _EPOCH) // _US


def _time(us: int) -> datetime:
    try:
        return _EPOCH + us * _US
    except OverflowError:
        problem = "a row's event time is none of the years 1 to 9999"
        raise StageError("streaming.event_time", problem, "set such rows aside by a range rule of the source") from None
