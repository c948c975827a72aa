"""`runs`: the runs of experiments."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import captures, complete, results, run_plots, seals, syncing
from forgelog.cli.artifacts import show_fetched, show_listed
from forgelog.cli.common import AtOption, ForceOption, IntoOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.nodes import pairs
from forgelog.cli.progress import Progress
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    print_table,
    show_data,
    show_done,
    show_fields,
    show_rows,
    write,
)
from forgelog.cli.selecting import experiment_id
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

app = typer.Typer(
    no_args_is_help=True, help="Show runs of experiments and their files; create one, log to it, end or delete it."
)

STATUSES = ("scheduled", "running", "finished", "failed", "killed")
ENDS = ("finished", "failed", "killed")

IdArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
ParamOption = Annotated[list[str] | None, typer.Option("--param", "-p", help="key=value (repeatable).")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="key=value (repeatable).")]


CHECKS = (
    column("Check", "name"),
    Column("Of", lambda row: row["metric"] or row["column"]),
    Column("Result", lambda row: "passed" if row["passed"] else "failed", style=True),
    column("Finding"),
)
"""How a run does by its experiment's practices."""


def columns(now: datetime) -> list[Any]:
    return [
        column("Run", "run_id"),
        column("#", "number", right=True, rank=3),
        column("Name", least=8),
        column("Status", style=True),
        column("Experiment", "experiment_id", rank=4),
        column("Job", "job_id", rank=5),
        age_column("Began", "started_at", now, rank=2),
        column("Why", "reason", rank=1, least=16),
    ]


