"""`runs verify`: whether the points of runs are those that were sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, with_client
from forgelog.cli.render import Format, column, note, show_data, show_rows
from forgelog.cli.selecting import experiment_id
from forgelog.errors import NotFound

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient


def verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[RUN...]", help="The runs' ids.")] = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", help="All runs of this one: its name or id (repeatable)."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Count and hash the points of runs again, and hold them against their seals. Exits with 1 if any differ."""
    if not ids and not experiment:
        raise typer.BadParameter("name runs, or --experiment", param_hint="RUN")

    async def work(client: AsyncClient) -> list[dict[str, Any]]:
        runs = list(ids or ())
        if experiment:
            of = [await experiment_id(client, each) for each in experiment]
            runs += [row["run_id"] for row in await client.runs.list(experiments=of, deleted=None)]
        return [await _verified(client, run) for run in dict.fromkeys(runs)]

    rows = with_client(work)
    columns = [
        column("Run", "run_id"), column("Result", least=8), column("Points", right=True), column("Late", right=True),
        column("Digest", least=12),
    ]  # fmt: skip
    if output is not Format.TABLE:
        show_data(rows, output)
    else:
        show_rows(rows, columns, output, empty="there are no such runs")
        for row in rows:
            if row["result"] == "differs":
                found = row["found"]
                note(
                    f"run {row['run_id']}: {row['points']} points with digest {row['digest'][:12]} were sealed, and "
                    f"{found['points']} with {found['digest'][:12]} are stored"
                )
            elif row["late"]:
                note(f"run {row['run_id']}: {row['late']} points came after the seal, and no seal covers them")
    if any(row["result"] == "differs" for row in rows):
        raise typer.Exit(1)


async def _verified(client: AsyncClient, run: str) -> dict[str, Any]:
    try:
        answer = await client.seals.verify(run)
    except NotFound:
        row = await client.runs.get(run)  # raises NotFound if there is none
        result = "not sealed yet" if row["ended_at"] is not None else "not ended"
        return {"run_id": run, "result": result, "points": None, "late": None, "digest": "", "found": None}
    sealed = answer.seal.sealed
    return {
        "run_id": run,
        "result": "intact" if answer.intact else "differs",
        "points": sealed.points,
        "late": answer.late_points,
        "digest": sealed.digest,
        "found": answer.found,
    }
