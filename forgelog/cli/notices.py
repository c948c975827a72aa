"""`notices`: what people were told, and what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.render import Format, age_column, column, show_rows

STATES = ("waiting", "delivered", "given_up", "passed_over")
_EMPTY = "there are no such notices"
CONTEXTS = ("deployments", "pipelines")


def notices(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A deployment, a pipeline or a dataset [default: all].")
    ] = "",
    of: Annotated[
        str,
        typer.Option("--of", help="deployments or pipelines [default: both].", autocompletion=complete.words(CONTEXTS)),
    ] = "",
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help=f"{', '.join(STATES)}.", autocompletion=complete.words(STATES)),
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="Those on the channel of this name.")] = "",
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List what people were told in the last thirty days, on which channel, and whether it has reached them."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.notices.list(name, of=of, state=state or (), channel=channel, at=moved, limit=limit)
    )
    columns = [
        *([] if name else [column("About", "name", least=8)]),
        column("Type", rank=1),
        column("Severity", rank=3),
        column("Summary", rank=2, least=12, wrap=True),
        column("Channel"),
        column("State", style=True),
        column("Tries", right=True, rank=2),
        column("Error", rank=1, least=20, wrap=True),
        age_column("Happened", "happened_at", moved or datetime.now(UTC)),
    ]
    show_rows(rows, columns, output, empty=_EMPTY if any((name, of, state, channel)) else "nobody was told anything")


COMMANDS = {"notices": notices}
