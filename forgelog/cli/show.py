"""`show` and `why`: the details of one job, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.jobs import JobArgument, ran
from forgelog.cli.render import Column, Format, column, note, show_data, show_fields, show_rows, write
from forgelog.cli.services import describe_service, ports_text
from forgelog.cli.tables import cut
from forgelog.errors import NotFound
from forgelog.times import ago
from forgelog.units import format_bytes, format_duration

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

MOST_TASKS = 50
"""Most tasks that `show` lists without --all."""
ORDER = ("failed", "cancelled", "running", "starting", "scheduled", "queued", "pending", "completed")
"""The order of tasks by status: those that need attention first."""


def show(
    job: JobArgument,
    all_: Annotated[bool, typer.Option("--all", "-a", help=f"Every task, not only {MOST_TASKS}.")] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a job: its status, its spec, its tasks (failed ones first), its attempts, and why it waits or ended."""
    when = moment(at)

    async def work(client: AsyncClient) -> dict[str, Any]:
        id = await client.jobs.find(job, at=when)
        found = await client.jobs.get(id, at=when)
        whole = all_ or output is not Format.TABLE
        return {
            "job": found.job,
            "spec": found.spec,
            "dependencies": await client.jobs.dependencies(found, at=when),
            "tasks": await client.jobs.tasks(id, at=when) if whole else await _first_tasks(client, found.job, when),
            "attempts": await client.jobs.attempts(id, at=when),
            "outputs": await client.jobs.outputs(id, at=when) if found.spec.keep else [],
            "why": (await client.jobs.why(id, at=when)) if found.job.status in ("queued", "pending") else None,
        }

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    _show_job(found, when or datetime.now(UTC))


async def _first_tasks(client: AsyncClient, job: Answer, at: datetime | None) -> list[Answer]:
    """The first `MOST_TASKS` tasks in that order. Queries only statuses that some task has."""
    tasks: list[Answer] = []
    for status in ORDER:
        if job.tasks.get(status) and len(tasks) < MOST_TASKS:
            tasks += await client.jobs.tasks(job.job_id, status=(status,), at=at, limit=MOST_TASKS - len(tasks))
    return tasks


def _folder(environment: Mapping[str, Any]) -> str:
    if bundle := environment.get("bundle"):
        return f"a copy of the uploaded {bundle['digest'][:12]}"
    return environment["working_directory"] or "a fresh one on the node"


def _show_job(found: Mapping[str, Any], now: datetime) -> None:
    job, spec = found["job"], found["spec"]
    counted = {name: number for name, number in job["tasks"].items() if number and name not in ("total", "ready")}
    service = spec["service"]
    show_fields(
        {
            "job": job["job_id"],
            "name": job["name"],
            "status": job["status"],
            "reason": job["reason"],
            "exit code": job["exit_code"],
            "command": " ".join([spec["command"], *spec["args"]]),
            "folder": _folder(spec["environment"]),
            "keeps": list(spec["keep"]),
            "environment": [f"{name}={cut(value, 60)}" for name, value in spec["environment"]["variables"].items()],
            "secrets": [item["name"] for item in spec["environment"]["secrets"]],
            "tasks": counted if job["tasks"]["total"] > 1 else None,
            "ready": f"{job['tasks']['ready']} of {job['tasks']['total']}" if service and not job["ended_at"] else None,
            **(describe_service(service) if service else {}),
            "owner": job["owner"],
            "queue": job["queue"],
            "priority": job["priority"],
            "labels": job["labels"],
            "depends on": [_dependency(item) for item in found["dependencies"]],
            "resources": wants(spec["resources"]) + (" for each task" if job["tasks"]["total"] > 1 else ""),
            "limits": _limits(spec),
            "restarts": _restarts(spec["scheduling"]["restart"]),
            "submitted": f"{job['submitted_at'].astimezone():%Y-%m-%d %H:%M:%S} ({ago(job['submitted_at'], now)})",
            "started": job["started_at"],
            "ended": job["ended_at"],
            "ran": ran(job, now),
            "next try": job["not_before"],
            "waits": found["why"]["message"] if found["why"] and not job["waits_for"] else None,
        }
    )
    tasks = sorted(found["tasks"], key=lambda row: (ORDER.index(row["status"]), row["task"]))
    if job["tasks"]["total"] > 1 or not found["attempts"] or service:
        write("\n")
        show_rows(tasks, [*TASK_COLUMNS, *(SERVICE_COLUMNS if service else ())], Format.TABLE)
        if (more := job["tasks"]["total"] - len(tasks)) > 0:
            note(f"and {more} more tasks; --all shows every one")
    shown = {row["task"] for row in tasks}
    attempts = [row for row in found["attempts"] if row["task"] in shown]
    if attempts:
        write("\n")
        show_rows(attempts, attempt_columns(now), Format.TABLE)
    if kept := [row for row in found["outputs"] if row["task"] in shown]:
        write("\n")
        show_rows(kept, OUTPUT_COLUMNS, Format.TABLE)
    for row in attempts:
        if lost := row["output_missing_bytes"]:
            note(f"task {row['task']}, attempt {row['attempt']}: {lost} bytes of its output are not kept")


