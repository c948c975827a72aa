"""`pipeline`: data work in stages, its versions and runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import (
    complete,
    pipeline_backfills,
    pipeline_graphs,
    pipeline_lineage,
    pipeline_runs,
    pipeline_templates,
    pipeline_time,
)
from forgelog.cli.common import AtOption, LimitOption, OutputOption, ReasonOption, guarded, moment, with_client
from forgelog.cli.pipeline_graphs import needs_of
from forgelog.cli.pipeline_plans import show_activation
from forgelog.cli.pipeline_runs import NameArgument
from forgelog.cli.render import Format, age_column, column, note, show_data, show_done, show_fields, show_rows
from forgelog.client.statuses import PIPELINES

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

app = typer.Typer(no_args_is_help=True, help="Define pipelines, run them, and show their runs.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Pipelines of a manifest; - for stdin.")]


@app.command("validate")
def validate(file: FileArgument, output: OutputOption = Format.TABLE) -> None:
    """Say everything that is wrong with the pipelines of a file; send nothing."""

    def work() -> list[Any]:
        from forgelog.pipelines.declaring.files import described

        return described(file)

    from forgelog.pipelines.checking import can_check, remarks

    found = guarded(work)
    if output is not Format.TABLE:
        show_data([{"name": each.name, "spec": each.spec.model_dump(mode="json")} for each in found], output)
        return
    for each in found:
        count = len(each.spec.stages)
        note(f"{each.name}: {count} {'stage' if count == 1 else 'stages'}, no errors")
        if each.spec.schedule is not None:
            for line in pipeline_time.told_changes(each.spec.schedule, datetime.now(UTC)):
                note(f"  {line}", below="    ")
        for remark in remarks(each.spec):
            note(f"  {remark.field.removeprefix('spec.')} {remark.problem}; {remark.hint}", below="    ")
    if not can_check():
        note("their SQL was not read: pip install 'forgelog[pipelines]'")


@app.command("define")
def define(
    file: FileArgument,
    activate: Annotated[bool, typer.Option("--activate", help="Let them run by schedule and triggers too.")] = False,
    message: Annotated[str, typer.Option("--note", help="What is changed and why; the version shows it.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Make the pipelines of a file, or new versions of them."""

    async def work(client: AsyncClient) -> list[Any]:
        made = await client.pipelines.apply(file, note=message)
        rows = [await client.pipelines.get(each.pipeline_id) for each in made]
        if activate:
            for row in rows:
                if row.status == "draft":
                    await client.pipelines.activate(row.pipeline_id)
            rows = [await client.pipelines.get(each.pipeline_id) for each in made]
        return rows

    rows = with_client(work)
    if output is not Format.TABLE:
        show_data(rows, output)
        return
    for row in rows:
        note(f"{row['name']}: version {row['version']}, {row['status']}")


@app.command("activate")
def activate(
    name: NameArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would start runs; do nothing.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let a pipeline run by its schedule and triggers."""
    if dry_run:
        show_activation(name, output)
        return
    outcome = with_client(lambda client: client.pipelines.activate(name))
    show_done(outcome, f"pipeline {name} is active", output)


@app.command("pause")
def pause(name: NameArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """Start none of a pipeline's runs until it is resumed."""
    outcome = with_client(lambda client: client.pipelines.pause(name, reason=reason))
    show_done(outcome, f"pipeline {name} is paused", output)


@app.command("resume")
def resume(name: NameArgument, output: OutputOption = Format.TABLE) -> None:
    """Go on with a paused pipeline."""
    outcome = with_client(lambda client: client.pipelines.resume(name))
    show_done(outcome, f"pipeline {name} is active", output)


@app.command("retire")
def retire(name: NameArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """End a pipeline; its history stays, its name is free."""
    outcome = with_client(lambda client: client.pipelines.retire(name, reason=reason))
    show_done(outcome, f"pipeline {name} is retired", output)


@app.command("ls")
def ls(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(PIPELINES)}.", autocompletion=complete.words(PIPELINES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only those with this tag.")] = "",
    template: Annotated[str, typer.Option("--template", help="Only those that were made of this template.")] = "",
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List pipelines, newest first; retired ones with --status cancelled."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.pipelines.list(
            status=status or (), name=name, tag=tag, template=template, at=moved, limit=limit
        )
    )
    columns = [
        column("Name", least=8),
        column("Status", style=True),
        column("Version", right=True),
        column("Stages", right=True, rank=1),
        column("By", "owner", rank=3),
        column("Why", "reason", rank=2, least=12),
        age_column("Changed", "updated_at", moved or datetime.now(UTC), rank=2),
    ]
    show_rows(rows, columns, output, empty="there are no such pipelines")


@app.command("versions")
def versions(
    name: NameArgument, limit: LimitOption = 50, at: AtOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List a pipeline's versions, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipelines.versions(name, at=moved, limit=limit))
    columns = [
        column("#", "version", right=True),
        column("By", "author", rank=1),
        column("Copy of", "parent", rank=3),
        column("Note", rank=2, least=8),
        age_column("Made", "defined_at", moved or datetime.now(UTC)),
    ]
    show_rows(rows, columns, output, empty="there are no versions")


@app.command("show")
def show(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a pipeline and its stages."""
    found = with_client(lambda client: client.pipelines.get(name, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    spec = found["spec"]
    fields = {
        "status": found["status"],
        "why": found["reason"],
        "version": found["version"],
        "note": found["note"],
        "description": spec["description"],
        "tags": spec["tags"],
        "copy of": found["parent"],
        "made of": _template_text(found["template"]),
        "stages": [_stage_text(stage) for stage in spec["stages"]],
        "troubles": [f"{each['trigger']}: {each['reason']}" for each in found["trigger_troubles"]],
        "owner": found["owner"],
        "project": found["project"],
    }
    show_fields(fields, title=found["name"])


def _template_text(template: Any) -> str:
    """``template csv-in, revision 2``"""
    return "" if template is None else f"template {template['template_id']}, revision {template['revision']}"


def _stage_text(stage: Any) -> str:
    """``report: after load, check``"""
    needs = needs_of(stage)
    return f"{stage['id']}: after {', '.join(needs)}" if needs else str(stage["id"])


_MORE = (
    pipeline_runs,
    pipeline_backfills,
    pipeline_graphs,
    pipeline_lineage,
    pipeline_templates,
    pipeline_time,
)
for more in _MORE:
    more.add_to(app)

COMMANDS = {"pipeline": app}
