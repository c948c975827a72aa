"""`rebuild` and `deadletters`: work on the log and the tables, directly on Kafka and Postgres.

They need the addresses of the servers, not of the gateway: from the environment, else from the running platform's
state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, platform_settings, run
from forgelog.cli.differences import differences
from forgelog.cli.log import CONTEXTS, ContextOption, contexts_of
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, age_column, column, note, show_data, show_fields, show_rows, write
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from events.projections.rebuild import Difference

letters_app = typer.Typer(
    no_args_is_help=True, help="List, show and replay records that are no command and no piece of a stream."
)


def rebuild(
    services: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(CONTEXTS)}; all when left out.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: rebuild separately and compare every row.")
    ] = False,
    streams: Annotated[
        bool, typer.Option("--streams", help="Rebuild the tables of its streams instead, such as what tasks printed.")
    ] = False,
    lose: Annotated[
        bool, typer.Option("--lose", help="With --streams: also where the topic has removed records since.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Rebuild a service's tables from the whole log while the old ones serve, or check that they do not differ."""
    names = [context for name in services or CONTEXTS for context in contexts_of(name)]
    if not services and not check:
        raise typer.BadParameter("say which service to rebuild; all at once only with --check")
    if check and streams:
        raise typer.BadParameter("--check compares tables of events; leave out --streams")
    if lose and not streams:
        raise typer.BadParameter("--lose is for --streams: events are never removed")
    if streams:
        _rebuild_streams(names, output, lose=lose)
        return

    async def work() -> list[dict[str, Any]]:
        from events.projections import rebuild as runtime
        from forgelog.errors import ForgelogError

        settings = platform_settings()
        results = []
        for name in names:
            with Progress(f"{'checking' if check else 'rebuilding'} {name}", output) as progress:
                try:
                    if check:
                        results.append(difference_data(await runtime.diff(settings, name, progress.update)))
                    else:
                        done = await runtime.rebuild(settings, name, progress.update, forget_former=True)
                        results.append({"context": name, "events": done.events, "seconds": round(done.seconds, 3)})
                except runtime.NoProjection as error:
                    if services:
                        raise NotFound(str(error)) from None
                    note(f"{error}; nothing to check")
                except runtime.RebuildFailed as error:
                    raise ForgelogError(f"{name} can't be rebuilt: {error}; its live tables are untouched") from None
        return results

    results = run(work)
    if output is not Format.TABLE:
        show_data(results, output)
    elif check:
        _show_differences(results)
    else:
        columns = [column("Service", "context"), column("Events", right=True), column("Seconds", right=True)]
        show_rows(results, columns, output)
    if any(not item.get("equal", True) for item in results):
        raise typer.Exit(1)


def _rebuild_streams(names: list[str], output: Format, *, lose: bool) -> None:
    async def work() -> list[dict[str, Any]]:
        from events.streams import rebuild as runtime
        from forgelog.errors import ForgelogError

        settings = platform_settings()
        results = []
        for name in names:
            if not (found := runtime.streams_of(name)):
                raise NotFound(f"{name} has no streams")
            for stream in found:
                topic = stream.topic.name
                with Progress(f"rebuilding {topic}", output) as progress:
                    try:
                        done = await runtime.rebuild_stream(settings, stream, progress.update, lose=lose)
                    except runtime.RebuildFailed as error:
                        problem = f"{topic} can't be rebuilt: {error}; its live tables are untouched"
                        raise ForgelogError(problem) from None
                results.append({"stream": topic, "records": done.records, "seconds": round(done.seconds, 3)})
        return results

    columns = [column("Stream"), column("Records", right=True), column("Seconds", right=True)]
    results = run(work)
    if output is Format.TABLE:
        show_rows(results, columns, output)
    else:
        show_data(results, output)


