"""How commands that list or fetch files of runs, models and datasets tell of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.cli.common import with_client
from forgelog.cli.progress import Progress
from forgelog.cli.render import Column, Format, age_column, note, show_data, show_rows
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from forgelog.client.aio import AsyncClient
    from forgelog.client.artifacts import FetchedArtifact


def show_listed(rows: Sequence[Mapping[str, Any]], at: datetime | None, output: Format, *, empty: str) -> None:
    """List files and folders, as of a time if one is given."""
    columns = [
        Column("Path", lambda row: row["path"] + "/" * row["is_folder"], least=16, wrap=True),
        Column("Size", lambda row: format_bytes(row["size"]), right=True),
        age_column("Logged", "logged_at", at or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty=empty)


def show_fetched(
    fetch: Callable[[AsyncClient, Any], Coroutine[Any, Any, list[FetchedArtifact]]], into: Path, output: Format
) -> None:
    """Fetch files with a bar of how far it is, and say how many came."""

    async def work(client: AsyncClient) -> list[FetchedArtifact]:
        with Progress("download:", output, bytes=True) as bar:
            return await fetch(client, bar.at)

    files = with_client(work)
    if output is not Format.TABLE:
        show_data([file._asdict() for file in files], output)
        return
    new = [file for file in files if file.fetched]
    size = format_bytes(sum(file.size for file in new))
    told = f"{len(new)} file{'' if len(new) == 1 else 's'} fetched into {into}, {size}B"
    note(told + (f"; {len(files) - len(new)} there already" if len(new) < len(files) else ""))
