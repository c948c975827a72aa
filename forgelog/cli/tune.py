"""`tune`: searches for hyperparameters, and their trials; `optuna-proxy`: the door for Optuna's clients."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete, tune_results
from forgelog.cli.common import (
    AtOption,
    LimitOption,
    OutputOption,
    guarded,
    moment,
    platform_settings,
    run,
    with_client,
)
from forgelog.cli.render import Format, age_column, column, note, show_data, show_done, show_fields, show_rows, write
from forgelog.cli.selecting import experiment_id
from forgelog.cli.tuning_names import TuningArgument, with_tuning

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

app = typer.Typer(no_args_is_help=True, help="Show tunings and their trials; make, pause, stop or delete a tuning.")

STATUSES = ("running", "paused", "completed", "stopped")
TRIAL_STATUSES = ("requested", "proposed", "running", "completed", "pruned", "failed")
ALGORITHMS = ("grid", "random", "tpe", "nsga2", "gp", "cmaes")
ENDS = ("completed", "pruned", "failed")
DIRECTIONS = ("minimize", "maximize")
PRUNERS = ("median", "asha", "hyperband")

NumberArgument = Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")]
AttemptOption = Annotated[int | None, typer.Option("--attempt", min=1, help="Refuse, if another attempt counts now.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown beside the status.")]


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
    column("Step", "last_step", right=True, rank=2),
    column("Last", "shown_last", right=True, rank=2),
    column("Parameters", "shown_params", least=16),
    column("Attempt", right=True, rank=2),
    column("Job", "job_id", rank=3),
    column("Why", "reason", rank=1, least=12),
]


@app.command("list")
def show_list(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    experiment: Annotated[str, typer.Option("--experiment", "-e", help="Only of this one: its name or its id.")] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List tunings, newest first."""
    moved = moment(at)
    filters: dict[str, Any] = {"status": status or (), "name": name, "deleted": deleted, "limit": limit}

    async def work(client: AsyncClient) -> Any:
        of = await experiment_id(client, experiment, moved) if experiment else ""
        return await client.tunings.list(experiment=of, at=moved, **filters)

    rows = with_client(work)
    show_rows(rows, columns(moved or datetime.now(UTC)), output, empty="there are no such tunings")


@app.command("show")
def show(tuning: TuningArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a tuning with its best trial; with several objectives, the trials of its Pareto front."""

    moved = moment(at)

    async def work(client: AsyncClient, id: str) -> Any:
        found = await client.tunings.get(id, at=moved)
        if found["best_trial"] is not None:
            best = await client.tunings.trial(id, found["best_trial"], at=moved)
            found["best_params"] = best["params"]
        elif len(found["directions"]) > 1:
            front = await client.tunings.best(id, at=moved)
            found["pareto_front"] = [trial["number"] for trial in front]
        return found

    id, found = with_tuning(tuning, work, moved)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    show_fields(found, title=id)


@app.command("trials")
def trials(
    tuning: TuningArgument,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(TRIAL_STATUSES)}.", autocompletion=complete.words(TRIAL_STATUSES)),
    ] = None,
    limit: LimitOption = 100,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List a tuning's trials, by number."""
    moved = moment(at)

    async def work(client: AsyncClient, id: str) -> Any:
        return await client.tunings.trials(id, status=status or (), limit=limit, at=moved)

    _, rows = with_tuning(tuning, work, moved)
    if output is Format.TABLE:
        for row in rows:
            tune_results.with_shown(row)
    show_rows(rows, TRIAL_COLUMNS, output, empty="there are no such trials")


app.command("best")(tune_results.best)
app.command("trial")(tune_results.trial)
app.command("importances")(tune_results.importances)


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
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            help=f"Let the platform search: {', '.join(ALGORITHMS)}. Left out: its clients do.",
            autocompletion=complete.words(ALGORITHMS),
        ),
    ] = "",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="What to search: 'lr=1e-5..0.1 log', 'layers=1..4', 'optimizer=adam,sgd'."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the search.")] = 0,
    job: Annotated[
        Path | None, typer.Option("--job", help="A manifest of the job that runs each trial.", dir_okay=False)
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            help="A metric that the jobs log, once for each objective: METRIC, or METRIC:last, :best, :min, :max.",
        ),
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps from one intermediate value to the next.")] = 1,
    prune: Annotated[
        str,
        typer.Option(
            "--prune",
            help="Give up trials that do not promise well: median, 'asha min_steps=2', 'hyperband max_steps=81'.",
            autocompletion=complete.words(PRUNERS),
        ),
    ] = "",
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", help="A tuning whose completed trials the search knows from the beginning."),
    ] = None,
    experiment: Annotated[
        str,
        typer.Option(
            "--experiment", "-e", help="Whose the trials' runs are; its search space counts where there is no --param."
        ),
    ] = "",
) -> None:
    """Make a tuning, and print its id."""
    plan = guarded(lambda: _plan(algorithm, param or [], experiment, seed, prune, warm_start or []))
    limits = {"trials": max_trials, "parallel": parallel, "seconds": seconds}
    fields: dict[str, Any] = {"limits": {name: value for name, value in limits.items() if value is not None}}
    if patience is not None:
        fields["early_stopping"] = {"patience": patience, "min_delta": min_delta}
    if plan is not None:
        fields["plan"] = plan
    if experiment:
        fields["experiment"] = experiment
    if job is not None:
        fields["job"] = job
    if objective:
        fields["objectives"] = guarded(lambda: _objectives(objective, every))

    async def work(client: AsyncClient) -> str:
        if plan and warm_start:
            plan["warm_start"] = [await client.tunings.find(each) for each in warm_start]
        return await client.tunings.create(name, direction or ["minimize"], **fields)

    write(with_client(work) + "\n")


