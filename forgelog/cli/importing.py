"""`import`: brings runs and models of other trackers into the platform."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, with_client
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, note, show_data, write
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from forgelog.client.aio import AsyncClient
    from forgelog.importing.source import Source
    from forgelog.importing.work import Plan, Report

app = typer.Typer(no_args_is_help=True, help="Bring runs, metrics, files and models of other trackers here.")

INCOMPLETE = 1
"""Exit code when something is not imported."""
_SHOWN = 50
"""Most troubles that are shown; JSON has all."""

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be imported.")]


@app.command("mlflow")
def mlflow(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE", help="A folder (mlruns), a file of SQLite, sqlite:///FILE, or postgresql://HOST/DATABASE."
        ),
    ],
    artifacts: Annotated[
        list[Path] | None,
        typer.Option("--artifacts", metavar="DIR", help="A folder that has files of runs and models (repeatable)."),
    ] = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", metavar="NAME", help="Only this experiment, without models (repeatable)."),
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted runs too; they are deleted here.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Import experiments, runs, their files and models from where MLflow keeps them. Nothing there is changed.

    What was imported before is not imported again; an import that was ended goes on. Exits with 1 if something could
    not be imported, and names it.
    """
    folders = artifacts or []
    for folder in folders:
        if not folder.is_dir():
            raise InvalidInput(f"--artifacts: {folder} is no folder")
    carry_out(lambda: _mlflow(store, folders), experiment or [], deleted, dry_run, output)


def _mlflow(store: str, artifacts: list[Path]) -> Source:
    """Raises `InvalidInput`, `Unreadable`."""
    from forgelog.importing.mlflow_database import MlflowDatabase, Sqlite, open_database
    from forgelog.importing.mlflow_files import MlflowFiles
    from forgelog.importing.source import Unreadable

    scheme, between, _ = store.partition("://")
    if between and scheme in ("http", "https", "databricks"):
        raise Unreadable("STORE: is a server; its folder or database is read, so give that, on a machine that has it")
    if between and scheme != "file":
        return MlflowDatabase(open_database(store), artifacts)
    path = Path(store.removeprefix("file://"))
    if path.is_dir():
        return MlflowFiles(path, artifacts)
    if not path.exists():
        raise Unreadable(f"STORE: there is no {path}")
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            head = file.read(16)
    except OSError as error:
        raise Unreadable(f"STORE: {path} can't be read: {error.strerror}") from None
    if head != b"SQLite format 3\0":
        raise Unreadable(f"STORE: {path} is neither a folder nor a file of SQLite; unpack an archive first")
    return MlflowDatabase(Sqlite(path), artifacts)


@app.command("tensorboard")
def tensorboard(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Of logs; each folder in it with event files is a run.")
    ],
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", metavar="NAME", help="Of the runs [default: the folder's name].")
    ] = "",
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Import the scalars and hyperparameters of TensorBoard's event files.

    What was imported before is not imported again; what was added since is. Exits with 1 if something could not be
    imported, and names it.
    """
    if not folder.is_dir():
        what = "is no folder; unpack an archive first" if folder.exists() else "is not there"
        raise InvalidInput(f"DIR: {folder} {what}")

    def source() -> Source:
        from forgelog.importing.tensorboard import TensorBoard

        return TensorBoard(folder, experiment)

    carry_out(source, [], False, dry_run, output)


def carry_out(
    open_source: Callable[[], Source], experiments: list[str], deleted: bool, dry_run: bool, output: Format
) -> None:
    """Plan and import; ends the command with `INCOMPLETE` if something is not imported."""
    from forgelog.importing.work import opened

    async def work(client: AsyncClient) -> tuple[Plan, Report | None]:
        async with opened(client, open_source) as importing:
            plan = await importing.plan(experiments, deleted=deleted)
            if output is Format.TABLE:
                _show_plan(plan)
            if dry_run:
                return plan, None
            with Progress("importing", output) as bar:
                return plan, await importing.carry_out(plan, bar.update)

    plan, report = with_client(work)
    troubles = plan.troubles if report is None else report.troubles
    if output is not Format.TABLE:
        show_data({"plan": _plan_data(plan), "done": None if report is None else _report_data(report)}, output)
    else:
        if report is not None:
            _show_report(report)
        for trouble in troubles[:_SHOWN]:
            note(f"not imported: {trouble}")
        if len(troubles) > _SHOWN:
            note(f"and {len(troubles) - _SHOWN} more; --output json has all")
    if troubles:
        raise typer.Exit(INCOMPLETE)


def _show_plan(plan: Plan) -> None:
    counts: dict[str, int] = {}
    for run in plan.runs:
        counts[run.experiment] = counts.get(run.experiment, 0) + 1
    for experiment in plan.experiments:
        write(f"experiment {_quoted(experiment.name)}: {_many(counts.get(experiment.key, 0), 'run')}\n")
    for model in plan.models:
        aliases = _many(len(model.aliases), "alias")
        write(f"model {_quoted(model.name)}: {_many(len(model.versions), 'version')}, {aliases}\n")
    if plan.complete:
        note(f"{_many(plan.complete, 'run')} imported before; unchanged ones stay as they are")
    if plan.begun:
        note(f"{_many(plan.begun, 'run')} begun before")
    if plan.deleted:
        note(f"{_many(plan.deleted, 'deleted run')} left out; --deleted takes them")
    for text in plan.notes:
        note(text)


def _show_report(report: Report) -> None:
    note(
        f"imported {_many(report.imported, 'run')} with {_many(report.points, 'point')} and "
        f"{_many(report.files, 'file')}, {_many(report.versions, 'version')} of models; "
        f"{report.unchanged} unchanged"
    )
    for text in report.notes:
        note(text)


def _plan_data(plan: Plan) -> dict[str, Any]:
    counted = {"complete": plan.complete, "begun": plan.begun, "deleted_left_out": plan.deleted}
    return {
        "experiments": [experiment.name for experiment in plan.experiments],
        "runs": [{"id": run.label or run.key, "name": run.name, "status": run.status} for run in plan.runs],
        "models": [{"name": model.name, "versions": len(model.versions)} for model in plan.models],
        **counted,
        "notes": plan.notes,
        "troubles": [_trouble(each) for each in plan.troubles],
    }


def _report_data(report: Report) -> dict[str, Any]:
    numbers = {name: getattr(report, name) for name in ("imported", "unchanged", "points", "files", "versions")}
    return {**numbers, "notes": report.notes, "troubles": [_trouble(each) for each in report.troubles]}


def _trouble(trouble: Any) -> dict[str, str]:
    return {"where": trouble.where, "problem": trouble.problem}


def _quoted(name: str) -> str:
    from forgelog.cli.tables import cut, text_of

    return cut(text_of(name), 80)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}{'es' if what.endswith('s') else 's'}"


COMMANDS = {"import": app}