def difference_data(found: Difference) -> dict[str, Any]:
    """A comparison as plain data."""
    return {
        "context": found.context,
        "equal": found.equal,
        "events": found.events,
        "rows": dict(found.rows),
        "missing": {table: list(rows) for table, rows in found.missing.items()},
        "surplus": {table: list(rows) for table, rows in found.surplus.items()},
    }


def _show_differences(results: list[dict[str, Any]]) -> None:
    rows = [
        {
            "service": item["context"],
            "table": table,
            "rows": count,
            "result": "differs" if table in item["missing"] or table in item["surplus"] else "ok",
        }
        for item in results
        for table, count in item["rows"].items()
    ]
    columns = [column("Service"), column("Table"), column("Rows", right=True), column("Result", style=True)]
    show_rows(rows, columns, Format.TABLE)
    for item in results:
        for table in item["rows"]:
            missing, surplus = item["missing"].get(table, ()), item["surplus"].get(table, ())
            for line in differences(f"{item['context']}.{table}", missing, surplus):
                write(f"{line}\n")


@letters_app.command("list")
def list_letters(context: ContextOption = None, output: OutputOption = Format.TABLE) -> None:
    """List dead letters: the newest 1,000 of commands, and of each stream."""
    from datetime import UTC, datetime

    async def work() -> list[dict[str, Any]]:
        from events.log.deadletters import list_dead_letters

        settings = platform_settings()
        return [_letter(letter) for name in contexts_of(context) for letter in await list_dead_letters(settings, name)]

    columns = [
        column("Position"),
        age_column("Arrived", "at", datetime.now(UTC), rank=1),
        column("Replayed", rank=2),
        column("Reason", least=20, wrap=True),
    ]
    show_rows(run(work), columns, output, empty="there are no dead letters")


@letters_app.command("show")
def show_letter(
    position: Annotated[str, typer.Argument(help="As 'deadletters list' shows it.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a dead letter: its headers, its body, and the reason."""

    async def work() -> dict[str, Any]:
        from events.log.deadletters import dead_letter_at

        try:
            return _letter(await dead_letter_at(platform_settings(), _position(position)))
        except LookupError as error:
            raise NotFound(str(error)) from None

    letter = run(work)
    if output is not Format.TABLE:
        show_data(letter, output)
        return
    show_fields({key: value for key, value in letter.items() if key not in ("value", "headers")})
    show_fields(letter["headers"], title="headers:")
    write("body:\n" + letter["value"] + "\n")


@letters_app.command("replay")
def replay_letter(
    position: Annotated[str, typer.Argument(help="As 'deadletters list' shows it.")],
    file: Annotated[
        typer.FileBinaryRead | None, typer.Option("--file", "-f", help="The corrected body [default: unchanged].")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Publish a dead letter again where it was published, with a corrected body if you give a file."""
    body = file.read() if file is not None else None

    async def work() -> str:
        from events.log.deadletters import NotReplayable, replay_dead_letter

        try:
            return str(await replay_dead_letter(platform_settings(), _position(position), body))
        except LookupError as error:
            raise NotFound(str(error)) from None
        except NotReplayable as error:
            raise InvalidInput(str(error)) from None

    place = run(work)
    if output is Format.TABLE:
        note(f"replayed as {place}")
    else:
        show_data({"position": place}, output)


def _position(text: str) -> Any:
    from events.log.envelope import Position

    try:
        place = Position.parse(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    if place.topic.removeprefix("deadletter.") not in CONTEXTS:
        raise InvalidInput(f"{text!r} is not the place of a dead letter; it looks like deadletter.jobs/0@12")
    return place


def _letter(letter: Any) -> dict[str, Any]:
    return {
        "position": str(letter.position),
        "origin": letter.origin,
        "at": letter.at,
        "key": letter.key,
        "reason": letter.reason,
        "replayed": letter.replayed,
        "headers": {name: value.decode(errors="replace") for name, value in letter.headers},
        "value": letter.value.decode(errors="replace"),
    }


COMMANDS = {"rebuild": rebuild, "deadletters": letters_app}
