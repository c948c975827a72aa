"""How commands that fetch files of runs, models and datasets tell of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.cli.common import with_client
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, note, show_data
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from forgelog.client.aio import AsyncClient
    from forgelog.client.artifacts import FetchedArtifact


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
