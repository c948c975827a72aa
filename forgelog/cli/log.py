"""`history`, `replay` and `watch`: the log as people read it. Knows no event's shape, only its type and its body."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, run, with_client
from forgelog.cli.render import (
    Column,
    Format,
    column,
    show_data,
    show_line,
    show_rows,
    stream,
    terminal_width,
    text_of,
    write,
)
from forgelog.cli.tables import clock, cut
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

CONTEXTS = ("jobs", "scheduling", "resources")

ContextOption = Annotated[
    str | None,
    typer.Option("--context", "-c", help=f"One of {', '.join(CONTEXTS)}; all of them when left out."),
]


def register(app: typer.Typer) -> None:
    app.command("history")(history)
    app.command("replay")(replay)
    app.command("watch")(watch)


def contexts_of(given: str | None) -> tuple[str, ...]:
    """The contexts that an option names. Raises `InvalidInput`."""
    if given is None:
        return CONTEXTS
    if given not in CONTEXTS:
        from difflib import get_close_matches

        close = get_close_matches(given, CONTEXTS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"write one of {', '.join(CONTEXTS)}"
        raise InvalidInput(f"there is no context {given!r}; {hint}")
    return (given,)


IdArgument = Annotated[
    str,
    typer.Argument(
        help="A job, an allocation, a node, a queue; a job's name or the beginning of an id will do.",
        autocompletion=complete.jobs,
    ),
]


def history(
    id: IdArgument,
    context: ContextOption = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="ID is a command's: show everything it led to, in all contexts.")
    ] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show all events of one aggregate, each behind those that led to it."""
    as_of, names = moment(at), contexts_of(context)

    async def work(client: AsyncClient) -> list[Any]:
        events = await _histories(client, names, id, as_of, flow=flow)
        if events or flow:
            return events
        if (meant := await _called(client, id, as_of)) != id:
            return await _histories(client, names, meant, as_of)
        if await _histories(client, names, id, as_of, flow=True):
            raise NotFound(f"{id!r} is a command; 'forgelog history {id} --flow' shows everything it led to")
        return []

    events = with_client(work)
    if not events and output is Format.TABLE:
        raise _unknown(id, at, "command" if flow else "")
    show_rows(events, event_columns(datetime.now().astimezone().date()), output)


async def _histories(
    client: AsyncClient, contexts: Sequence[str], id: str, at: datetime | None, *, flow: bool = False
) -> list[Any]:
    from forgelog.client.log import in_order

    return in_order([event for name in contexts for event in await client.history(name, id, at=at, flow=flow)])


async def _called(client: AsyncClient, text: str, at: datetime | None) -> str:
    """The id of the job or node that is meant, if one is; else the text as it is."""
    for find in (client.find, client.find_node):
        with suppress(NotFound):  # it may be a thing of another kind
            return await find(text, at=at)
    return text


