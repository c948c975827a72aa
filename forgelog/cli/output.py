"""`logs`: shows the output of tasks, stored and live; `run` uses it too. Knows nothing of submitting a job."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.nodes import parsed
from forgelog.cli.render import Format, column, nobody_reads, note, show_data, show_line, show_rows, write
from forgelog.errors import InvalidInput
from forgelog.units import parse_bytes

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

PALETTE = ("cyan", "magenta", "yellow", "green", "blue", "red")


def logs(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB[/TASKS]",
            help="The job's id, the beginning of it, or its name; /3 or /0-3,7 for tasks.",
            autocompletion=complete.jobs,
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job has ended.")] = False,
    stream: Annotated[str, typer.Option("--stream", help="stdout or stderr; both when left out.")] = "",
    attempt: Annotated[int, typer.Option("--attempt", min=0, help="Only this attempt; 0 is every one.")] = 0,
    tail: Annotated[str | None, typer.Option("--tail", metavar="SIZE", help="Only each stream's end: 4K, 1M.")] = None,
    at: AtOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Show whether it is what the tasks printed, and not the output itself.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a job's output: its standard output on standard output, its standard error on standard error.

    Lines of an array begin with the task's number. With --output json, each piece is one JSON object; with yaml, one
    document. There, bytes that are not text are in `data_base64`.

    With --verify, each stream is held against the digest that its node made of it. Exits with 1 if any differs or is
    incomplete.
    """
    called, _, tasks = job.partition("/")
    tail_bytes = parsed(tail, "--tail", parse_bytes)
    as_of = moment(at)
    if follow and as_of is not None:
        raise InvalidInput("--follow: what had come by a past time does not grow; leave out --follow or --at")
    if verify:
        if follow or stream or attempt or tail_bytes is not None or as_of is not None:
            raise InvalidInput(
                "--verify: takes all of a job's output; leave out --follow, --stream, --attempt, --tail and --at"
            )
        show_checked(called, tasks, output)
        return

    async def work(client: AsyncClient) -> None:
        id = await client.jobs.find(called)
        several = tasks == "" and (await client.jobs.get(id)).job.tasks.total > 1
        pieces = client.jobs.logs(
            id, tasks=tasks, attempt=attempt, stream=stream, follow=follow, tail_bytes=tail_bytes, at=as_of
        )
        await show_pieces(pieces, output, prefixed=several)

    with_client(work)


def show_checked(called: str, tasks: str, output: Format) -> None:
    """Hold the output of a job, or of some of its tasks, against its digests. Exits with 1 if any is not as it was."""
    from forgelog.client.output import BAD, CheckedOutput

    async def work(client: AsyncClient) -> list[CheckedOutput]:
        return await client.output.verify(await client.jobs.find(called), tasks=tasks)

    found = with_client(work)
    columns = [
        column("Task", right=True), column("Attempt", right=True), column("Stream"), column("Result", least=10),
        column("Bytes", right=True), column("Digest", least=12),
    ]  # fmt: skip
    show_rows([each._asdict() for each in found], columns, output, empty="no task of it has run")
    for each in found:
        if each.result in BAD:
            printed, stored = (digest[:12] if digest else "none" for digest in (each.digest, each.stored_digest))
            note(
                f"task {each.task}, attempt {each.attempt}: {each.bytes} bytes were printed on {each.stream}, digest "
                f"{printed}; {each.stored_bytes} are stored, digest {stored}"
            )
    if any(each.result in BAD for each in found):
        raise typer.Exit(1)


async def show_pieces(pieces: AsyncIterator[Any], output: Format, *, prefixed: bool) -> None:
    """Write pieces to standard output and error. `prefixed`: with the task's number before each line."""
    lines = Lines()
    async for piece in pieces:
        if output is not Format.TABLE:
            _data(piece, output)
        elif prefixed:
            lines.add(piece)
        else:
            _raw(piece.stream, piece.data)
        if output is Format.TABLE and (said := missing(piece)):
            note(said)
    lines.flush()


def missing(piece: Any) -> str:
    """The message about bytes that are missing before a piece; empty if none are."""
    if piece.eof and piece.missing_bytes:
        return f"task {piece.task}: {piece.missing_bytes} bytes of {piece.stream} were cut: they are beyond the limit"
    if piece.missing_bytes:
        return f"task {piece.task}: {piece.missing_bytes} bytes of {piece.stream} are missing here: they were lost"
    return f"task {piece.task}: {piece.stream} is cut from here on: it is beyond the limit" if piece.truncated else ""


def _data(piece: Any, output: Format) -> None:
    """Write a piece for programs. Bytes that are not text are in `data_base64` instead of `data`."""
    try:
        content = {"data": piece.data.decode()}
    except UnicodeDecodeError:
        content = {"data_base64": base64.b64encode(piece.data).decode()}
    shown = {name: value for name, value in piece.items() if name not in ("data", "text")} | content
    if output is Format.YAML:
        write("---\n")
        show_data(shown, output)
        write("", flush=True)
    else:
        show_line(shown)


def _raw(stream: str, data: bytes) -> None:
    """Write bytes unchanged: a job may print bytes that are not text."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    target.flush()
    try:
        target.buffer.write(data)
        target.buffer.flush()
    except BrokenPipeError:
        raise nobody_reads(target) from None


class Lines:
    """Assembles the lines of several tasks, so that lines are not mixed."""

    def __init__(self) -> None:
        self._rest: dict[tuple[int, int, str], bytes] = {}

    def add(self, piece: Any) -> None:
        place = (piece.task, piece.attempt, piece.stream)
        *whole, rest = (self._rest.get(place, b"") + piece.data).split(b"\n")
        for line in whole:
            self._write(piece.task, piece.stream, line)
        if piece.eof and rest:
            self._write(piece.task, piece.stream, rest)
            rest = b""
        self._rest[place] = rest

    def flush(self) -> None:
        for (task, _, stream), rest in self._rest.items():
            if rest:
                self._write(task, stream, rest)
        self._rest.clear()

    @staticmethod
    def _write(task: int, stream: str, line: bytes) -> None:
        target = sys.stderr if stream == "stderr" else sys.stdout
        mark = f"{task}| "
        if target.isatty():
            mark = typer.style(mark, fg=PALETTE[task % len(PALETTE)])
        _raw(stream, mark.encode() + line + b"\n")


COMMANDS = {"logs": logs}