TASK_COLUMNS = [
    column("Task", right=True),
    column("Status", style=True),
    column("Attempt", right=True, rank=3),
    column("Node", "node_id", rank=4),
    column("Exit", "exit_code", right=True, rank=2),
    Column("CPU", lambda row: format_duration(row["cpu_seconds"]) if row["cpu_seconds"] else "", right=True, rank=6),
    Column(
        "Memory", lambda row: format_bytes(row["max_rss_bytes"]) if row["max_rss_bytes"] else "", right=True, rank=5
    ),
    column("Message", rank=1, least=16),
]


SERVICE_COLUMNS = [
    Column("Ready", lambda row: "" if row["ready"] is None else "yes" if row["ready"] else "no"),
    Column("Ports", lambda row: ports_text(row["address"], row["ports"])),
    column("Why not", "unready_reason", rank=1, least=16),
]


def attempt_columns(now: datetime) -> list[Column]:
    return [
        column("Task", right=True),
        column("Attempt", right=True),
        column("Node", "node_id", rank=3),
        column("Pid", right=True, rank=6),
        column("Started", "started_at", rank=5),
        Column("Ran", lambda row: ran(row, now), right=True, rank=4),
        Column("End", _end, rank=2),
        column("Message", rank=1, least=16),
    ]


OUTPUT_COLUMNS = [
    column("Task", right=True),
    column("Attempt", right=True),
    column("Files kept", "files", right=True),
    Column("Size", lambda row: format_bytes(row["total_bytes"]), right=True),
    Column("Left out", lambda row: row["left_out"] or "", right=True, rank=2),
    column("Message", rank=1, least=16, wrap=True),
]


def _dependency(item: Mapping[str, Any]) -> str:
    """``after_ok j1 (prepare, running)``."""
    about = ", ".join(filter(None, (item["name"], item["status"])))
    return f"{item['kind']} {item['job_id']} ({about})"


def _limits(spec: Mapping[str, Any]) -> str:
    scheduling = spec["scheduling"]
    longest = scheduling["max_runtime_seconds"]
    limits = [f"runs at most {format_duration(longest)}"] if longest is not None else []
    if spec["array"] and spec["array"]["max_parallel"]:
        limits.append(f"{spec['array']['max_parallel']} tasks at once")
    return ", ".join([*limits, f"{format_duration(scheduling['grace_seconds'])} from TERM to KILL"])


def _restarts(policy: Mapping[str, Any]) -> str | None:
    if policy["mode"] == "never":
        return None
    when = "after a failure" if policy["mode"] == "on_failure" else "after every end"
    first, most = policy["backoff_seconds"], policy["max_backoff_seconds"]
    pause = f"after {format_duration(first)}, doubled up to {format_duration(most)}"
    most = "any number" if policy["max_restarts"] is None else f"{policy['max_restarts']} at most"
    return f"{when}, {most}, {pause}"


def wants(resources: Mapping[str, Any]) -> str:
    """``2 cpus, 4Gi, 1 gpu``."""
    cpus, gpus = resources["cpus"], resources["gpus"]
    text = f"{cpus:g} cpu{'' if cpus == 1 else 's'}, {format_bytes(resources['memory_bytes'])}"
    return text + (f", {gpus} gpu{'' if gpus == 1 else 's'} {resources['gpu_type']}".rstrip() if gpus else "")


def _end(attempt: Mapping[str, Any]) -> str:
    if attempt["ended_at"] is None:
        return ""
    if attempt["signal"] is not None and attempt["exit_reason"] in ("", "exited"):
        return f"signal {attempt['signal']}"
    if attempt["exit_reason"] not in ("", "exited"):
        return str(attempt["exit_reason"]).replace("_", " ")
    return f"exit {attempt['exit_code']}"


def why(job: JobArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Say why a job waits: its place in the queue and what each group of nodes lacks, or the jobs it depends on.

    Of a deployment: why it has so many replicas, why its last rollout went as it did, and which alerts fire.
    """
    when = moment(at)

    async def work(client: AsyncClient) -> Any:
        try:
            return await client.jobs.why(await client.jobs.find(job, at=when), at=when)
        except NotFound as no_job:
            from forgelog.cli.scaling import reasons

            try:
                return await reasons(client, job, when)
            except NotFound:
                raise no_job from None

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    if "deployment_id" in found:
        from forgelog.cli.scaling import show_reasons

        show_reasons(found)
        return
    write(found["message"] + "\n")
    for entry in found["entries"]:
        if entry["reasons"]:
            write("\n")
            show_rows(entry["reasons"], REASON_COLUMNS, Format.TABLE)
    if found["dependencies"]:
        write("\n")
        show_rows(found["dependencies"], DEPENDENCY_COLUMNS, Format.TABLE)
    elif not found["entries"] and found["placements"]:
        write("\n")
        show_rows(found["placements"][:10], PLACEMENT_COLUMNS, Format.TABLE)


REASON_COLUMNS = [
    column("Nodes", right=True),
    column("Of", "node_group", rank=2, least=12),
    column("Reason", least=16, wrap=True),
    column("Detail", rank=1, least=16, wrap=True),
]
DEPENDENCY_COLUMNS = [
    column("Waits", "kind"),
    column("Job", "job_id"),
    column("Name", rank=1, least=8),
    column("Status", style=True),
    column("Met", rank=2),
]
PLACEMENT_COLUMNS = [
    column("Tasks", rank=1, least=6),
    column("Attempt", right=True, rank=3),
    column("Node", "node_id"),
    column("Status", style=True),
    Column("Waited", lambda row: format_duration(row["waited_seconds"]), right=True, rank=4),
    column("Reason", rank=2, least=16),
]


COMMANDS = {"show": show, "why": why}
