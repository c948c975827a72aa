"""`tune best`, `tune trial`, `tune importances`: what a tuning has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, LimitOption, OutputOption, moment
from forgelog.cli.render import Format, column, show_data, show_fields, show_rows
from forgelog.cli.tuning_names import TuningArgument, with_tuning

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

_BEST_COLUMNS = [
    column("#", "number", right=True),
    column("Value", "shown_values", right=True),
    column("Parameters", "shown_params", least=16),
]

_REPORT_COLUMNS = [column("Step", right=True), column("Value", right=True)]

_IMPORTANCE_COLUMNS = [column("Parameter", "name"), column("Importance", "shown", right=True)]


def best(
    tuning: TuningArgument,
    limit: LimitOption = 10,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the best completed trials; with several objectives those of the Pareto front."""
    moved = moment(at)
    _, rows = with_tuning(tuning, lambda client, id: client.tunings.best(id, limit=limit, at=moved), moved)
    if output is Format.TABLE:
        for row in rows:
            with_shown(row)
    show_rows(rows, _BEST_COLUMNS, output, empty="no trial is completed")


def trial(
    tuning: TuningArgument,
    number: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")],
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a trial with what its present attempt has reported."""
    moved = moment(at)
    id, found = with_tuning(tuning, lambda client, id: client.tunings.trial(id, number, at=moved), moved)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    reports = [{"step": step, "value": f"{value:.6g}"} for step, value in found.pop("intermediate").items()]
    found.pop("parameters")
    show_fields(found, title=f"{id}/{number}")
    show_rows(reports, _REPORT_COLUMNS, output, empty="it has reported nothing")


def importances(
    tuning: TuningArgument,
    objective: Annotated[
        int | None, typer.Option("--objective", min=0, help="Of several, which, from 0 on; left out: the Pareto front.")
    ] = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show how much each hyperparameter mattered for the best tenth of the completed trials (PED-ANOVA)."""
    moved = moment(at)

    async def work(client: AsyncClient, id: str) -> dict[str, float]:
        return await client.tunings.importances(id, objective=objective, at=moved)

    _, found = with_tuning(tuning, work, moved)
    rows = [{"name": name, "importance": value, "shown": f"{value:.3f}"} for name, value in found.items()]
    if output is not Format.TABLE:
        show_data(found, output)
        return
    show_rows(rows, _IMPORTANCE_COLUMNS, output, empty="no hyperparameter was searched")


def with_shown(row: Any) -> None:
    """Give a trial's row its values and its hyperparameters as a table shows them."""
    row["shown_values"] = ", ".join(f"{float(value):.6g}" for value in row["objective_values"])
    row["shown_last"] = "" if row["last_value"] is None else f"{float(row['last_value']):.6g}"
    row["shown_params"] = " ".join(f"{name}={_short(value)}" for name, value in row["params"].items())


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
