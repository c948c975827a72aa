"""`objects`: lists the objects in the store, and removes those that no event names.

These commands read the store and the tables directly, so they need the services' settings: the addresses of Kafka and
Postgres, `FORGELOG_OBJECTS`, and the store's credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forgelog.cli.common import OutputOption, guarded, platform_settings, read_plan, reading_log
from forgelog.cli.render import Format, age_column, column, note, show_data, show_rows, write
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from events.objects.references import References
    from events.objects.store import Objects
    from events.process.settings import Settings

T = TypeVar("T")

objects_app = typer.Typer(
    no_args_is_help=True, help="List the objects of the store, and remove those that no event names."
)


@objects_app.command("ls")
def ls(output: OutputOption = Format.TABLE) -> None:
    """List all objects with their size, their age, and whether an event names them."""

    async def work(objects: Objects, references: References, _: str) -> list[dict[str, Any]]:
        from events.objects import garbage

        return [
            {"digest": each.digest, "bytes": each.size, "put_at": each.put_at, "named": named}
            async for each, named in garbage.listed(objects, references)
        ]

    now = datetime.now(UTC)
    columns = [
        column("Digest", least=32, wrap=True),
        column("Bytes", right=True),
        age_column("Put", "put_at", now),
        column("Named"),
    ]
    show_rows(_work(work), columns, output)


@objects_app.command("plan")
def plan() -> None:
    """Write a plan to standard output: the objects that no event names and that are older than 24 hours."""

    async def work(objects: Objects, references: References, store: str) -> str:
        from events.objects import garbage

        made = await garbage.make_plan(objects, references, store)
        uploads = len(made.left) + len(made.unended)
        note(f"{len(made.objects)} objects and {uploads} interrupted uploads, {made.bytes} bytes; none is removed")
        return made.to_text()

    write(_work(work) + "\n")


@objects_app.command("execute")
def execute(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `forgelog objects plan` wrote.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Remove the objects of a plan that still no event names. Removes nothing else."""
    text = guarded(lambda: read_plan(file, "forgelog objects plan"))

    async def work(objects: Objects, references: References, store: str) -> dict[str, Any]:
        from events.objects import garbage

        try:
            made = garbage.parse_plan(text, store)
        except garbage.PlanUnusable as error:
            raise InvalidInput(f"{file}: {error}") from None
        removed = await garbage.execute(objects, references, made)
        counts = {"removed": removed.objects, "uploads": removed.uploads, "bytes": removed.bytes}
        return {**counts, "saved": removed.saved}

    done = _work(work)
    if output is not Format.TABLE:
        show_data(done, output)
        return
    write(f"removed {done['removed']} objects and {done['uploads']} interrupted uploads, {done['bytes']} bytes\n")
    if done["saved"]:
        note(f"{len(done['saved'])} objects of the plan are kept: an event names them now, or they were put anew")


def _work(work: Callable[[Objects, References, str], Coroutine[Any, Any, T]]) -> T:
    async def told() -> T:
        from events.objects.references import References, ReferencesUnknown
        from events.objects.store import ObjectDamaged, Objects, ObjectStoreError
        from forgelog.errors import Unavailable

        settings = _settings()
        try:
            return await work(Objects(settings.objects_url), References(settings), settings.objects_url)
        except (ReferencesUnknown, ObjectStoreError, ObjectDamaged) as error:
            raise Unavailable(str(error)) from None

    return reading_log(told)


def _settings() -> Settings:
    """The platform's; the store is in its data folder unless FORGELOG_OBJECTS says otherwise."""
    from events.process.folders import find_data_folder

    settings = platform_settings()
    return settings if settings.objects else settings.model_copy(update={"data": find_data_folder()[0]})


COMMANDS = {"objects": objects_app}