@app.command("pause")
def pause(tuning: TuningArgument, output: OutputOption = Format.TABLE) -> None:
    """Let no new trial begin."""
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.pause(id))
    show_done(outcome, f"tuning {id} is paused", output)


@app.command("resume")
def resume(tuning: TuningArgument, output: OutputOption = Format.TABLE) -> None:
    """Let trials begin again."""
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.resume(id))
    show_done(outcome, f"tuning {id} goes on", output)


@app.command("stop")
def stop(tuning: TuningArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """End a tuning. Trials that run may still be told."""
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.stop(id, reason=reason))
    show_done(outcome, f"tuning {id} is stopped", output)


@app.command("delete")
def delete(tuning: TuningArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a tuning out of the lists, for good. Its name is free then."""
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.delete(id))
    show_done(outcome, f"tuning {id} is deleted", output)


@app.command("take")
def take(tuning: TuningArgument, output: OutputOption = Format.JSON) -> None:
    """Take up a trial whose values are chosen; wait until there is one. Exit code 3: the tuning has ended."""
    id, found = with_tuning(tuning, lambda client, id: client.tunings.take(id))
    if found is None:
        note(f"tuning {id} has ended")
        raise typer.Exit(3)
    show_data({name: found[name] for name in ("tuning_id", "number", "attempt", "params")}, output)


@app.command("verify")
def verify(
    tuning: TuningArgument,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Another seed than the plan's.")] = None,
) -> None:
    """Choose each of a tuning's proposals anew, from what was known then, and say whether it is the same."""
    import subprocess
    import sys

    settings = guarded(lambda: platform_settings(log_only=True))
    told = {"FORGELOG_KAFKA": settings.kafka_required, "FORGELOG_PREFIX": settings.prefix}
    if settings.kafka_config is not None:
        told["FORGELOG_KAFKA_CONFIG"] = str(settings.kafka_config)
    id = with_client(lambda client: _id_if_it_answers(client, tuning))
    words = [id] if seed is None else [id, "--seed", str(seed)]
    engine = [sys.executable, "-m", "services.experiments.engine.verify", *words]
    raise typer.Exit(subprocess.run(engine, env={**os.environ, **told}, check=False).returncode)


@app.command("tell")
def tell(
    tuning: TuningArgument,
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
    more: dict[str, Any] = {"status": status, "reason": reason, "attempt": attempt}
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.tell(id, number, value or [], **more))
    show_done(outcome, f"trial {number} of tuning {id} is {status}", output)


@app.command("requeue")
def requeue(
    tuning: TuningArgument,
    number: NumberArgument,
    attempt: AttemptOption = None,
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Take a running trial's process for lost: the trial waits for its next attempt."""
    more: dict[str, Any] = {"attempt": attempt, "reason": reason}
    id, outcome = with_tuning(tuning, lambda client, id: client.tunings.requeue(id, number, **more))
    show_done(outcome, f"trial {number} of tuning {id} waits for its next attempt", output)


async def _id_if_it_answers(client: AsyncClient, called: str) -> str:
    """The id of a tuning. Where no gateway answers, it must be given itself: the log can be read."""
    from forgelog.errors import Unavailable

    try:
        return await client.tunings.find(called)
    except Unavailable:
        return called


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


def _plan(
    algorithm: str, params: list[str], experiment: str, seed: int, prune: str, warm_start: list[str]
) -> dict[str, Any] | None:
    """How the platform searches; None if it does not. Raises `InvalidInput`."""
    from forgelog.errors import InvalidInput
    from forgelog.tuning_space import dimension, pruning

    if params and not algorithm:
        raise InvalidInput("--param: goes with --algorithm, which says how to search")
    if algorithm and not (params or experiment):
        raise InvalidInput("--algorithm: goes with --param, or with an --experiment that has a search space")
    if not algorithm and (prune or warm_start):
        option = "--prune" if prune else "--warm-start"
        raise InvalidInput(f"{option}: goes with --algorithm and --param: it is about the platform's own searches")
    if not algorithm:
        return None
    plan: dict[str, Any] = {"algorithm": algorithm, "seed": seed, "space": [dimension(each) for each in params]}
    if prune:
        plan["pruning"] = pruning(prune)
    return plan


def _objectives(given: list[str], every: int) -> list[dict[str, Any]]:
    from forgelog.tuning_space import objective

    return [objective(each, every) for each in given]


COMMANDS = {"tune": app, "optuna-proxy": optuna_proxy}