@app.command("list")
def show_list(
    experiment: Annotated[
        list[str] | None, typer.Option("--experiment", "-e", help="Only of this one: its name or its id (repeatable).")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    job: Annotated[str, typer.Option("--job", help="Only those that are processes of this job.")] = "",
    param: ParamOption = None,
    tag: TagOption = None,
    filter: Annotated[
        str,
        typer.Option(
            "--filter", "-f", help="Such as \"params.depth = '3' and (tags.team = 'a' or status = 'failed')\"."
        ),
    ] = "",
    visible_to: Annotated[
        str, typer.Option("--visible-to", help="Only those of experiments that this user finds.")
    ] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List runs, those that began last first."""
    moved = moment(at)
    filters: dict[str, Any] = {"status": status or (), "name": name, "job": job, "filter": filter}
    filters["visible_to"] = visible_to

    async def work(client: AsyncClient) -> Any:
        ids = [await experiment_id(client, each, moved) for each in experiment or ()]
        return await client.runs.list(
            experiments=ids,
            params=pairs(param, "--param"),
            tags=pairs(tag, "--tag"),
            deleted=deleted,
            limit=limit,
            at=moved,
            **filters,
        )

    rows = with_client(work)
    show_rows(rows, columns(moved or datetime.now(UTC)), output, empty="there are no such runs")


OF_A_JOB = ("task", "attempt", "cpu_seconds", "wall_seconds", "gpu_seconds")
"""What is only known of a run that is a process of a job."""


MEASURED = [
    column("Metric", "key"),
    column("Model", "model_id", rank=1),
    column("Dataset", "dataset"),
    column("Value", right=True),
    column("Step", right=True),
]
"""Metrics that are of a model or a dataset, as MLflow's autologging tells them, and not the run's own."""


@app.command("show")
def show(id: IdArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a run with its parameters, tags and metrics."""
    moved = moment(at)

    async def work(client: AsyncClient) -> tuple[Any, list[Any]]:
        found = await client.runs.get(id, at=moved)
        if output is not Format.TABLE:
            return found, []
        series = await client.runs.metrics([id], at=moved)
        return found, [each for each in series if each.model_id or each.dataset]

    found, measured = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    checks: list[Any] = found.pop("checks")
    hidden = () if found.job_id else OF_A_JOB
    fields = {name: each for name, each in found.items() if name not in hidden}
    if found.inputs:
        fields["inputs"] = [_input(each) for each in found.inputs]
    show_fields(fields, title=id)
    if measured:
        write("\n")
        print_table(measured, MEASURED)
    if checks:
        write("\n")
        print_table(checks, CHECKS)


def _input(each: Any) -> str:
    """A dataset that a run reads, in a line: ``mnist@2 (training) team=vision``."""
    role = f" ({each.role})" if each.role else ""
    return f"{each.name}@{each.digest}{role}{''.join(f' {key}={tag}' for key, tag in sorted(each.tags.items()))}"


@app.command("create")
def create(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its name; made if there is none.")],
    name: Annotated[str, typer.Option("--name", help="The run's name.")] = "",
    param: ParamOption = None,
    tag: TagOption = None,
) -> None:
    """Begin a run, and print its id."""
    fields: dict[str, Any] = {"name": name, "params": pairs(param, "--param"), "tags": pairs(tag, "--tag")}
    write(with_client(lambda client: client.runs.create(experiment, **fields)) + "\n")


@app.command("log")
def log(
    id: IdArgument,
    param: ParamOption = None,
    tag: TagOption = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="key=number (repeatable).")] = None,
    step: Annotated[int, typer.Option("--step", help="Of the metrics.")] = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Give a run parameters, tags and metrics. A parameter keeps its first value."""
    metrics = {key: _number(key, value) for key, value in pairs(metric, "--metric").items()}

    async def work(client: AsyncClient) -> Answer | None:
        if metrics:
            await client.runs.log_metrics(id, metrics, step=step)
        if metrics and not param and not tag:
            return None
        return await client.runs.log(id, params=pairs(param, "--param"), tags={**pairs(tag, "--tag")})

    outcome = with_client(work)
    if outcome is None:
        note(f"run {id} has them")
    else:
        show_done(outcome, f"run {id} has them", output)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"--metric {key}: {text!r} is no number") from None


PathArgument = Annotated[str, typer.Argument(metavar="[PATH]", help="A file or a folder of the run [default: all].")]


@app.command("artifacts")
def show_artifacts(
    id: IdArgument,
    path: PathArgument = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All files in it, at any depth.")] = False,
    limit: LimitOption = 1_000,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the files and folders in a folder of a run."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.runs.artifacts(id, path.rstrip("/"), recursive=recursive, at=moved, limit=limit)
    )
    show_listed(rows, moved, output, empty=f"run {id} has no files{f' in {path}' if path else ''}")


@app.command("log-artifact")
def log_artifact(
    id: IdArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file, or a folder with all its files.")],
    folder: Annotated[str, typer.Option("--folder", metavar="PATH", help="Into this folder of the run.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Log a file, or a folder with all its files, as artifacts of a run."""

    async def work(client: AsyncClient) -> int:
        with Progress("log-artifact:", output, bytes=True) as bar:
            return await client.runs.log_artifact(id, file, folder=folder.strip("/"), progress=bar.at)

    count = with_client(work)
    if output is not Format.TABLE:
        show_data({"files": count}, output)
    else:
        note(f"run {id} has {count} file{'' if count == 1 else 's'} of {file}")


@app.command("remove-artifact")
def remove_artifact(
    id: IdArgument,
    path: Annotated[list[str], typer.Argument(metavar="PATH", help="A file or a folder of the run (repeatable).")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Take files out of a run; the history keeps them."""
    show_done(with_client(lambda client: client.runs.remove_artifacts(id, path)), f"run {id} has them no more", output)


@app.command("download")
def download(
    id: IdArgument,
    path: PathArgument = "",
    into: IntoOption = Path(),
    force: ForceOption = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch files of a run, with the paths that they have there."""
    show_fetched(
        lambda client, progress: client.runs.download_artifacts(
            id, path.rstrip("/"), into=into, force=force, at=moment(at), progress=progress
        ),
        into,
        output,
    )


@app.command("end")
def end(
    id: IdArgument,
    status: Annotated[
        str, typer.Option("--status", help=f"{', '.join(ENDS)}.", autocompletion=complete.words(ENDS))
    ] = "finished",
    reason: Annotated[str, typer.Option("--reason", help="Why; shown beside the status.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say how a run ended."""
    show_done(with_client(lambda client: client.runs.end(id, status, reason=reason)), f"run {id} is {status}", output)


@app.command("stop")
def stop(
    id: IdArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown beside the status.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Cancel the job that a run is; one that waits to be launched ends at once."""
    show_done(with_client(lambda client: client.runs.stop(id, reason=reason)), f"run {id} is stopped", output)


@app.command("resume")
def resume(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Go on with a run that has ended."""
    show_done(with_client(lambda client: client.runs.resume(id)), f"run {id} goes on", output)


@app.command("delete")
def delete(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a run out of the lists; it can be restored."""
    show_done(with_client(lambda client: client.runs.delete(id)), f"run {id} is deleted", output)


@app.command("restore")
def restore(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Bring a deleted run back."""
    show_done(with_client(lambda client: client.runs.restore(id)), f"run {id} is back", output)


app.command("curves")(run_plots.curves)
app.command("plot")(run_plots.plot)
app.command("capture")(captures.show)
app.command("verify")(seals.verify)
app.command("results")(results.show)
app.command("best-checkpoint")(results.best_checkpoint)
app.command("sync")(syncing.sync)

COMMANDS = {"runs": app}
