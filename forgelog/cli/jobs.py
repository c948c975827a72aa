"""`ps`, `wait`, `cancel`, `requeue`: lists and controls jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, report, with_client
from forgelog.cli.nodes import duration, pairs
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    is_terminal,
    note,
    rich_table,
    show_data,
    show_line,
    show_rows,
    stream,
    write,
)
from forgelog.cli.tables import clock
from forgelog.client.statuses import JOBS
from forgelog.errors import ForgelogError, InvalidInput, Unavailable, exit_status
from forgelog.units import format_duration

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer
    from forgelog.client.rows import JobRow

    Done: TypeAlias = list[tuple[str, Answer | ForgelogError]]
    """Job, and the outcome of the command."""


JobArgument = Annotated[
    str,
    typer.Argument(metavar="JOB", help="Its id, the beginning of it, or its name.", autocompletion=complete.jobs),
]
JobsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...", help="Their ids, the beginnings of them, or their names.", autocompletion=complete.jobs
    ),
]
StatusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--status", "-s", help=f"Only these (repeatable): {', '.join(JOBS)}.",
        autocompletion=complete.words(JOBS),
    ),
]  # fmt: skip
TasksOption = Annotated[str | None, typer.Option("--tasks", help="Only these tasks of an array, such as 0-3,7.")]


def ps(
    status: StatusOption = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Ended jobs too.")] = False,
    queue: Annotated[
        str, typer.Option("--queue", "-q", help="Only of this queue.", autocompletion=complete.queues)
    ] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only of this owner.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only with this in their name.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value (repeatable).")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Most jobs shown.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show changes until Ctrl-C.")] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List jobs, newest first; live ones and those that ended in the last hour unless told otherwise."""
    if watch and at is not None:
        raise InvalidInput("--watch shows the present; leave --at out")
    filters: dict[str, Any] = {"queue": queue, "owner": owner, "name": name, "labels": pairs(label, "--label")}

    async def rows(client: AsyncClient) -> list[JobRow]:
        found = await client.jobs.list(status=status or (), at=moment(at), limit=limit, **filters)
        if all_ or status or at is not None:
            return found
        now = datetime.now(UTC)
        return [job for job in found if job.ended_at is None or (now - job.ended_at).total_seconds() < 3600]

    if watch:
        with_client(lambda client: _watch(client, rows, output))
        return
    found = with_client(rows)
    empty = "there are no jobs" + (f" as of {at}" if at else "" if all_ else "; -a shows those that ended long ago too")
    show_rows(found, job_columns(moment(at) or datetime.now(UTC)), output, empty=empty)
    if len(found) == limit and output is Format.TABLE:
        note(f"these are the newest {limit}; -n shows more")


def job_columns(now: datetime) -> list[Column]:
    return [
        column("Job", "job_id"),
        column("Name", rank=2, least=8),
        column("Status", style=True),
        Column("Tasks", lambda row: tally(row["tasks"]), right=True, rank=4),
        column("Priority", rank=8),
        column("Node", "node_id", rank=7),
        Column("Exit", lambda row: row["exit_code"], right=True, rank=3),
        age_column("Submitted", "submitted_at", now, rank=5),
        Column("Ran", lambda row: ran(row, now), right=True, rank=6),
        column("Reason", rank=1, least=LONG_REASON),
    ]


LONG_REASON = 28
"""Room for ``waits for job`` and an id."""


def tally(tasks: Mapping[str, int]) -> str:
    """``3/8`` done, ``3/8 ✗2`` if two failed, ``2/8 ready`` of a service; else empty for a job that is no array."""
    if tasks.get("ready"):
        return f"{tasks['ready']}/{tasks['total']} ready"
    if tasks["total"] == 1:
        return ""
    text = f"{tasks['completed']}/{tasks['total']}"
    return text + (f" ✗{tasks['failed']}" if tasks["failed"] else "")


def ran(row: Mapping[str, Any], now: datetime) -> str:
    """How long it has run, waits between attempts included."""
    if row["started_at"] is None:
        return ""
    return format_duration(((row["ended_at"] or now) - row["started_at"]).total_seconds())


