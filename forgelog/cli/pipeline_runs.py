"""`pipeline run` and its kin: runs of pipelines, their stages and logs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, ReasonOption, before, moment, with_client
from forgelog.cli.nodes import pairs
from forgelog.cli.pipeline_failures import told_failures
from forgelog.cli.pipeline_plans import show_plan
from forgelog.cli.pipeline_samples import MOST_ROWS, ROWS, Asked, show_sample
from forgelog.cli.pipeline_waits import told_wait, told_watcher, told_windows
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    plain,
    print_table,
    show_data,
    show_done,
    show_fields,
    show_rows,
    write,
)
from forgelog.client.statuses import PIPELINE_RUNS
from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.files import is_file

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The pipeline's name, or its id.", autocompletion=complete.pipelines)
]
NameOfRunArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Its name, or its id; sales/7 is run 7 of it.",
        autocompletion=complete.pipelines,
    ),
]
NumberArgument = Annotated[int, typer.Argument(metavar="RUN", min=1, help="The run's number.")]
OptionalNumber = Annotated[int, typer.Argument(metavar="[RUN]", min=0, help="The run's number [default: the newest].")]


def run(
    target: Annotated[str, typer.Argument(metavar="PIPELINE", help="A pipeline's name; or a file, which is defined.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of the run (repeatable).")
    ] = None,
    version: Annotated[int, typer.Option("--version", min=0, help="Which version [default: the newest].")] = 0,
    since: Annotated[str | None, typer.Option("--from", help="Begin of the stretch of time that it is about.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End of it.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Logs of stages say what is read and run.")] = False,
    message: Annotated[str, typer.Option("--note", help="What it is for; the run shows it.")] = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return at once.")] = False,
    stage: Annotated[
        str, typer.Option("--stage", metavar="STAGE", help="Try this stage here, on a sample; write nothing.")
    ] = "",
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=1, max=MOST_ROWS, help="Rows of each source [default: 20]."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a pipeline once, and wait until the run has ended; exit code 1 if it failed."""
    interval = _interval(since, until)
    given, file = pairs(parameter, "--parameter"), _file_of(target)
    if stage or dry_run:
        if useless := [name for name, said in (("--detach", detach), ("--note", message)) if said]:
            raise InvalidInput(f"{useless[0]} says nothing of what is not run; leave it out")
        if stage and dry_run:
            raise InvalidInput("--stage and --dry-run exclude each other; give one")
        rows = ROWS if sample is None else sample
        asked = Asked(target, file, stage, rows, given, version, interval, debug)
        (show_sample if stage else show_plan)(asked, output)
        return
    if sample is not None:
        raise InvalidInput("--sample is of --stage; say which stage is tried")

    async def work(client: AsyncClient) -> tuple[str, Any, list[Any]]:
        name = await _defined(client, target, file)
        number = await client.pipeline_runs.start(
            name, given, version=version, interval=interval, debug=debug, note=message, trigger="manual"
        )
        if detach:
            return name, await client.pipeline_runs.get(name, number), []
        if output is Format.TABLE:
            note(f"run {number} of {name}")
        row = await _ended(client, name, number, tell=output is Format.TABLE)
        return name, row, await _in_order(client, name, row)

    name, row, stages = with_client(work)
    if output is not Format.TABLE:
        show_data({**row, "stages": stages} if stages else row, output)
    elif detach:
        write(f"{row['number']}\n")
    else:
        print_table(stages, _STAGES)
        for line in told_failures(stages):
            note(line)
        note(told(name, row))
    if not detach and row["status"] != "completed":
        raise typer.Exit(1)


PATIENT_SECONDS = 10.0
"""Without a stage that has begun, before a run says what it waits for."""


async def _ended(client: AsyncClient, name: str, number: int, *, tell: bool) -> Any:
    """The run when it has ended. `tell`: whether to say what it waits for, if nothing of it begins."""
    waiting = asyncio.ensure_future(client.pipeline_runs.wait(name, number))
    try:
        done, _ = await asyncio.wait({waiting}, timeout=PATIENT_SECONDS)
        if tell and not done and (text := await _awaited(client, name, number)):
            note(text)
        return await waiting
    except asyncio.CancelledError:  # by Ctrl-C
        note(f"run {number} of {name} goes on; 'forgelog pipeline cancel {name} {number}' ends it")
        raise
    finally:
        waiting.cancel()


async def _awaited(client: AsyncClient, name: str, number: int) -> str:
    """What a run waits for of which no stage is under way; empty if it does not wait."""
    row = await client.pipeline_runs.get(name, number)
    return await told_wait(client, name, await client.pipelines.get(name), row)


