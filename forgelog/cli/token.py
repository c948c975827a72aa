"""`forgelog token`: prints the platform's key, for programs that call the platform directly."""

from __future__ import annotations

import typer

from forgelog.cli.common import guarded


def token() -> None:
    """Print the platform's key: curl -H "Authorization: Bearer $(forgelog token)" ..."""
    from forgelog.where import find_key

    typer.echo(guarded(find_key))


COMMANDS = {"token": token}
