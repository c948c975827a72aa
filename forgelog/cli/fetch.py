"""`fetch`: the files that a job keeps of its tasks, into a folder of yours."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, ForceOption, IntoOption, OutputOption, moment, with_client
from forgelog.cli.nodes import duration
from forgelog.cli.progress import Progress
from forgelog.cli.render import Column, Format, column, note, show_data, show_rows
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forgelog.client.aio import AsyncClient
    from forgelog.client.fetching import FetchedFile


def fetch(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB[/TASK]",
            help="Its id, the beginning of it, or its name; /3 for task 3 only.",
            autocompletion=complete.jobs,
        ),
    ],
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Only these: 'results/*.json'.")] = "",
    into: IntoOption = Path(),
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Files of this attempt [default: the newest that has ended].")
    ] = None,
    force: ForceOption = False,
    list_: Annotated[bool, typer.Option("--list", "-l", help="Only list the files.")] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="Longest wait for files that are still being sent.")
    ] = "60s",
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch the files that a job keeps (`--keep`); those of an array's tasks into folders of their numbers."""
    when, seconds = moment(at), duration(timeout, "--timeout") or 0.0
    name, task = _split(job)

    async def work(client: AsyncClient) -> Sequence[FetchedFile]:
        id = await client.jobs.find(name, at=when)
        if list_:
            files = await client.jobs.files(id, task=task, attempt=attempt, at=when, timeout=seconds)
            return [file for file in files if not pattern or _fits(pattern, file.path)]
        with Progress("fetch:", output, bytes=True) as bar:
            return await client.jobs.fetch(
                id, into=into, task=task, attempt=attempt, pattern=pattern, force=force, at=when, timeout=seconds,
                progress=bar.at,
            )  # fmt: skip

    files = with_client(work)
    if list_ or output is not Format.TABLE:
        rows: list[dict[str, Any]] = [asdict(file) for file in files]
        if list_:
            for row in rows:
                del row["fetched"]
        show_rows(rows, COLUMNS, output) if list_ else show_data(rows, output)
        return
    new = [file for file in files if file.fetched]
    told = f"{_count(len(new))} fetched into {into}, {format_bytes(sum(file.size for file in new))}B"
    note(told + (f"; {_count(len(files) - len(new))} there already" if len(new) < len(files) else ""))


COLUMNS = [
    column("Task", right=True),
    column("Attempt", right=True, rank=2),
    Column("Size", lambda row: format_bytes(row["size"]), right=True, rank=1),
    column("File", "path", least=16, wrap=True),
]


def _split(text: str) -> tuple[str, int | None]:
    """The job, and the task behind its last slash."""
    match = re.fullmatch(r"(.+)/(\d{1,9})", text)
    return (match[1], int(match[2])) if match else (text, None)


def _fits(pattern: str, path: str) -> bool:
    from events.language.path_patterns import Patterns
    from forgelog.errors import InvalidInput

    try:
        return Patterns([pattern]).fit_path(path)
    except ValueError as error:
        raise InvalidInput(f"pattern: {error}") from None


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


COMMANDS = {"fetch": fetch}
