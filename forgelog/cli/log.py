"""`history`, `replay` and `watch`: the log as people read it. Knows no event's shape, only its type and its body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, run, with_client
from forgelog.cli.render import Column, Format, column, is_terminal, show_data, show_line, show_rows, text_of, write
from forgelog.errors import InvalidInput

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


def history(
    id: Annotated[str, typer.Argument(help="A job, an allocation, a node, a queue.")],
    context: ContextOption = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="ID is a command's: show everything it led to, in all contexts.")
    ] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show all events of one aggregate, oldest first."""

    async def work(client: AsyncClient) -> list[Any]:
        from forgelog.client.log import in_order

        as_of = moment(at)
        events: list[Any] = []
        for name in contexts_of(context):
            events += await client.history(name, id, at=as_of, flow=flow)
        return in_order(events)

    events = with_client(work)
    what = "no command" if flow else "nothing"
    empty = f"the log knows {what} of the id {id!r}{f' as of {at}' if at else ''}"
    show_rows(events, EVENT_COLUMNS if not is_terminal() else [*EVENT_COLUMNS], output, empty=empty)
    if not events and output is Format.TABLE:
        raise typer.Exit(1)


def replay(
    id: Annotated[str, typer.Argument(help="A job, an allocation, a node, a queue.")],
    context: ContextOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fold an aggregate's history again, event by event, and show what each one changed.

    The same fold fills the tables that queries are answered from; here it runs in memory, on this machine.
    """

    async def work(client: AsyncClient) -> list[dict[str, Any]]:
        from forgelog.client.log import in_order
        from forgelog.replay import replay_steps

        as_of = moment(at)
        steps: list[dict[str, Any]] = []
        for name in contexts_of(context):
            events = await client.history(name, id, at=as_of)
            if events:
                steps += replay_steps(name, events)
        return in_order(steps)

    steps = with_client(work)
    if output is not Format.TABLE:
        show_data(steps, output)
    elif not steps:
        raise _unknown(id)
    else:
        for step in steps:
            show_step(step, steps[0]["time"])


def _unknown(id: str) -> typer.Exit:
    typer.echo(f"error: the log knows nothing of the id {id!r}", err=True)
    return typer.Exit(1)


def show_step(step: Mapping[str, Any], began: datetime) -> None:
    """A step and its changes, without those that a reader could not see; all of them are in the JSON."""
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
            shown = f"{_cut(before)} → {_cut(after) or '(empty)'}" if before else _cut(after)
            write(f"            {row}.{change['column']}: {shown}\n")


def _cut(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


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

        names = contexts_of(context)

        async def follow(client: AsyncClient, name: str) -> None:
            async for event in client.watch(name, subjects=id or (), types=type or ()):
                if output is Format.TABLE:
                    cells = [text_of(item.cell(event)) for item in EVENT_COLUMNS]
                    write(f"{cells[0]}  {cells[1]:<24}  {cells[2]:<28}  {_cut(cells[3], 24):<24}  {cells[4]}\n")
                    import sys

                    sys.stdout.flush()
                else:
                    show_line(event)

        async with AsyncClient() as client, asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(follow(client, name))

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
        parts.append(f"{key}={_cut(text, 48)}")
    return _cut(" ".join(parts), 160)


def _clock(event: Mapping[str, Any]) -> str:
    time = event["time"]
    return time.astimezone().strftime("%H:%M:%S.%f")[:-3] if isinstance(time, datetime) else ""


EVENT_COLUMNS: list[Column] = [
    Column("Time", _clock),
    Column("Position", lambda event: str(event["position"]).removeprefix("events.")),
    Column("Event", _type),
    column("By", "actor"),
    Column("What", _summary),
]
