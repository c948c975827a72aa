"""`experiments purge`: shows what is deleted and can be purged, and purges it at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from forgelog.cli.common import OutputOption, guarded, with_client
from forgelog.cli.render import Format, note, show_data, write
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

purge_app = typer.Typer(
    no_args_is_help=True,
    help="Give up what deleted experiments, runs and logged models hold: a plan first, then its execution.",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Entry(_Part):
    kind: Literal["experiment", "run", "logged_model"]
    id: str
    project: str


class _Plan(_Part):
    """What `purge plan` wrote, as far as `purge execute` needs it."""

    forgelog_purge: Literal[1]
    deleted_before: AwareDatetime
    purgeable: Annotated[tuple[_Entry, ...], Field(max_length=10_000)]


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
            {**entry, "reason": outcome.message}
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


def _read(file: Path) -> _Plan:
    try:
        return _Plan.model_validate_json(file.read_bytes())
    except OSError as error:
        problem = f"{error.strerror}; give the file that `forgelog experiments purge plan` was written to"
        raise InvalidInput(f"{file}: {problem}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        hint = "give what `forgelog experiments purge plan` wrote"
        raise InvalidInput(f"{file}: {place}: {first['msg']}; {hint}") from None
