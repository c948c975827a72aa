"""`ps`, `show`, `why`, `queue`, `wait`, `cancel`, `requeue`: looking at jobs and steering them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
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
    show_fields,
    show_line,
    show_rows,
    write,
)
from forgelog.errors import InvalidInput
from forgelog.times import ago
from forgelog.units import format_bytes, format_duration

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Record

LIVE = ("pending", "queued", "scheduled", "starting", "running")
MOST_TASKS = 50
"""Tasks that `show` lists; the rest is counted."""


def register(app: typer.Typer) -> None:
    app.command("ps")(ps)
    app.command("show")(show)
    app.command("why")(why)
    app.command("queue")(queue)
    app.command("wait")(wait)
    app.command("cancel")(cancel)
    app.command("requeue")(requeue)


def complete_job(incomplete: str) -> list[str]:
    """Ids of jobs, for the shell's completion; none when no platform answers."""
    from forgelog.cli.complete import ids

    return ids("jobs", "job_id", incomplete)


JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=complete_job)]
JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.", autocompletion=complete_job)]
TasksOption = Annotated[str | None, typer.Option("--tasks", help="Only these tasks of an array, such as 0-3,7.")]


def ps(
    status: Annotated[list[str] | None, typer.Option("--status", "-s", help="Only these (repeatable).")] = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Ended jobs too.")] = False,
    queue_: Annotated[str, typer.Option("--queue", "-q", help="Only of this queue.")] = "",
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
    filters: dict[str, Any] = {"queue": queue_, "owner": owner, "name": name, "labels": pairs(label)}

    async def rows(client: AsyncClient) -> list[Record]:
        found = await client.jobs(status=status or (), at=moment(at), limit=limit, **filters)
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


def job_columns(now: datetime) -> list[Column]:
    return [
        column("Job", "job_id"),
        column("Name"),
        column("Status", style=True),
        Column("Tasks", lambda row: tally(row["tasks"]), right=True),
        column("Priority"),
        column("Node", "node_id"),
        Column("Exit", lambda row: row["exit_code"], right=True),
        age_column("Submitted", "submitted_at", now),
        Column("Ran", lambda row: ran(row, now), right=True),
        column("Reason"),
    ]


def tally(tasks: Mapping[str, int]) -> str:
    """``3/8`` done; empty for a job that is no array."""
    if tasks["total"] == 1:
        return ""
    text = f"{tasks['completed']}/{tasks['total']}"
    return text + (f" ({tasks['failed']} failed)" if tasks["failed"] else "")


def ran(row: Mapping[str, Any], now: datetime) -> str:
    """How long it has run, waits between attempts included."""
    if row["started_at"] is None:
        return ""
    return format_duration(((row["ended_at"] or now) - row["started_at"]).total_seconds())


async def _watch(client: AsyncClient, rows: Callable[[AsyncClient], Coroutine[Any, Any, Any]], output: Format) -> None:
    """Redraw the table (or print a line a change) whenever a job changes."""
    if output is not Format.TABLE or not is_terminal():
        async for job in client.watch_jobs():
            if output is Format.TABLE:
                write(f"{job.updated_at:%H:%M:%S}  {job.job_id}  {job.status:<10} {tally(job.tasks):<8} {job.name}\n")
            else:
                show_line(job)
        return
    from rich.live import Live

    with Live(auto_refresh=False, screen=False) as live:
        async for _ in client.watch_jobs():
            live.update(rich_table(await rows(client), job_columns(datetime.now(UTC))), refresh=True)


def show(job: JobArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a job: where it is, its tasks, every attempt, and why it waits or ended."""
    when = moment(at)

    async def work(client: AsyncClient) -> dict[str, Any]:
        found = await client.get(job, at=when)
        return {
            "job": found.job,
            "spec": found.spec,
            "tasks": await client.tasks(job, at=when, limit=None if output is not Format.TABLE else MOST_TASKS + 1),
            "attempts": await client.attempts(job, at=when),
            "why": (await client.why(job, at=when)) if found.job.status in ("queued", "pending") else None,
        }

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    _show_job(found, when or datetime.now(UTC))


def _show_job(found: Mapping[str, Any], now: datetime) -> None:
    job, spec = found["job"], found["spec"]
    resources = spec["resources"]
    counted = {name: number for name, number in job["tasks"].items() if number and name != "total"}
    show_fields(
        {
            "job": job["job_id"],
            "name": job["name"],
            "status": job["status"],
            "reason": job["reason"],
            "exit code": job["exit_code"],
            "command": " ".join([spec["command"], *spec["args"]]),
            "tasks": counted if job["tasks"]["total"] > 1 else None,
            "owner": job["owner"],
            "queue": job["queue"],
            "priority": job["priority"],
            "labels": job["labels"],
            "resources": f"{resources['cpus']:g} cpus, {format_bytes(resources['memory_bytes'])}"
            + (f", {resources['gpus']} gpus {resources['gpu_type']}".rstrip() if resources["gpus"] else ""),
            "submitted": f"{job['submitted_at'].astimezone():%Y-%m-%d %H:%M:%S} ({ago(job['submitted_at'], now)})",
            "started": job["started_at"],
            "ended": job["ended_at"],
            "ran": ran(job, now),
            "next try": job["not_before"],
            "waits": found["why"]["message"] if found["why"] else None,
        }
    )
    tasks = found["tasks"][:MOST_TASKS]
    if job["tasks"]["total"] > 1 or not found["attempts"]:
        write("\n")
        columns = [
            column("Task", right=True),
            column("Status", style=True),
            column("Attempt", right=True),
            column("Node", "node_id"),
            column("Exit", "exit_code", right=True),
            Column("CPU", lambda row: format_duration(row["cpu_seconds"]) if row["cpu_seconds"] else "", right=True),
            Column(
                "Memory", lambda row: format_bytes(row["max_rss_bytes"]) if row["max_rss_bytes"] else "", right=True
            ),
            column("Message"),
        ]
        show_rows(tasks, columns, Format.TABLE)
        if (more := job["tasks"]["total"] - len(tasks)) > 0:
            note(f"and {more} more tasks; --output json has them all")
    if found["attempts"]:
        write("\n")
        columns = [
            column("Task", right=True),
            column("Attempt", right=True),
            column("Node", "node_id"),
            column("Pid", right=True),
            column("Started", "started_at"),
            Column("Ran", lambda row: ran(row, now), right=True),
            Column("End", _end),
            column("Message"),
        ]
        show_rows(found["attempts"][-MOST_TASKS:], columns, Format.TABLE)


def _end(attempt: Mapping[str, Any]) -> str:
    if attempt["ended_at"] is None:
        return ""
    if attempt["signal"] is not None:
        return f"signal {attempt['signal']}"
    if attempt["exit_reason"] not in ("", "exited"):
        return str(attempt["exit_reason"]).replace("_", " ")
    return f"exit {attempt['exit_code']}"


def why(job: JobArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Say why a job waits: its place in the queue, and what each group of nodes lacks."""
    when = moment(at)

    async def work(client: AsyncClient) -> Any:
        await client.get(job, at=when)  # says so if there is no such job
        return await client.why(job, at=when)

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    write(found["message"] + "\n")
    for entry in found["entries"]:
        if entry["reasons"]:
            write("\n")
            columns = [
                column("Nodes", right=True),
                column("Of", "node_group"),
                column("Reason"),
                column("Detail"),
            ]
            show_rows(entry["reasons"], columns, Format.TABLE)
    if not found["entries"] and found["placements"]:
        write("\n")
        columns = [
            column("Tasks"),
            column("Attempt", right=True),
            column("Node", "node_id"),
            column("Status", style=True),
            Column("Waited", lambda row: format_duration(row["waited_seconds"]), right=True),
            column("Reason"),
        ]
        show_rows(found["placements"][:10], columns, Format.TABLE)


def queue(
    name: Annotated[str, typer.Argument(metavar="[QUEUE]", help="Only this queue.")] = "",
    policy: Annotated[str, typer.Option("--policy", help="Set its policy: fifo or priority.")] = "",
    status: Annotated[str, typer.Option("--status", help="Set it: active, paused, draining or closed.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Most entries shown.")] = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what waits, first to be placed first; or set a queue's policy or status."""
    if policy or status:
        if not name:
            raise InvalidInput("name the queue to change")
        outcome = with_client(lambda client: client.configure_queue(name, policy=policy, status=status))
        _done(outcome, f"queue {name}: {', '.join(filter(None, (policy, status)))}", output)
        return

    async def work(client: AsyncClient) -> Any:
        queues = [item for item in await client.queues(at=moment(at)) if name in ("", item.queue)]
        return {"queues": queues, "entries": await client.entries(name, at=moment(at), limit=limit)}

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    now = moment(at) or datetime.now(UTC)
    columns = [
        column("Queue"),
        column("Policy"),
        column("Status", style=True),
        column("Waiting jobs", right=True),
        column("Waiting tasks", right=True),
        column("Placed tasks", right=True),
    ]
    show_rows(found["queues"], columns, Format.TABLE, empty="no queue has had a job yet")
    if found["entries"]:
        write("\n")
        columns = [
            column("#", "position", right=True),
            column("Job", "job_id"),
            column("Name"),
            column("Priority"),
            column("Tasks", "task_count", right=True),
            column("Attempt", right=True),
            Column("Wants", lambda row: _wants(row["resources"])),
            age_column("Since", "queued_at", now),
            column("Why", "message"),
        ]
        show_rows(found["entries"], columns, Format.TABLE)


def _wants(resources: Mapping[str, Any]) -> str:
    text = f"{resources['cpus']:g} cpus, {format_bytes(resources['memory_bytes'])}"
    return text + (f", {resources['gpus']} gpus" if resources["gpus"] else "")


def wait(
    jobs: JobsArgument,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="DURATION", help="Give up after so long.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Wait until jobs have ended. Exits with the first exit code that is not 0."""
    seconds = duration(timeout, "--timeout")
    ended = with_client(lambda client: client.wait(jobs, timeout=seconds))
    show_rows(ended, job_columns(datetime.now(UTC)), output)
    code = next((job.exit_code for job in ended if job.exit_code), 0)
    if code:
        raise typer.Exit(code)


def cancel(
    jobs: JobsArgument,
    tasks: TasksOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    wait_: Annotated[bool, typer.Option("--wait", help="Return when they have ended.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop jobs: waiting tasks never start, running ones get TERM and, after the job's grace, KILL."""

    async def work(client: AsyncClient) -> list[Record]:
        outcomes = [await client.cancel(job, tasks=tasks, reason=reason) for job in jobs]
        if wait_ and tasks is None:
            await client.wait(jobs)
        return outcomes

    _each(with_client(work), jobs, "cancelled", "had ended already", output)


def requeue(jobs: JobsArgument, tasks: TasksOption = None, output: OutputOption = Format.TABLE) -> None:
    """Run the failed and cancelled tasks of ended jobs again, as new attempts."""

    async def work(client: AsyncClient) -> list[Record]:
        return [await client.requeue(job, tasks=tasks) for job in jobs]

    _each(with_client(work), jobs, "is queued again", "has nothing to run again", output)


def _each(outcomes: list[Record], jobs: list[str], done: str, unchanged: str, output: Format) -> None:
    if output is not Format.TABLE:
        show_data(outcomes, output)
        return
    for job, outcome in zip(jobs, outcomes, strict=True):
        note(f"{job} {unchanged if outcome.result == 'unchanged' else done}")


def _done(outcome: Record, text: str, output: Format) -> None:
    if output is not Format.TABLE:
        show_data(outcome, output)
    else:
        note("nothing to change: it was so already" if outcome.result == "unchanged" else text)
