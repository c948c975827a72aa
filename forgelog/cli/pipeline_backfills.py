"""`pipeline backfill` and `pipeline misses`: runs for the past, and promises that were not kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, ReasonOption, before, moment, with_client
from forgelog.cli.nodes import pairs
from forgelog.cli.pipeline_plans import show_backfill_plan
from forgelog.cli.pipeline_runs import NameArgument
from forgelog.cli.render import Format, age_column, column, note, show_data, show_done, show_rows

app = typer.Typer(no_args_is_help=True, help="Run a pipeline for intervals that are over.")

RERUNS = ("missing", "failed", "all")
STATUSES = ("running", "completed", "cancelled")
KINDS = ("start_within", "finish_within", "finish_by")

OptionalName = Annotated[
    str, typer.Argument(metavar="[NAME]", help="A pipeline; left out: all.", autocompletion=complete.pipelines)
]


@app.command("start")
def start(
    name: NameArgument,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="The first interval begins then, or later.")],
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="The last one ends then, or earlier [default: now].")
    ] = None,
    parallel: Annotated[int, typer.Option("--parallel", "-j", min=1, max=1000, help="Runs at a time.")] = 1,
    rerun: Annotated[
        str,
        typer.Option(
            "--rerun",
            help="missing: intervals without a run; failed: those too that were not completed; all.",
            autocompletion=complete.words(RERUNS),
        ),
    ] = "missing",
    parameter: Annotated[list[str] | None, typer.Option("--param", "-p", help="NAME=value (repeatable).")] = None,
    message: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which intervals would be run; do nothing.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a pipeline for the intervals of its schedule in a stretch of time, oldest first."""
    begin, end = moment(since, "--from"), moment(until, "--to") or datetime.now(UTC)
    assert begin is not None, "--from has no default"
    before(begin, end)
    given = pairs(parameter, "--param")
    if dry_run:
        show_backfill_plan(name, begin, end, rerun, given, output)
        return
    number = with_client(
        lambda client: client.backfills.start(
            name, begin, end, max_parallel=parallel, rerun=rerun, parameters=given, note=message
        )
    )
    if output is not Format.TABLE:
        show_data({"pipeline": name, "number": number}, output)
        return
    note(f"backfill {number} of {name} has begun; forgelog pipeline backfill list {name} shows how far it is")


@app.command("cancel")
def cancel(
    name: NameArgument,
    number: Annotated[int, typer.Argument(min=1, help="The backfill's number.")],
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Start no further run of a backfill, and cancel its runs."""
    outcome = with_client(lambda client: client.backfills.cancel(name, number, reason=reason))
    show_done(outcome, f"backfill {number} of {name} is cancelled", output)


@app.command("list")
def show_list(
    name: OptionalName = "",
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List backfills, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.backfills.list(name, status=status or (), at=moved, limit=limit))
    columns = [
        *([] if name else [column("Pipeline", "pipeline_id", least=8)]),
        column("#", "number", right=True),
        column("Status", style=True),
        column("From", "range_start", rank=2),
        column("To", "range_end", rank=2),
        column("Up to", "cursor", rank=1),
        column("Intervals", right=True),
        column("Runs", right=True),
        column("Passed", "passed", right=True, rank=1),
        column("Why", "reason", rank=3, least=12),
        age_column("Begun", "started_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="there are no backfills")


def misses(
    name: OptionalName = "",
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"{', '.join(KINDS)}.", autocompletion=complete.words(KINDS)),
    ] = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List promises in time (SLA) that were not kept, newest first."""
    moved = moment(at)
    rows: list[Any] = with_client(lambda client: client.backfills.misses(name, kind=kind or (), at=moved, limit=limit))
    columns = [
        *([] if name else [column("Pipeline", "pipeline_id", least=8)]),
        column("Promise", "kind"),
        column("Run", "run_id"),
        column("Tick", "tick", rank=2),
        column("Was due", "deadline"),
        age_column("Missed", "missed_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="every promise was kept")


def add_to(pipeline: typer.Typer) -> None:
    """Its commands, beside the others of `pipeline`."""
    pipeline.add_typer(app, name="backfill")
    pipeline.command("misses")(misses)
