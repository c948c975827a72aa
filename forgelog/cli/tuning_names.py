"""Which tuning a command is about: its id, its name in the client's project, or the beginning of its id."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forgelog.cli import complete
from forgelog.cli.common import with_client

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

T = TypeVar("T")

TuningArgument = Annotated[
    str,
    typer.Argument(
        metavar="TUNING", help="Its id, its name, or the beginning of its id.", autocompletion=complete.tunings
    ),
]


def with_tuning(
    called: str, work: Callable[[AsyncClient, str], Coroutine[Any, Any, T]], at: datetime | None = None
) -> tuple[str, T]:
    """The id of the tuning that is called so, and what `work` made of it with a new client. Errors for people are
    printed and become the exit code."""

    async def found(client: AsyncClient) -> tuple[str, T]:
        id = await client.tunings.find(called, at=at)
        return id, await work(client, id)

    return with_client(found)
