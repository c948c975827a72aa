"""`export`: writes the events of a time span to a file, for tools that know no Kafka. Reads Kafka only."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from forgelog.cli.common import moment, platform_settings, reading_log
from forgelog.cli.log import ContextOption, ProjectOption, TypeOption, contexts_of, projects_of, types_of
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, note
from forgelog.errors import ForgelogError, InvalidInput
from forgelog.export_files import ExportFile, ExportFormat, Sink, format_of, unwritable


def export(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; '-' is standard output (jsonl only).")
    ],
    since: Annotated[
        str | None,
        typer.Option(
            "--since", "--from", metavar="TIME", help="Start: '1d ago', '2026-05-09' [default: the log's beginning]."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", "--to", metavar="TIME", help="End, exclusive [default: the log's end]."),
    ] = None,
    format: Annotated[
        ExportFormat | None, typer.Option("--format", help="[default: by the file's name, else jsonl]")
    ] = None,
    context: ContextOption = None,
    type: TypeOption = None,
    project: ProjectOption = None,
) -> None:
    """Write the events of a span of time with their envelopes to a file, oldest first.

    --since is inclusive, --until is exclusive, so adjacent spans share no event. The file is written completely or not
    at all, and only you can read it.
    """
    begin, end = moment(since, "--since"), moment(until, "--until")
    if begin and end and begin >= end:
        raise InvalidInput("--until: is not after --since; give a later time")
    if output in {*Format}:
        raise InvalidInput(
            f"--output: names the file to write, and {output} is a format of other commands; give --output "
            f"events.jsonl, or ./{output}"
        )
    contexts = contexts_of(context)
    types, projects = types_of(type, contexts), projects_of(project)
    form = format_of(output, format)

    async def work() -> int:
        from events.log.exporting import FIELDS, CantExport, exported

        settings = platform_settings(log_only=True)
        count = 0
        # The bar is shown even if the output is data: it goes to the terminal only.
        with Progress("exporting", Format.TABLE) as progress, ExportFile(output, form, FIELDS) as sink:
            try:
                async for events in exported(
                    settings,
                    contexts,
                    since=begin,
                    until=end,
                    types=types,
                    projects=projects,
                    progress=progress.update,
                ):
                    _write(sink, events, output)
                    count += len(events)
            except CantExport as error:
                raise ForgelogError(str(error)) from None
        return count

    async def told() -> int:
        try:
            return await work()
        except BrokenPipeError:  # the reader has enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter reports it at exit
            raise typer.Exit(0) from None

    count = reading_log(told)
    where = "standard output" if output == "-" else output
    note(f"{count} event{'' if count == 1 else 's'} to {where}")


def _write(sink: Sink, events: list[dict[str, Any]], output: str) -> None:
    try:
        sink.write(events)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(output, error) from None


COMMANDS = {"export": export}
