"""`logged-models`: models that runs made, before they have a name and versions in the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.artifacts import show_fetched, show_listed
from forgelog.cli.common import AtOption, ForceOption, IntoOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.render import Column, Format, age_column, column, show_data, show_done, show_fields, show_rows
from forgelog.cli.selecting import experiment_id

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

app = typer.Typer(
    no_args_is_help=True, help="Show models that runs have logged, and their files; delete one, or bring it back."
)

IdArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The logged model's id.")]
PathArgument = Annotated[str, typer.Argument(metavar="[PATH]", help="A file or a folder of the model [default: all].")]


@app.command("list")
def show_list(
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="Such as \"name = 'digits' and metrics.accuracy > 0.9\".")
    ] = "",
    experiment: Annotated[
        list[str] | None, typer.Option("--experiment", "-e", help="Only of this one: its name or its id (repeatable).")
    ] = None,
    order_by: Annotated[
        list[str] | None, typer.Option("--order-by", help='Such as "metrics.accuracy desc" (repeatable).')
    ] = None,
    visible_to: Annotated[
        str, typer.Option("--visible-to", help="Only those of experiments that this user finds.")
    ] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List logged models, newest first."""
    moved = moment(at)
    wanted: dict[str, Any] = {"order_by": order_by or (), "visible_to": visible_to, "deleted": deleted}

    async def work(client: AsyncClient) -> Any:
        ids = [await experiment_id(client, each, moved) for each in experiment or ()]
        return await client.logged_models.search(filter, experiments=ids, at=moved, limit=limit, **wanted)

    rows = with_client(work)
    columns = [
        column("Model", "model_id"),
        column("Name", least=8),
        column("Status", style=True),
        Column("Metrics", lambda row: _metrics(row["metrics"]), rank=1, least=12),
        column("Run", "source_run_id", rank=3),
        column("Experiment", "experiment_id", rank=4),
        age_column("Logged", "created_at", moved or datetime.now(UTC), rank=2),
    ]
    show_rows(rows, columns, output, empty="there are no such logged models")


@app.command("show")
def show(id: IdArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a logged model with its parameters, tags and metrics."""
    found = with_client(lambda client: client.logged_models.get(id, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    fields = {**found, "metrics": {_name(each): each["value"] for each in found.metrics}}
    show_fields(fields, title=id)


@app.command("files")
def show_files(
    id: IdArgument,
    path: PathArgument = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All files in it, at any depth.")] = False,
    limit: LimitOption = 1_000,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the files and folders in a folder of a logged model."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.logged_models.files(id, path.rstrip("/"), recursive=recursive, at=moved, limit=limit)
    )
    show_listed(rows, moved, output, empty=f"logged model {id} has no files{f' in {path}' if path else ''}")


@app.command("download")
def download(
    id: IdArgument,
    path: PathArgument = "",
    into: IntoOption = Path(),
    force: ForceOption = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch files of a logged model, with the paths that they have there."""
    show_fetched(
        lambda client, progress: client.logged_models.download(
            id, path.rstrip("/"), into=into, force=force, at=moment(at), progress=progress
        ),
        into,
        output,
    )


@app.command("delete")
def delete(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a logged model out of the lists; it can be restored."""
    show_done(with_client(lambda client: client.logged_models.delete(id)), f"logged model {id} is deleted", output)


@app.command("restore")
def restore(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Bring a deleted logged model back."""
    show_done(with_client(lambda client: client.logged_models.restore(id)), f"logged model {id} is back", output)


def _name(metric: Any) -> str:
    return f"{metric['key']} ({metric['dataset']})" if metric["dataset"] else str(metric["key"])


def _metrics(metrics: list[Any]) -> str:
    return ", ".join(f"{_name(each)}: {each['value']:.4g}" for each in metrics)


COMMANDS = {"logged-models": app}
