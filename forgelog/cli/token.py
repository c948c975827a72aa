"""`forgelog token`: the platform's key, for programs that speak with it by themselves."""

from __future__ import annotations

import typer

from forgelog.cli.common import guarded


def token() -> None:
    """Print the platform's key: curl -H "Authorization: Bearer $(forgelog token)" ..."""
    from forgelog.where import find_key

    typer.echo(guarded(find_key))


COMMANDS = {"token": token}
