"""Shared parts of the commands: options, times, a client for the duration of a command, and error messages.

Imports nothing heavy: a command that needs gRPC or pydantic imports them.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forgelog.cli.render import Format, note
from forgelog.errors import ForgelogError, InvalidInput, NotFound, ReaderGone
from forgelog.times import parse_time

if TYPE_CHECKING:
    from events.process.settings import Settings
    from forgelog.client.aio import AsyncClient

T = TypeVar("T")

SHOWN_SECONDS = 3.0
"""Longest wait for the tables after a command is done."""

_MOST_OF_PLAN = 64 << 20
"""Bytes."""

OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="Form of the output; json is stable.", show_default=True)
]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As of this time: '10m ago', '03:12', '2026-05-09T03:12:00Z'."),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Most shown.")]
DepthOption = Annotated[int, typer.Option("--depth", min=1, max=100, help="Most steps.")]
UpOption = Annotated[bool, typer.Option("--up", help="Only what it was made of.")]
DownOption = Annotated[bool, typer.Option("--down", help="Only what was made of it.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the history shows it.")]
IntoOption = Annotated[Path, typer.Option("--into", metavar="DIR", help="Into this folder.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace existing files with other content.")]


def moment(text: str | None, option: str = "--at", *, future: bool = False) -> datetime | None:
    """The time of an ``--at`` option, or of another one. `future`: whether it may be yet to come. Raises
    `InvalidInput`."""
    if text is None:
        return None
    try:
        return parse_time(text, datetime.now(UTC), future=future)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from None


def before(begin: datetime, end: datetime) -> None:
    """Raises `InvalidInput` where the stretch of time from ``--from`` to ``--to`` has no length."""
    if begin >= end:
        raise InvalidInput(f"--from: {begin:%Y-%m-%dT%H:%M:%SZ} is not before --to, {end:%Y-%m-%dT%H:%M:%SZ}")


def direction_of(up: bool, down: bool) -> str:
    """Which way a lineage is asked for; both ways where both options are given, or none is."""
    return "" if up == down else "up" if up else "down"


def with_client(work: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a new client. Errors for people are printed and become the exit code."""

    async def session() -> T:
        from forgelog.client.aio import AsyncClient

        async with AsyncClient() as client:
            done = await work(client)
            await shown(client)
            return done

    return run(session)


async def shown(client: AsyncClient) -> None:
    """Wait shortly until the tables contain the effect of this command, so that the next command shows it."""
    try:
        async with asyncio.timeout(SHOWN_SECONDS):
            await client.log.until_shown()
    except ForgelogError as error:
        note(f"it is done, but it is unknown whether the tables show it yet: {error}")
    except TimeoutError:
        note("it is done, but the tables are behind and may not show it yet; see 'forgelog status'")


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine; see `with_client`."""

    def start() -> T:
        return asyncio.run(work())

    return guarded(start)


def reading_log(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As `run`, for commands that read Kafka themselves. A missing broker or topic is an error for people."""

    async def told() -> T:
        from aiokafka.errors import KafkaError

        from events.log.tail import NoTopic
        from forgelog.errors import Unavailable

        try:
            return await work()
        except NoTopic as error:
            raise Unavailable(str(error)) from None
        except (KafkaError, OSError) as error:
            hint = "check FORGELOG_KAFKA and, if Kafka requires a user, FORGELOG_KAFKA_CONFIG"
            raise Unavailable(f"the log can't be read: {error or type(error).__name__}; {hint}") from None

    return run(told)


def platform_settings(*, log_only: bool = False) -> Settings:
    """The settings with the addresses of Kafka and Postgres: from the environment, else of the data folder's platform.
    `log_only`: Kafka is enough. Raises `Unavailable` if the platform is down."""
    from events.process.settings import Settings, SettingsError
    from forgelog.errors import Unavailable
    from forgelog.where import server_settings

    try:
        settings = Settings.load()
        if settings.kafka and (settings.postgres or log_only):
            return settings
        try:
            found = server_settings()
        except Unavailable as error:
            raise Unavailable(f"{error}; or set FORGELOG_KAFKA and FORGELOG_POSTGRES to its servers") from None
        if settings.kafka:
            found |= {"kafka": settings.kafka, "kafka_config": settings.kafka_config}
        return Settings.load(**{**found, "postgres": settings.postgres or found["postgres"]})
    except SettingsError as error:
        raise InvalidInput(str(error)) from None


def read_plan(file: Path, command: str) -> bytes:
    """The plan in a file. Raises InvalidInput that names the command whose plan it should be."""
    from forgelog.user_files import read_at_most

    try:
        return read_at_most(file, _MOST_OF_PLAN, "a plan")
    except InvalidInput as error:
        raise InvalidInput(f"{error}; give the file that `{command}` was written to") from None


def guarded(work: Callable[[], T]) -> T:
    """Call `work`; an error for people is printed to standard error and ends the command with its exit code."""
    try:
        return work()
    except ForgelogError as error:
        report(error)
        raise typer.Exit(error.exit_code) from None
    except BaseExceptionGroup as group:  # from concurrent work: report the first error
        if group.subgroup(ReaderGone) is not None:
            raise ReaderGone from None
        if (first := _first(group)) is None:
            raise
        report(first)
        raise typer.Exit(first.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _first(group: BaseExceptionGroup[BaseException]) -> ForgelogError | None:
    """The first error for people in a group that has nothing else."""
    ours, others = group.split(ForgelogError)
    if ours is None or others is not None:
        return None
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, ForgelogError)
    return first


LISTS = {
    "deployment": "deployments ls",
    "experiment": "experiments list",
    "job": "ps -a",
    "logged model": "logged-models list",
    "model": "models list",
    "pipeline": "pipeline ls",
    "run": "runs list",
    "template": "templates list",
    "tuning": "tune list",
}
"""What there is none of → the command that lists those that there are."""

LISTS_OF_GROUP = {
    "datasets": {"dataset": "datasets list"},
    "pipeline": {"dataset": "pipeline datasets ls", "template": "pipeline template ls"},
}
"""The same, of what another group of commands calls alike."""


def told(error: ForgelogError) -> str:
    """An error's text; where it only says that there is no such thing, also what lists those that there are."""
    text = str(error)
    absent = re.fullmatch(r"there is no ([a-z ]+) '[^']*'", text) if isinstance(error, NotFound) else None
    listing = _listing(absent[1]) if absent else None
    return f"{text}; 'forgelog {listing}' lists them" if listing else text


def _listing(kind: str) -> str | None:
    """The command that lists what the group of the command that runs calls so."""
    from forgelog.cli import command_of

    return LISTS_OF_GROUP.get(command_of(sys.argv[1:]) or "", {}).get(kind) or LISTS.get(kind)


def report(error: ForgelogError) -> None:
    """An error on standard error, in red on a terminal."""
    if sys.stderr.isatty():
        typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
        typer.echo(told(error), err=True)
    else:
        typer.echo(f"error: {told(error)}", err=True)