async def _in_order(client: AsyncClient, name: str, row: Any) -> list[Any]:
    """The stages of a run that have begun, in the order in which the pipeline names them."""
    spec = (await client.pipelines.version(name, row.pipeline_version)).spec
    order = {each["id"]: place for place, each in enumerate(spec["stages"])}
    return sorted(await client.pipeline_runs.stages(name, row.number), key=lambda each: order.get(each["stage_id"], 0))


def _file_of(target: str) -> Path | None:
    """The file that is meant; None if it is a name. (No name has a dot or a slash; an id has a dot and no file.)"""
    path = Path(target)
    return path if is_file(target) or path.is_file() else None


async def _defined(client: AsyncClient, target: str, file: Path | None) -> str:
    """The pipeline that is named, or that a file defines."""
    if file is None:
        return target
    made = await client.pipelines.apply(file)
    if len(made) != 1:
        raise InvalidInput(f"{target} has {len(made)} pipelines; define them, and run one by its name")
    return str(made[0].pipeline_id)


def _interval(since: str | None, until: str | None) -> tuple[datetime, datetime] | None:
    if (since is None) is not (until is None):
        raise InvalidInput("--from and --to go together; give both")
    begin, end = moment(since, "--from"), moment(until, "--to")
    if begin is not None and end is not None:
        before(begin, end)
    return (begin, end) if begin is not None and end is not None else None


def told(name: str, row: Any) -> str:
    """``sales: run 3 completed in 4.2 s``"""
    took = f" in {time}" if (time := _took(row)) else ""
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{name}: run {row['number']} {row['status']}{took}{reason}"


def runs(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Of this pipeline.", autocompletion=complete.pipelines)
    ] = "",
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(PIPELINE_RUNS)}.", autocompletion=complete.words(PIPELINE_RUNS)),
    ] = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List runs, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipeline_runs.list(name, status=status or (), at=moved, limit=limit))
    columns = [
        *([] if name else [column("Pipeline", "pipeline_id")]),
        column("Run", "number", right=True),
        column("Status", style=True),
        column("Trigger", rank=2),
        Column("Stages", lambda row: f"{row['completed']}/{row['stages']}", right=True, rank=1),
        column("Rows", "rows_written", right=True, rank=3),
        Column("Took", _took, right=True, rank=2),
        column("Why", "reason", rank=1, least=12),
        age_column("Queued", "queued_at", moved or datetime.now(UTC), rank=3),
    ]
    show_rows(rows, columns, output, empty="there are no such runs")


def _took(row: Any) -> str:
    """How long a run or a stage has worked."""
    begun, ended = row["started_at"], row["ended_at"]
    return f"{(ended - begun).total_seconds():.3g} s" if begun is not None and ended is not None else ""


_STAGES = [
    column("Stage", "stage_id", least=8),
    column("Status", style=True),
    column("Attempt", right=True, rank=2),
    Column("Rows", lambda row: row["output"]["rows"] if row["output"] else "", right=True, rank=1),
    Column("Tasks", lambda row: f"{row['tasks_completed']}/{row['task_count']}" if row["task_count"] else "", rank=2),
    Column("Took", _took, right=True, rank=1),
    Column("Wrote", lambda row: f"{row['dataset_id']}/{row['dataset_version']}" if row["dataset_version"] else ""),
    Column(
        "Why", lambda row: f"result of {row['cached_from']}" if row["cached_from"] else row["reason"], rank=1, least=12
    ),
]


