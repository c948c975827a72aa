"""`tune`: searches for hyperparameters, and their trials; `optuna-proxy`: the door for Optuna's clients."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, run, with_client
from forgelog.cli.render import Format, age_column, column, note, show_data, show_fields, show_rows, write

if TYPE_CHECKING:
    from forgelog.client.plain import Answer

app = typer.Typer(no_args_is_help=True, help="Show tunings and their trials; make, pause, stop or delete a tuning.")

STATUSES = ("running", "paused", "completed", "stopped")
TRIAL_STATUSES = ("requested", "running", "completed", "pruned", "failed")
ENDS = ("completed", "pruned", "failed")
DIRECTIONS = ("minimize", "maximize")

IdArgument = Annotated[str, typer.Argument(metavar="TUNING", help="The tuning's id.")]
NumberArgument = Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")]
AttemptOption = Annotated[int | None, typer.Option("--attempt", min=1, help="Refuse, if another attempt counts now.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown beside the status.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Most shown.")]


def columns(now: datetime) -> list[Any]:
    return [
        column("Id", "tuning_id"),
        column("#", "number", right=True, rank=4),
        column("Name", least=8),
        column("Status", style=True),
        column("Trials", right=True),
        column("Done", "completed", right=True, rank=2),
        column("Pruned", right=True, rank=3),
        column("Failed", right=True, rank=3),
        column("Best", "best_value", right=True),
        age_column("Made", "created_at", now, rank=2),
        column("Why", "reason", rank=1, least=16),
    ]


TRIAL_COLUMNS = [
    column("#", "number", right=True),
    column("Status", style=True),
    column("Value", "shown_values", right=True),
    column("Parameters", "shown_params", least=16),
    column("Attempt", right=True, rank=2),
    column("Why", "reason", rank=1, least=12),
]


@app.command("list")
def show_list(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List tunings, newest first."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.tunings.list(status=status or (), name=name, deleted=deleted, limit=limit, at=moved)
    )
    show_rows(rows, columns(moved or datetime.now(UTC)), output, empty="there are no such tunings")


@app.command("show")
def show(id: IdArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a tuning with its best trial."""

    async def work(client: Any) -> Any:
        found = await client.tunings.get(id, at=moment(at))
        if found["best_trial"] is not None:
            best = await client.tunings.trial(id, found["best_trial"], at=moment(at))
            found["best_params"] = best["params"]
        return found

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    show_fields({name: value for name, value in found.items() if value not in ("", None, {}, [])}, title=id)


@app.command("trials")
def trials(
    id: IdArgument,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(TRIAL_STATUSES)}.", autocompletion=complete.words(TRIAL_STATUSES)),
    ] = None,
    limit: LimitOption = 100,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List a tuning's trials, by number."""
    rows: Any = with_client(lambda client: client.tunings.trials(id, status=status or (), limit=limit, at=moment(at)))
    if output is Format.TABLE:
        for row in rows:
            row["shown_values"] = ", ".join(row["objective_values"])
            row["shown_params"] = " ".join(f"{name}={_short(value)}" for name, value in row["params"].items())
    show_rows(rows, TRIAL_COLUMNS, output, empty="there are no such trials")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tuning's name, and that of the Optuna study.")],
    direction: Annotated[
        list[str] | None,
        typer.Option(
            "--direction",
            help="minimize or maximize; once for each objective.",
            autocompletion=complete.words(DIRECTIONS),
        ),
    ] = None,
    max_trials: Annotated[int | None, typer.Option("--trials", min=1, help="All that there will be.")] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, help="Most that run at the same time.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Complete it after so long.")] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", min=1, help="Complete it after so many trials without a better value.")
    ] = None,
    min_delta: Annotated[float, typer.Option("--min-delta", help="By how much a value must be better.")] = 0.0,
) -> None:
    """Make a tuning, and print its id."""
    limits = {"trials": max_trials, "parallel": parallel, "seconds": seconds}
    fields: dict[str, Any] = {"limits": {name: value for name, value in limits.items() if value is not None}}
    if patience is not None:
        fields["early_stopping"] = {"patience": patience, "min_delta": min_delta}
    write(with_client(lambda client: client.tunings.create(name, direction or ["minimize"], **fields)) + "\n")


@app.command("pause")
def pause(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Let no new trial begin."""
    _done(with_client(lambda client: client.tunings.pause(id)), f"tuning {id} is paused", output)


@app.command("resume")
def resume(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Let trials begin again."""
    _done(with_client(lambda client: client.tunings.resume(id)), f"tuning {id} goes on", output)


@app.command("stop")
def stop(id: IdArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """End a tuning. Trials that run may still be told."""
    _done(with_client(lambda client: client.tunings.stop(id, reason=reason)), f"tuning {id} is stopped", output)


@app.command("delete")
def delete(id: IdArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a tuning out of the lists, for good. Its name is free then."""
    _done(with_client(lambda client: client.tunings.delete(id)), f"tuning {id} is deleted", output)


@app.command("tell")
def tell(
    id: IdArgument,
    number: NumberArgument,
    value: Annotated[list[float] | None, typer.Option("--value", help="Once for each objective.")] = None,
    status: Annotated[
        str, typer.Option("--status", help=f"{', '.join(ENDS)}.", autocompletion=complete.words(ENDS))
    ] = "completed",
    attempt: AttemptOption = None,
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say how a trial ended, if its program did not."""
    outcome = with_client(
        lambda client: client.tunings.tell(id, number, value or [], status=status, reason=reason, attempt=attempt)
    )
    _done(outcome, f"trial {number} of tuning {id} is {status}", output)


@app.command("requeue")
def requeue(
    id: IdArgument,
    number: NumberArgument,
    attempt: AttemptOption = None,
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Take a running trial's process for lost: the trial waits for its next attempt."""
    outcome = with_client(lambda client: client.tunings.requeue(id, number, attempt=attempt, reason=reason))
    _done(outcome, f"trial {number} of tuning {id} waits for its next attempt", output)


def optuna_proxy(
    project: Annotated[
        str, typer.Option("--project", help="Whose studies: organization/project.", envvar="FORGELOG_PROJECT")
    ] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Where to listen; 0 takes a free one.")
    ] = 13000,
) -> None:
    """Let Optuna's client (GrpcStorageProxy) keep its studies here; it listens on this machine alone, until Ctrl-C."""

    async def serve() -> None:
        from forgelog.optuna_proxy import OptunaProxy
        from forgelog.where import find_gateway

        gateway = find_gateway()
        async with OptunaProxy(gateway.address, gateway.key, project, port) as proxy:
            note(f"optuna.storages.GrpcStorageProxy(host='127.0.0.1', port={proxy.port}) reaches {gateway.address}")
            await proxy.lasting()

    run(serve)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _done(outcome: Answer, text: str, output: Format) -> None:
    if output is not Format.TABLE:
        show_data(outcome, output)
    else:
        note("nothing to change: it was like that already" if outcome.result == "unchanged" else text)


COMMANDS = {"tune": app, "optuna-proxy": optuna_proxy}
