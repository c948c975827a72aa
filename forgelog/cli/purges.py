"""`experiments purge`: shows what is deleted and can be purged, and purges it at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, guarded, read_plan, with_client
from forgelog.cli.render import Format, note, show_data, write
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.purge_plan import PurgePlan

COMMAND = "forgelog experiments purge plan"

purge_app = typer.Typer(
    no_args_is_help=True,
    help="Give up what deleted experiments, runs and logged models hold: a plan first, then its execution.",
)


@purge_app.command("plan")
def plan(
    days: Annotated[
        float, typer.Option("--days", min=0.0, max=36_500.0, help="Only what was deleted more than so many days ago.")
    ] = 0.0,
) -> None:
    """Write a plan to standard output: what can be purged, and what would be given up. Changes nothing."""
    before = datetime.now(UTC) - timedelta(days=days)

    async def work(client: AsyncClient) -> dict[str, Any]:
        found = await client.purges.plan(deleted_before=before, limit=10_000)
        if found.more:
            note("there is more; purge this, then make a plan again")
        return {"forgelog_purge": 1, "deleted_before": before, "purgeable": found.purgeable}

    made = with_client(work)
    points, size = (sum(each[name] for each in made["purgeable"]) for name in ("points", "bytes"))
    note(f"{len(made['purgeable'])} to be purged, with {points} points and {size} bytes of files; nothing is purged")
    show_data(made, Format.JSON)


@purge_app.command("execute")
def execute(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `forgelog experiments purge plan` wrote.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Purge what a plan names and is deleted still. It can't be restored. Purges nothing else."""
    made = guarded(lambda: _read(file))

    async def work(client: AsyncClient) -> dict[str, Any]:
        entries = [each.model_dump() for each in made.purgeable]
        outcomes = await client.purges.execute(entries, deleted_before=made.deleted_before)
        refused = [
            {**entry, "reason": outcome.rejection.message}
            for entry, outcome in zip(entries, outcomes, strict=True)
            if outcome.result == "rejected"
        ]
        return {"purged": len(entries) - len(refused), "kept": refused}

    done = with_client(work)
    if output is not Format.TABLE:
        show_data(done, output)
        return
    write(f"purged {done['purged']}; `forgelog objects plan` shows which files no one needs any more\n")
    for each in done["kept"]:
        note(f"{each['kind']} {each['id']} is kept: {each['reason']}")


def _read(file: Path) -> PurgePlan:
    from forgelog.purge_plan import parse_plan

    text = read_plan(file, COMMAND)
    try:
        return parse_plan(text)
    except ValueError as error:
        raise InvalidInput(f"{file}: {error}; give the file that `{COMMAND}` was written to") from None