def status(
    name: NameOfRunArgument, number: OptionalNumber = 0, at: AtOption = None, output: OutputOption = Format.TABLE
) -> None:
    """Show a run with its stages, triggers that start no runs, and how far windows over event time are."""
    moved = moment(at)
    name, number = of_run(name, number)

    async def work(client: AsyncClient) -> tuple[Any, Any, list[Any], list[str], str]:
        pipeline = await client.pipelines.get(name, at=moved)
        pipeline["watcher_trouble"] = await told_watcher(client, name, pipeline, at=moved)
        if not number and not pipeline["runs"]:
            return pipeline, None, [], [], ""
        row = await client.pipeline_runs.get(name, number, at=moved)
        stages = await client.pipeline_runs.stages(name, row.number, at=moved)
        spec = (await client.pipelines.version(name, row.pipeline_version, at=moved)).spec
        why = row["reason"] or await told_wait(client, name, pipeline, row, at=moved)
        return pipeline, row, stages, [each["id"] for each in spec["stages"]], why

    pipeline, row, stages, known, why = with_client(work)
    troubles = _troubles(pipeline)
    of_pipeline = {name: pipeline[name] for name in ("trigger_troubles", "watcher_trouble", "stream_progress")}
    if row is None:
        if output is not Format.TABLE:
            show_data({**{name: pipeline[name] for name in ("status", "reason", "runs")}, **of_pipeline}, output)
            return
        show_fields(
            {"status": pipeline["status"], "why": pipeline["reason"], "runs": "none yet", "triggers": troubles},
            title=name,
        )
        return
    if output is not Format.TABLE:
        show_data({**row, "why": why, "stages": stages, **of_pipeline}, output)
        return
    seen = {each["stage_id"] for each in stages}
    order = {id: place for place, id in enumerate(known)}
    fields = {
        "status": row["status"],
        "why": why,
        "version": row["pipeline_version"],
        "trigger": f"{row['trigger']} {row['trigger_id']}".strip(),
        "parameters": row["parameters"],
        "interval": f"{plain(row['interval_start'])} to {plain(row['interval_end'])}" if row["interval_start"] else "",
        "read": row["inputs"],
        "wrote": row["outputs"],
        "waiting": [id for id in known if id not in seen],
        "note": row["note"],
        "triggers": troubles,
        "windows": told_windows(pipeline["stream_progress"]),
    }
    show_fields(fields, title=f"{name} run {row['number']}")
    if stages:
        write("\n")
        ordered = sorted(stages, key=lambda each: order.get(each["stage_id"], 0))
        print_table(ordered, _STAGES)
        if lines := told_failures(ordered):
            write("\n" + "\n".join(lines) + "\n")


def of_run(name: str, number: int) -> tuple[str, int]:
    """A pipeline's name and a run's number, which may stand as ``sales/7``, as in a lineage."""
    pipeline, _, digits = name.rpartition("/")
    return (pipeline, int(digits)) if pipeline and digits.isdecimal() and not number else (name, number)


def _troubles(pipeline: Any) -> list[str]:
    """Triggers that start no runs, and why."""
    told = [f"{each['trigger']} starts no runs: {each['reason']}" for each in pipeline["trigger_troubles"]]
    return told + ([pipeline["watcher_trouble"]] if pipeline["watcher_trouble"] else [])


def logs(
    name: NameOfRunArgument,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="The stage's id.")],
    number: Annotated[int, typer.Option("--run", min=0, help="The run's number [default: the newest].")] = 0,
) -> None:
    """Print what the last attempt of a stage has printed."""
    name, number = of_run(name, number)

    async def work(client: AsyncClient) -> None:
        printed = False
        async for text in client.pipeline_runs.logs(name, number, stage):
            printed = printed or bool(text)
            write(text)
        if not printed:
            note(f"{stage} has printed nothing")

    with_client(work)


def cancel(
    name: NameArgument, number: NumberArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE
) -> None:
    """End a run: what waits is skipped, what runs is stopped."""
    outcome = with_client(lambda client: client.pipeline_runs.cancel(name, number, reason=reason))
    show_done(outcome, f"run {number} of {name} is cancelled", output, f"run {number} of {name} had ended already")


def hold(
    name: NameArgument, number: NumberArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE
) -> None:
    """Let no further stage of a run begin until it is released."""
    outcome = with_client(lambda client: client.pipeline_runs.pause(name, number, reason=reason))
    show_done(outcome, f"run {number} of {name} is paused", output)


def release(name: NameArgument, number: NumberArgument, output: OutputOption = Format.TABLE) -> None:
    """Go on with a run that is held."""
    outcome = with_client(lambda client: client.pipeline_runs.resume(name, number))
    show_done(outcome, f"run {number} of {name} goes on", output)


def retry(name: NameArgument, number: NumberArgument, output: OutputOption = Format.TABLE) -> None:
    """Do again what failed of a run; what has completed is kept."""
    outcome = with_client(lambda client: client.pipeline_runs.retry(name, number))
    show_done(outcome, f"run {number} of {name} goes on", output)


def workers(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """List a pipeline's workers, newest first; those that have ended too."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipeline_runs.workers(name, at=moved))
    columns = [
        column("Job", "worker"),
        Column("Status", _worker_status, style=True),
        Column("Stage", lambda row: "(watches)" if row["watches"] else row["stage_id"], rank=2),
        column("Version", "pipeline_version", right=True, rank=2),
        column("Why", "reason", rank=1, least=24, wrap=True),
        age_column("Asked for", "requested_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="there are no workers")


def _worker_status(row: Any) -> str:
    if row["ended_at"] is not None:
        return "ended"
    if row["released_at"] is not None:
        return "released"
    return "ready" if row["ready"] else "starting"


def add_to(app: typer.Typer) -> None:
    """Give `forgelog pipeline` these commands."""
    for command in (run, runs, status, logs, cancel, hold, release, retry, workers):
        app.command(command.__name__)(command)
