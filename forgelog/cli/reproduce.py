"""`reproduce`: restore a run, run it again, and compare the final metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, with_client
from forgelog.cli.render import Format, column, note, show_data, show_rows

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.reproduce.plan import Plan
    from forgelog.reproduce.session import Reproduced

DIFFERS = 1
"""Exit code when metrics differ, or there are none, or the program failed."""


def reproduce(
    id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="DIR", help="Restore it into this new folder, and run it there.", show_default=False
        ),
    ] = None,
    job: Annotated[bool, typer.Option("--job", help="Submit its job again, with the code of then.")] = False,
    venv: Annotated[
        bool, typer.Option("--venv", help="Make an environment with the packages of then, by pip.")
    ] = False,
    repository: Annotated[
        str, typer.Option("--repository", metavar="DIR|URL", help="Where the commit is, if not where it was.")
    ] = "",
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="PATTERN", help="Compare no metrics of these names: 'time/*' (repeatable)."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.0, max=1.0, help="Relative difference that counts as equal.")
    ] = 0.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what of a run can be restored; with --into or --job, run it again and compare the final metrics.

    Exits with 1 if they differ. It runs what the run ran: reproduce only runs of people whom you trust."""
    if job and (into is not None or venv):
        raise typer.BadParameter("goes without --into and --venv", param_hint="--job")

    async def work(client: AsyncClient) -> tuple[Plan, Reproduced | None]:
        from forgelog.reproduce import session

        found = await session.plan(client, id, repository=repository, venv=venv, by_job=job)
        if into is None and not job:
            return found, None
        if output is Format.TABLE:
            _show_plan(found)
        if job:
            again = await session.run_as_job(client, found, say=note)
        else:
            assert into is not None
            folder = into.absolute()
            argv = await session.restore(client, found, folder, venv=venv, say=note)
            again = await session.run_here(client, found, argv, folder, quiet=output is not Format.TABLE, say=note)
        return found, await session.compared(client, id, again, ignore=ignore or (), tolerance=tolerance)

    found, done = with_client(work)
    if output is not Format.TABLE:
        show_data({"plan": _plan(found), **(_result(done) if done is not None else {})}, output)
    elif done is None:
        _show_plan(found)
        for each in found.obstacles:
            note(f"it can't be reproduced: {each}")
    else:
        _show_result(id, done)
    if done is not None and not (done.results.equal and done.status == "finished"):
        raise typer.Exit(DIFFERS)


def _plan(found: Plan) -> dict[str, Any]:
    steps = [{"part": step.part, "state": step.state.value, "text": step.text} for step in found.steps]
    return {"run_id": found.run_id, "possible": not found.obstacles, "steps": steps}


def _show_plan(found: Plan) -> None:
    columns = [column("Part"), column("State"), column("What", "text", least=30)]
    show_rows(_plan(found)["steps"], columns, Format.TABLE)


def _result(done: Reproduced) -> dict[str, Any]:
    found = done.results
    return {
        "reproduction": done.run_id,
        "status": done.status,
        "reason": done.reason,
        "equal": found.equal,
        "metrics": [each._asdict() for each in found.metrics],
        "params": {name: {"then": then, "now": now} for name, (then, now) in found.params.items()},
        "datasets": list(found.datasets),
    }


def _show_result(id: str, done: Reproduced) -> None:
    found = done.results
    rows = [
        {
            "metric": " ".join(part for part in (each.key, each.model_id, each.dataset) if part),
            "then": _number(each.then),
            "now": _number(each.now),
            "result": "equal" if each.equal else "differs",
        }
        for each in found.metrics
    ]
    columns = [column("Metric"), column("Then", right=True), column("Now", right=True), column("Result")]
    show_rows(rows, columns, Format.TABLE, empty="there is no metric to compare")
    for name, (then, now) in found.params.items():
        note(f"parameter {name}: {_shown(then)} then, {_shown(now)} now")
    for each in found.datasets:
        note(f"dataset {each}")
    if done.status != "finished":
        note(f"run {done.run_id} {done.status}: {done.reason}")
    same = sum(each.equal for each in found.metrics)
    note(f"{same} of {len(found.metrics)} metrics of run {id} are equal in run {done.run_id}")


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)


def _shown(value: str | None) -> str:
    return "none" if value is None else repr(value[:60])


COMMANDS = {"reproduce": reproduce}
