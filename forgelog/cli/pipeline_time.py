"""`pipeline next`: when a pipeline will run, of one that is defined or of one in a file that nobody has defined yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from events.process.instants import instant
from forgelog.cli.common import OutputOption, guarded, moment, with_client
from forgelog.cli.render import NO_BREAK, Column, Format, column, note, print_table, show_data, write
from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.files import described, is_file

if TYPE_CHECKING:
    from events.language.pipelines.clock.preview import ClockChange
    from events.language.pipelines.schedule import Schedule, Tick

MOST_TICKS = 10_000


def next_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pipeline's name or id, or a file with pipelines.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_TICKS, help="How many ticks.")] = 10,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="After this time, such as 2026-03-29 [default: now].")
    ] = None,
    changes: Annotated[bool, typer.Option("--changes", help="Those around the next two changes of clocks.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show when a pipeline will run by its schedule, and which interval each run is about."""
    instant = moment(since, "--from", future=True) or datetime.now(UTC)
    schedules = guarded(lambda: _schedules(name))

    def work() -> list[dict[str, Any]]:
        from pydantic import ValidationError

        told = _around_rows if changes else tick_rows
        try:
            return [row for each in schedules for row in told(*each, instant, limit)]
        except (OverflowError, ValidationError):  # an interval's bounds are days of the years 1 to 9999
            raise InvalidInput(
                "--from: its ticks are not all in the years 1 to 9999; give another, or --limit"
            ) from None

    rows = guarded(work)
    if output is not Format.TABLE:
        show_data(rows, output)
        return
    empty = f"no clocks are changed in {schedules[0][1].timezone} next" if changes else "it has no tick any more"
    if not rows:
        note(empty)
    for number, (title, each) in enumerate(_tables(rows, several=len(schedules) > 1)):
        write("\n" * (number > 0) + f"{title}\n" * bool(title))
        print_table(each, TICK_COLUMNS)


def told_changes(schedule: Schedule, instant: datetime) -> list[str]:
    """What a schedule does around the next two changes of clocks, a line for each change."""
    from events.language.pipelines.clock.preview import around, clock_changes

    zone = ZoneInfo(schedule.timezone)
    lines = []
    for change in clock_changes(schedule, instant, 2):
        fires = ", ".join(_local(tick.at, zone).replace(" ", NO_BREAK) for tick in around(schedule, change, 3))
        lines.append(f"{_said(change, zone)}: fires {fires}")
    return lines


def _schedules(name: str) -> Sequence[tuple[str, Schedule]]:
    if is_file(name):
        found = [(each.name, each.spec.schedule) for each in described(name)]
    else:
        row = with_client(lambda client: client.pipelines.get(name))
        found = [(row.name, _schedule(row.spec["schedule"]))]
    clocked = [(pipeline, schedule) for pipeline, schedule in found if schedule is not None]
    if not clocked:
        raise InvalidInput(f"{name} has no schedule; it runs when it is asked to, or by its triggers")
    return clocked


def _schedule(said: Any) -> Schedule | None:
    from events.language.pipelines.schedule import Schedule

    return None if said is None else Schedule.model_validate({key: value for key, value in said.items() if value})


def tick_rows(pipeline: str, schedule: Schedule, instant: datetime, limit: int) -> list[dict[str, Any]]:
    """The next ticks after an instant, for `TICK_COLUMNS`. Raises ScheduleError."""
    from events.language.pipelines.clock.preview import next_ticks

    return [_row(pipeline, schedule, tick) for tick in next_ticks(schedule, instant, limit)]


def _around_rows(pipeline: str, schedule: Schedule, instant: datetime, limit: int) -> list[dict[str, Any]]:
    from events.language.pipelines.clock.preview import around, clock_changes

    zone = ZoneInfo(schedule.timezone)
    return [
        {"change": _said(change, zone), **_row(pipeline, schedule, tick)}
        for change in clock_changes(schedule, instant, 2)
        for tick in around(schedule, change, min(limit, 5))
    ]


def _row(pipeline: str, schedule: Schedule, tick: Tick) -> dict[str, Any]:
    zone = ZoneInfo(schedule.timezone)
    return {
        "pipeline": pipeline,
        "at": instant(tick.at),
        "local": _local(tick.at, zone),
        "interval_start": instant(tick.interval.start),
        "interval_end": instant(tick.interval.end),
        "length": _length(tick.interval.end - tick.interval.start),
    }


def _short(key: str) -> Callable[[Mapping[str, Any]], str]:
    """A moment as far as it is not zero: ``2026-05-09 03:12Z``."""
    return lambda row: str(row[key]).replace("T", " ").replace(":00Z", "Z")


TICK_COLUMNS = [
    Column("Fires", _short("at")),
    Column("Locally", lambda row: _short_local(row["local"])),
    Column("From", _short("interval_start"), rank=1),
    Column("To", _short("interval_end"), rank=2),
    column("Length", right=True),
]


def _tables(rows: Sequence[dict[str, Any]], *, several: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of one pipeline, around one change of clocks, and their title. Columns of these would leave no room."""

    def title(row: dict[str, Any]) -> str:
        return ": ".join([*([row["pipeline"]] if several else []), *([row["change"]] if "change" in row else [])])

    for text, found in groupby(rows, title):
        yield text, list(found)


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%a %d %b %H:%M %z")


def _short_local(local: str) -> str:
    """``Sun 03:00 +02``: the day of the week says on which side of midnight it is, minutes of an offset are rare."""
    day, _, _, time, offset = local.split(" ")
    return f"{day} {time} {offset.removesuffix('00')}"


def _said(change: ClockChange, zone: ZoneInfo) -> str:
    way = "forward" if change.shift > timedelta(0) else "back"
    return f"{change.at.astimezone(zone):%d %b %Y}, {way} by {_length(abs(change.shift))}"


def _length(time: timedelta) -> str:
    """``1d 2h``, ``45m``."""
    seconds = int(time.total_seconds())
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count)


def add_to(app: typer.Typer) -> None:
    """Its commands, beside the others of `pipeline`."""
    app.command("next")(next_)
