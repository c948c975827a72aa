"""The `forgelog` command: which module has which command, and how errors reach people.

Only the module of the command that was typed is imported, so that no command waits for another's imports. Must not
know what any command does.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

MODULES: dict[str, tuple[str, ...]] = {
    "platform": ("up", "down", "status", "doctor"),
    "token": ("token",),
    "demo": ("demo",),
    "submitting": ("submit", "run"),
    "jobs": ("ps", "wait", "cancel", "requeue"),
    "show": ("show", "why"),
    "queues": ("queue",),
    "output": ("logs",),
    "nodes": ("nodes",),
    "log": ("history", "replay", "watch"),
    "maintenance": ("rebuild", "deadletters"),
    "audit": ("audit",),
    "export": ("export",),
    "repair": ("repair",),
}
"""Module of this package → its commands. Each module has ``register(app: typer.Typer) -> None``, which adds them. A
command that is missing here still works, only slower: then all modules are imported."""


def make_app(command: str | None = None) -> typer.Typer:
    """The application with all commands, or with those of the module that has `command`."""
    app = typer.Typer(
        name="forgelog",
        help="Run jobs on nodes with GPUs; every fact is an event in one log.",
        no_args_is_help=True,
        rich_markup_mode=None,  # importing rich would double the time of every --help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )

    @app.callback()
    def options(
        gateway: Annotated[
            str | None,
            typer.Option("--gateway", metavar="HOST:PORT", help="The platform to speak with [or FORGELOG_GATEWAY]."),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option("--data", metavar="DIR", help="The platform of this data folder [or FORGELOG_DATA]."),
        ] = None,
        version: Annotated[  # noqa: ARG001 - its callback acts
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
        ] = False,
    ) -> None:
        """Run jobs on nodes with GPUs; every fact is an event in one log."""
        if gateway is not None or data is not None:
            from forgelog.where import choose

            choose(gateway, data)

    having = [module for module, commands in MODULES.items() if command in commands]
    for module in having or MODULES:
        name = f"{__name__}.{module}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).register(app)
    return app


def command_of(words: Sequence[str]) -> str | None:
    """The command among the words that were typed: the first that is neither an option nor an option's value."""
    rest = iter(words)
    for word in rest:
        if word in ("--gateway", "--data"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forgelog {version('forgelog')}")
        raise typer.Exit


def main() -> None:
    """Entry point. One clear line for an error; FORGELOG_DEBUG=1 shows where it came from."""
    from events.language.contexts import ContextsError
    from events.process.private import keep_private
    from forgelog.errors import ForgelogError, InvalidInput

    keep_private()
    command = command_of(sys.argv[1:])
    try:
        # Shell completion asks with an empty command line about all commands.
        make_app(None if "_FORGELOG_COMPLETE" in os.environ else command)()
    except KeyboardInterrupt:
        sys.exit(130)
    except ContextsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(InvalidInput.exit_code)
    except Exception as error:  # the last resort: no traceback reaches a user
        if os.environ.get("FORGELOG_DEBUG") == "1":
            raise
        known = isinstance(error, ForgelogError)
        text = str(error) if known else f"{type(error).__name__}: {error} (FORGELOG_DEBUG=1 shows where)"
        print(f"error: {text}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, ForgelogError) else 70)  # EX_SOFTWARE of sysexits.h