def replay(
    id: IdArgument,
    context: ContextOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fold an aggregate's history again, event by event, and show what each one changed.

    The same fold fills the tables that queries are answered from; here it runs in memory, on this machine.
    """

    as_of, names = moment(at), contexts_of(context)

    async def work(client: AsyncClient) -> list[dict[str, Any]]:
        found = await _steps(client, names, id, as_of)
        return found or await _steps(client, names, await _called(client, id, as_of), as_of)

    steps = with_client(work)
    if output is not Format.TABLE:
        show_data(steps, output)
    elif not steps:
        raise _unknown(id, at)
    else:
        for step in steps:
            show_step(step, steps[0]["time"])


async def _steps(client: AsyncClient, contexts: Sequence[str], id: str, at: datetime | None) -> list[dict[str, Any]]:
    from forgelog.client.log import in_order
    from forgelog.replay import replay_steps

    steps: list[dict[str, Any]] = []
    for name in contexts:
        if events := await client.history(name, id, at=at):
            steps += replay_steps(name, events)
    return in_order(steps)


def _unknown(id: str, at: str | None, what: str = "") -> typer.Exit:
    known = f"no {what}" if what else "nothing"
    typer.echo(f"error: the log knows {known} of the id {id!r}{f' as of {at}' if at else ''}", err=True)
    return typer.Exit(1)


def show_step(step: Mapping[str, Any], began: datetime) -> None:
    """A step and its changes, without those that a reader could not see; all of them are in the JSON."""
    room = terminal_width()
    passed = (step["time"] - began).total_seconds()
    write(f"{passed:>9.3f}s  {step['position']:<22}  {step['type']}\n")
    gone = set()
    for change in step["changes"]:
        row = f"{change['table']}[{change['key']}]"
        before, after = text_of(change["before"]), text_of(change["after"])
        if change["row"] == "removed":
            if row not in gone:
                write(f"            {row}: removed\n")
            gone.add(row)
        elif before != after:
            shown = f"{cut(before, 100)} → {cut(after, 100) or '(empty)'}" if before else cut(after, 100)
            line = f"            {row}.{change['column']}: {shown}"
            write((cut(line, room) if room is not None else line) + "\n")


def types_of(given: Sequence[str] | None) -> list[str]:
    """The full names of the types of events that an option names. Raises `InvalidInput`."""
    if not given:
        return []
    from events.language.problems import close_to
    from events.language.registry import event_types

    found: list[str] = []
    for name in given:
        full = [known for known in event_types() if name and name in (known, known.rpartition(".")[2])]
        if not full:
            close = close_to(name, (known.rpartition(".")[2] for known in event_types()))
            hint = f"did you mean {close!r}?" if close else "docs/reference lists them"
            raise InvalidInput(f"--type: there is no event {name!r}; {hint}")
        found += full
    return found


def watch(
    id: Annotated[list[str] | None, typer.Argument(help="Only these aggregates; all when left out.")] = None,
    context: ContextOption = None,
    type: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only these types, such as JobStarted (repeatable).")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show events as they happen, until Ctrl-C. JSON is one event a line."""

    async def work() -> None:
        import asyncio

        from forgelog.client.aio import AsyncClient

        names, types = contexts_of(context), types_of(type)
        events = stream(event_columns(datetime.now().astimezone().date()))

        async def follow(client: AsyncClient, name: str, subjects: Sequence[str]) -> None:
            async for event in client.watch(name, subjects=subjects, types=types):
                if output is Format.TABLE:
                    write("\n".join(events.lines(event)) + "\n")
                    sys.stdout.flush()
                else:
                    show_line(event)

        async with AsyncClient() as client, asyncio.TaskGroup() as group:
            subjects = [await _called(client, text, None) for text in id or ()]
            for name in names:
                group.create_task(follow(client, name, subjects))

    try:
        run(work)
    except* KeyboardInterrupt:
        raise typer.Exit(130) from None


def _type(event: Mapping[str, Any]) -> str:
    return str(event["type"]).rsplit(".", 1)[-1]


def _summary(event: Mapping[str, Any]) -> str:
    """The body on one line: short values only, what everyone sees elsewhere left out."""
    data = event["data"] if isinstance(event["data"], dict) else {}
    left_out = {"job_id", "project", "owner", "queue", "pool", "launch", "request", "spec"}
    parts = []
    for key, value in data.items():
        if key in left_out or value in (None, "", [], {}):
            continue
        text = text_of(value)
        parts.append(f"{key}={cut(text, 48)}")
    return cut(" ".join(parts), 160)


def event_columns(today: date) -> list[Column]:
    """Times of another day than `today` have their date."""

    def time(event: Mapping[str, Any]) -> str:
        return clock(event["time"], today) if isinstance(event["time"], datetime) else ""

    return [
        Column("Time", time),
        Column("Position", lambda event: str(event["position"]).removeprefix("events."), rank=3),
        Column("Event", _type),
        column("By", "actor", rank=2),
        Column("What", _summary, rank=1, least=16),
    ]
