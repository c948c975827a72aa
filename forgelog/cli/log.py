"""`history`, `replay` and `watch`: show the log to people. Knows only the type and the body of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from events.language.contexts import contexts
from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, run, with_client
from forgelog.cli.event_table import event_columns
from forgelog.cli.render import (
    Format,
    note,
    show_data,
    show_line,
    show_rows,
    stream,
    terminal_width,
    text_of,
    write,
)
from forgelog.cli.tables import cut
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

CONTEXTS = tuple(contexts())

ContextOption = Annotated[
    str | None,
    typer.Option("--context", "-c", help=f"One of {', '.join(CONTEXTS)}; all of them when left out."),
]


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


_ID = "A job, an allocation, a node, a queue; a job's name or the beginning of an id will do."

IdArgument = Annotated[str, typer.Argument(help=_ID, autocompletion=complete.jobs)]
MaybeIdArgument = Annotated[str | None, typer.Argument(help=f"{_ID} All when left out.", autocompletion=complete.jobs)]

MOST_SHOWN = 1000
"""Events of `history` without an id, unless more are asked for."""


def history(
    id: MaybeIdArgument = None,
    context: ContextOption = None,
    flow: Annotated[
        bool,
        typer.Option("--flow", help="ID is a command's: show its direct events and the whole flow that it began."),
    ] = False,
    actor: ActorOption = None,
    type: TypeOption = None,
    project: ProjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    aggregate: AggregateOption = None,
    by_itself: ByItselfOption = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help=f"At most so many, the oldest; without ID {MOST_SHOWN}."),
    ] = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show all events of one aggregate, or all events that match the filters; causes come before effects."""
    as_of, names = moment(at), contexts_of(context)
    filters = filters_of(names, actor, type, project, since, until, aggregate, by_itself)
    if id is None and flow:
        raise InvalidInput("--flow needs the id of a command")
    if id is None and not filters:
        raise InvalidInput(
            "say which events: an ID, or --actor, --type, --project, --aggregate, --by-itself, --since or --until"
        )
    most = limit or (MOST_SHOWN if id is None else None)
    # Request one more than is shown, to learn whether there are more.
    wanted = {**filters, "at": as_of, "flow": flow, "limit": None if most is None else most + 1}

    async def work(client: AsyncClient) -> list[Any]:
        events = await _histories(client, names, id, **wanted)
        if events or flow or id is None:
            return events
        if (meant := await _called(client, id, as_of)) != id:
            return await _histories(client, names, meant, **wanted)
        if await _histories(client, names, id, **{**wanted, "flow": True, "limit": 1}):
            raise NotFound(f"{id!r} is a command; 'forgelog history {id} --flow' shows its flow")
        return []

    events = with_client(work)
    if not events and output is Format.TABLE and id is not None and not filters:
        raise _unknown(id, at, "command" if flow else "")
    show_rows(events[:most], event_columns(datetime.now().astimezone().date()), output, empty="no event fits")
    if most is not None and len(events) > most:
        note(f"and more behind {events[most - 1]['position']}; --limit shows more, --since and --until other ones")


async def _histories(client: AsyncClient, contexts: Sequence[str], id: str | None, **wanted: Any) -> list[Any]:
    from forgelog.client.log import in_order

    asked = [(name, own) for name in contexts if (own := of_context(name, wanted)) is not None]
    return in_order([event for name, own in asked for event in await client.log.history(name, id, **own)])


async def _called(client: AsyncClient, text: str, at: datetime | None) -> str:
    """The id of the job or node that the text names; else the text itself."""
    for find in (client.jobs.find, client.nodes.find):
        with suppress(NotFound):  # it may be an aggregate of another kind
            return await find(text, at=at)
    return text