async def _watch(client: AsyncClient, rows: Callable[[AsyncClient], Coroutine[Any, Any, Any]], output: Format) -> None:
    """Redraw the table (or print a line a change) whenever a job changes."""
    if output is not Format.TABLE or not is_terminal():
        began = datetime.now().astimezone().date()
        changes = stream(
            [
                Column("Time", lambda row: clock(row["updated_at"], began)),
                column("Job", "job_id"),
                column("Status"),
                Column("Tasks", lambda row: tally(row["tasks"])),
                column("Name"),
                column("Reason", least=16, wrap=True),
            ]
        )
        async for job in client.jobs.watch():
            if output is Format.TABLE:
                write("\n".join(changes.lines(job)) + "\n", flush=True)
            else:
                show_line(job)
        return
    from rich.live import Live

    with Live(auto_refresh=False, screen=False) as live:
        async for _ in client.jobs.watch():
            live.update(rich_table(await rows(client), job_columns(datetime.now(UTC))), refresh=True)


def wait(
    jobs: JobsArgument,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="Give up after this time.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Wait until jobs have ended. Exits with the first exit code that is not 0."""
    seconds = duration(timeout, "--timeout")

    async def work(client: AsyncClient) -> list[JobRow]:
        return await client.jobs.wait([await client.jobs.find(job) for job in jobs], timeout=seconds)

    ended = with_client(work)
    show_rows(ended, job_columns(datetime.now(UTC)), output)
    code = next((status for job in ended if (status := exit_status(job.status, job.exit_code))), 0)
    if code:
        raise typer.Exit(code)


ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


def cancel(
    jobs: JobsArgument,
    tasks: TasksOption = None,
    reason: ReasonOption = "",
    wait_: Annotated[bool, typer.Option("--wait", help="Return when they have ended.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop jobs: waiting tasks never start, running ones get TERM and, after the job's grace, KILL."""

    async def work(client: AsyncClient) -> Done:
        done = await _each(client, jobs, lambda id: client.jobs.cancel(id, tasks=tasks, reason=reason))
        cancelled = [job for job, outcome in done if not isinstance(outcome, ForgelogError)]
        if wait_ and tasks is None and cancelled and not isinstance(done[-1][1], Unavailable):
            try:
                await client.jobs.wait(cancelled)
            except ForgelogError as error:  # reported after the successful ones
                done.append(("", error))
        return done

    _tell(with_client(work), "cancelled", "had ended already", output)


def requeue(
    jobs: JobsArgument, tasks: TasksOption = None, reason: ReasonOption = "", output: OutputOption = Format.TABLE
) -> None:
    """Run the failed and cancelled tasks of ended jobs again, as new attempts."""

    async def work(client: AsyncClient) -> Done:
        return await _each(client, jobs, lambda id: client.jobs.requeue(id, tasks=tasks, reason=reason))

    _tell(with_client(work), "is queued again", "has nothing to run again", output)


async def _each(client: AsyncClient, jobs: Sequence[str], act: Callable[[str], Coroutine[Any, Any, Answer]]) -> Done:
    """Call `act` for each job, even if it fails for others. Stops once the platform can't be reached."""

    async def one(job: str) -> tuple[str, Answer | ForgelogError]:
        try:
            id = await client.jobs.find(job)
            return id, await act(id)
        except ForgelogError as error:
            return job, error

    done: Done = []
    for job in jobs:
        done.append(await one(job))
        if isinstance(done[-1][1], Unavailable):
            break
    return done


def _tell(done: Done, good: str, unchanged: str, output: Format) -> None:
    """Show the outcome of each job. If one was refused, its error becomes the exit code."""
    outcomes = [(job, outcome) for job, outcome in done if not isinstance(outcome, ForgelogError)]
    if output is not Format.TABLE:
        show_data([outcome for _, outcome in outcomes], output)
    else:
        for job, outcome in outcomes:
            note(f"{job} {unchanged if outcome.result == 'unchanged' else good}")
    errors = [outcome for _, outcome in done if isinstance(outcome, ForgelogError)]
    for error in errors:
        report(error)
    if errors:
        raise typer.Exit(errors[0].exit_code)


COMMANDS = {"ps": ps, "wait": wait, "cancel": cancel, "requeue": requeue}
