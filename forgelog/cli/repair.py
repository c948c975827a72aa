"""`repair`: shows records that stop a place, and writes the operator's decision about one directly to Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, platform_settings, run, with_client
from forgelog.cli.log import CONTEXTS
from forgelog.cli.render import Format, age_column, column, listed, note, show_data, show_fields, show_rows, write
from forgelog.errors import ForgelogError, InvalidInput, NotFound, Timeout

if TYPE_CHECKING:
    from events.log.envelope import Position
    from events.log.repairing import Suspect
    from forgelog.client.aio import AsyncClient

GOES_ON_SECONDS = 60.0
"""Longest wait for the stopped places to go on."""

SHOWN_BYTES = 2_000


def repair(
    position: Annotated[
        str | None, typer.Argument(help="A record, such as events.jobs/2@77 [default: all that stop a place].")
    ] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Let every reader skip the record from now on.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Let the places that stopped there try again, once the cause is fixed.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the log with your name.")
    ] = "",
    decided: Annotated[bool, typer.Option("--decided", help="List all decisions.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the records that stop a place, and why; skip one, or try it again.

    A skipped record stays in the log, and `audit verify` still reports it if it was changed.
    """
    if decided:
        if position or skip or retry:
            raise typer.BadParameter("--decided lists all decisions; leave the rest out")
        _list_decisions(output)
    elif position is None:
        if skip or retry:
            raise typer.BadParameter("say which record: its position, as `forgelog repair` lists it")
        _list_stopped(output)
    elif skip or retry:
        if skip and retry:
            raise typer.BadParameter("choose one of --skip and --retry")
        if not reason.strip():
            raise typer.BadParameter("give the --reason: the log keeps it with your name")
        _decide(position, skip=skip, reason=reason.strip(), output=output)
    else:
        _show(position, output)


async def stopped(client: AsyncClient) -> list[dict[str, Any]]:
    """All stops of every context, by record: its position, its type and id, the cause, and the stopped places."""
    found: dict[str, dict[str, Any]] = {}
    for stop in await _stops(client):
        known = found.setdefault(
            stop["position"],
            {
                "position": stop["position"],
                "record": stop["record"],
                "cause": stop["cause"],
                "since": stop["since"],
                "skippable": stop["skippable"],
                "places": [],
            },
        )
        known["places"].append(stop["place"])
    return list(found.values())


async def _stops(client: AsyncClient) -> list[Any]:
    return [stop for context in CONTEXTS for stop in (await client.log.status(context)).get("stopped", ())]


def _list_stopped(output: Format) -> None:
    rows = with_client(stopped)
    if output is not Format.TABLE:
        show_data(rows, output)
        return
    if not rows:
        note("nothing is stopped")
    for row in rows:
        show_fields({**row, "places": len(row["places"]), "skippable": None})
        write("".join(f"{line}\n" for line in listed(row["places"])))
        skip = f"forgelog repair {row['position']} --skip --reason '...'"
        again = f"forgelog repair {row['position']} --retry --reason '...'"
        write(f"then: {f'{skip}, or ' if row['skippable'] else ''}{again}\n\n")


def _show(position: str, output: Format) -> None:
    async def work() -> dict[str, Any]:
        return _data(await _look(_position(position)))

    found = run(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    value = found.pop("value")
    show_fields(found)
    write(f"body:\n{value}\n")


def _decide(position: str, *, skip: bool, reason: str, output: Format) -> None:
    at = _position(position)

    async def work() -> dict[str, Any]:
        import getpass

        from events.log import repairing
        from forgelog.client.aio import AsyncClient

        settings = platform_settings()
        async with AsyncClient() as client:
            standing = [stop for stop in await _stops(client) if stop["position"] == str(at)]
            if not standing:
                raise NotFound(f"nothing is stopped at {at}; `forgelog repair` lists all stops")
            if skip and not standing[0]["skippable"]:
                raise InvalidInput(f"no single record is the cause at {at}; fix the cause, then --retry")
            before = {stop["place"]: stop["since"] for stop in standing}
            if skip:
                decision = await repairing.skip(settings, await _look(at), reason, getpass.getuser())
            else:
                decision = await repairing.retry(settings, at, reason, getpass.getuser())
            left, again = await _gone(client, at, before, skip)
        if again:
            raise ForgelogError(
                f"it was tried again, and these have stopped there again: {'; '.join(left)}; `forgelog repair` says why"
            )
        if left:
            raise Timeout(f"the decision is in the log, but these are still stopped there: {'; '.join(left)}")
        return {
            "position": str(at),
            "decision": "skipped" if skip else "tried again",
            "last": f"{at.topic}/{at.partition}@{decision.last}",
            "reason": reason,
            "places": list(before),
        }

    done = run(work)
    if output is Format.TABLE:
        note(f"{done['position']} is {done['decision']}; these go on: {'; '.join(done['places'])}")
    else:
        show_data(done, output)


async def _standing(client: AsyncClient, at: Position) -> dict[str, Any]:
    """The places that are stopped at a record, each with the time since when."""
    return {stop["place"]: stop["since"] for stop in await _stops(client) if stop["position"] == str(at)}


async def _gone(client: AsyncClient, at: Position, before: Mapping[str, Any], skip: bool) -> tuple[list[str], bool]:
    """Wait for the places that were stopped `before`. Returns those that still are, or again, and whether all of them
    have been tried again meanwhile."""
    import asyncio

    loop = asyncio.get_running_loop()
    until = loop.time() + GOES_ON_SECONDS
    while True:
        await asyncio.sleep(0.5 if skip else 2.0)
        now = await _standing(client, at)
        left = [place for place in before if place in now]
        again = not skip and bool(left) and all(now[place] != before[place] for place in left)
        if not left or again or loop.time() > until:
            return left, again


def _list_decisions(output: Format) -> None:
    async def work() -> list[dict[str, Any]]:
        from events.log.tail import read_repairs

        return [
            {
                "position": str(repair.position),
                "last": repair.last,
                "decision": "skip" if repair.skips else "retry",
                "record_type": repair.record_type,
                "digest": repair.digest,
                "actor": repair.actor,
                "time": repair.time,
                "reason": repair.reason,
            }
            for repair in await read_repairs(platform_settings())
        ]

    from datetime import UTC, datetime

    columns = [
        column("Position"),
        column("Decision"),
        column("By", "actor"),
        age_column("When", "time", datetime.now(UTC)),
        column("Reason", least=24, wrap=True),
    ]
    show_rows(run(work), columns, output, empty="there are no decisions yet")


async def _look(at: Position) -> Suspect:
    from events.log.repairing import NoSuchRecord, look_at

    try:
        return await look_at(platform_settings(), at)
    except NoSuchRecord as error:
        raise NotFound(str(error)) from None
    except TimeoutError:
        raise ForgelogError(f"Kafka did not return the record at {at} in time; try again") from None


def _data(found: Suspect) -> dict[str, Any]:
    return {
        "position": str(found.position),
        "last": found.last,
        "type": found.type,
        "id": found.id,
        "damage": found.damage,
        "digest": found.digest,
        "bytes": len(found.value),
        "value": found.value[:SHOWN_BYTES].decode(errors="replace"),
    }


def _position(text: str) -> Position:
    from events.log.envelope import Position

    try:
        return Position.parse(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


COMMANDS = {"repair": repair}