def replay(
    id: IdArgument,
    context: ContextOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fold an aggregate's history again, event by event, and show what each event changes.

    It is the same fold that fills the tables of queries; here it runs in memory on this machine.
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
    from events.projections.rebuild import NoProjection
    from forgelog.client.log import in_order
    from forgelog.replay import replay_steps

    steps: list[dict[str, Any]] = []
    for name in contexts:
        if events := await client.log.history(name, id, at=at):
            try:
                steps += replay_steps(name, events)
            except NoProjection as error:
                note(f"{error}; nothing to replay")
    return in_order(steps)


def _unknown(id: str, at: str | None, what: str = "") -> typer.Exit:
    known = f"no {what}" if what else "nothing"
    typer.echo(f"error: the log knows {known} of the id {id!r}{f' as of {at}' if at else ''}", err=True)
    return typer.Exit(1)


def show_step(step: Mapping[str, Any], began: datetime) -> None:
    """Show a step and its visible changes; the JSON output has all changes."""
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


def types_of(given: Sequence[str] | None, contexts: Sequence[str]) -> list[str]:
    """The full names of the types of events of these contexts that an option names. Raises `InvalidInput`."""
    if not given:
        return []
    from events.language.problems import event_types_named

    try:
        return [full for name in given for full in event_types_named(name, contexts)]
    except ValueError as error:
        raise InvalidInput(f"--type: {error}") from None


def of_context(context: str, filters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The filters with the types of that context only; None if it has none of the types, or not the aggregate."""
    if (aggregate := filters.get("aggregate")) and aggregate not in aggregates_in((context,)):
        return None
    if not (types := filters.get("types")):
        return dict(filters)
    from events.language.problems import is_event_of

    own = tuple(full for full in types if is_event_of(full, (context,)))
    return {**filters, "types": own} if own else None


def aggregates_in(contexts: Sequence[str]) -> list[str]:
    """The kinds of aggregates that these contexts' events are about."""
    from events.language.registry import aggregates_of

    return sorted({kind for context in contexts for kind in aggregates_of(context)})


def aggregate_of(given: str | None, contexts: Sequence[str]) -> str | None:
    """The kind of aggregate that ``--aggregate`` names. Raises `InvalidInput`."""
    if given is None or given in (kinds := aggregates_in(contexts)):
        return given
    raise InvalidInput(f"--aggregate: {given!r} is no kind of aggregate; write one of {', '.join(kinds)}")


def projects_of(given: Sequence[str] | None) -> list[str]:
    """The projects that ``--project`` names. Raises `InvalidInput`."""
    if not given:
        return []
    from pydantic import TypeAdapter, ValidationError

    from events.language.common import ProjectName, shown

    adapter: TypeAdapter[str] = TypeAdapter(ProjectName)
    for name in given:
        try:
            adapter.validate_python(name)
        except ValidationError:
            problem = f"--project: {shown(name)} is no project; write organization/project, such as local/default"
            raise InvalidInput(problem) from None
    return list(given)


ActorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--actor", metavar="NAME", help="Only of these actors: who did it, or created its aggregate (repeatable)."
    ),
]
TypeOption = Annotated[
    list[str] | None, typer.Option("--type", "-t", help="Only these types, such as JobStarted (repeatable).")
]
ProjectOption = Annotated[
    list[str] | None,
    typer.Option("--project", metavar="ORG/PROJECT", help="Only of these projects (repeatable)."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From this time on: '2h ago', '03:12', '2026-05-09'.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before this time; written as --since.")
]


def _kinds(incomplete: str) -> list[str]:
    return complete.words(aggregates_in(CONTEXTS))(incomplete)


AggregateOption = Annotated[
    str | None,
    typer.Option(
        "--aggregate",
        metavar="KIND",
        help="Only about this kind of aggregate, such as job; an unknown word lists all kinds.",
        autocompletion=_kinds,
    ),
]
ByItselfOption = Annotated[
    bool, typer.Option("--by-itself", help="Only what the platform did without a command, because of time or capacity.")
]


def filters_of(
    contexts: Sequence[str],
    actor: Sequence[str] | None,
    type: Sequence[str] | None,
    project: Sequence[str] | None,
    since: str | None,
    until: str | None,
    aggregate: str | None = None,
    by_itself: bool = False,
) -> dict[str, Any]:
    """The given options as the client's filters. Raises `InvalidInput`."""
    wanted = {
        "actors": tuple(actor or ()),
        "types": tuple(types_of(type, contexts)),
        "projects": tuple(projects_of(project)),
        "since": moment(since, "--since"),
        "until": moment(until, "--until"),
        "aggregate": aggregate_of(aggregate, contexts),
        "by_itself": by_itself or None,
    }
    return {name: value for name, value in wanted.items() if value not in (None, ())}


def watch(
    id: Annotated[list[str] | None, typer.Argument(help="Only these aggregates; all when left out.")] = None,
    context: ContextOption = None,
    type: TypeOption = None,
    actor: ActorOption = None,
    project: ProjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    aggregate: AggregateOption = None,
    by_itself: ByItselfOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show events as they happen, until Ctrl-C. JSON is one event a line.

    With --since, earlier events from that time on come first. With --until, it ends with the last event before that
    time that the tables have.
    """

    names = contexts_of(context)
    filters = filters_of(names, actor, type, project, since, until, aggregate, by_itself)
    asked = [(name, own) for name in names if (own := of_context(name, filters)) is not None]
    if not asked:
        note("no event fits")
        return

    async def work() -> None:
        import asyncio

        from forgelog.client.aio import AsyncClient

        events = stream(event_columns(datetime.now().astimezone().date()))

        async def follow(client: AsyncClient, name: str, subjects: Sequence[str], own: dict[str, Any]) -> None:
            async for event in client.log.watch(name, subjects=subjects, **own):
                if output is Format.TABLE:
                    write("\n".join(events.lines(event)) + "\n", flush=True)
                else:
                    show_line(event)

        async with AsyncClient() as client, asyncio.TaskGroup() as group:
            subjects = [await _called(client, text, None) for text in id or ()]
            for name, own in asked:
                group.create_task(follow(client, name, subjects, own))

    try:
        run(work)
    except* KeyboardInterrupt:
        raise typer.Exit(130) from None


COMMANDS = {"history": history, "replay": replay, "watch": watch}
