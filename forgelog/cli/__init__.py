"""The `forgelog` command: finds the module of a command, and shows errors to people.

A module of this package with commands has ``COMMANDS``, a dict from a command's name to its function, or to the
`typer.Typer` of a group. `make proto` lists all of them in `forgelog.cli.commands`. So a command imports only its own
module, and `forgelog --help` imports none. Contexts that are defined elsewhere name their module in their
`ContextSpec`.

Must not know what any command does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

import typer

from forgelog.cli.commands import MODULES

Commands: TypeAlias = Mapping[str, Callable[..., Any] | typer.Typer]


def make_app(command: str | None = None) -> typer.Typer:
    """The application with all commands, or with those of the module that has `command`.

    Raises ContextsError when a module that a context names can't be used.
    """
    app = _bare()
    having = [module for module, commands in MODULES.items() if command in commands]
    for module in having or MODULES:
        _add(app, import_module(f"{__name__}.{module}").COMMANDS)
    for commands in [] if having else _added():
        _add(app, commands)
    return app


def make_list() -> typer.Typer:
    """The application as `--help` shows it: all commands by name, and none that could be run."""
    app = _bare()
    for commands in MODULES.values():
        for name, text in commands.items():
            app.command(name, help=text)(_never)
    for more in _added():
        _add(app, more)
    return app


def _add(app: typer.Typer, commands: Commands) -> None:
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            from forgelog.cli.groups import make_alike

            make_alike(command)
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def _added() -> Iterator[Commands]:
    """The commands of contexts that are defined elsewhere. Raises ContextsError."""
    from events.language.contexts import ContextsError, broken, contexts

    taken = {name for commands in MODULES.values() for name in commands}
    for spec in contexts().values():
        if not spec.cli:
            continue
        try:
            commands: Commands = import_module(spec.cli).COMMANDS
        except (ModuleNotFoundError, AttributeError) as error:
            raise ContextsError(f"the commands of the context {spec.name!r} can't be used: {error}") from None
        except ContextsError:
            raise
        except Exception as error:  # noqa: BLE001 - code of other authors may raise anything
            raise ContextsError(f"the commands of the context {spec.name!r} can't be used: {broken(error)}") from None
        if twice := sorted(taken & commands.keys()):
            raise ContextsError(f"the context {spec.name!r} has a second command {twice[0]!r}; give it another name")
        taken |= commands.keys()
        yield commands


def _never() -> NoReturn:
    raise AssertionError("the list of commands runs none")


def _bare() -> typer.Typer:
    """The application without a command."""
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
            typer.Option(
                "--gateway",
                metavar="ADDRESS",
                help="The platform to speak with, host:port or https://host [or FORGELOG_GATEWAY].",
            ),
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

    return app


def command_of(words: Sequence[str]) -> str | None:
    """The command in a command line: the first word that is neither an option nor an option's value."""
    rest = iter(words)
    for word in rest:
        if word in ("--gateway", "--data"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def spelled_out(words: Sequence[str]) -> list[str]:
    """A command line in which ``help COMMAND`` is the help of that command, as other programs have it."""
    return [*words[1:], "--help"] if words[:1] == ["help"] else list(words)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forgelog {version('forgelog')}")
        raise typer.Exit


def main() -> None:
    """Entry point. One clear line for an error; FORGELOG_DEBUG=1 shows where it came from."""
    from events.language.contexts import ContextsError
    from events.process.collector import look_seldom
    from events.process.private import keep_private
    from forgelog.errors import ForgelogError, InvalidInput, ReaderGone

    keep_private()
    look_seldom()
    sys.argv[1:] = spelled_out(sys.argv[1:])
    command = command_of(sys.argv[1:])
    try:
        # Shell completion calls this with an empty command line and needs all commands.
        completing = "_FORGELOG_COMPLETE" in os.environ
        if completing or command:
            app = make_app(None if completing else command)
        else:
            app = _bare() if "--version" in sys.argv else make_list()
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except ReaderGone:
        sys.exit(0)
    except ContextsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(InvalidInput.exit_code)
    except Exception as error:  # the last resort: no traceback reaches a user
        if os.environ.get("FORGELOG_DEBUG") == "1":
            raise
        from forgelog.cli.unusable import said_of

        known = isinstance(error, ForgelogError)
        if not known and (said := said_of(error, sys.argv[1:])):
            error, known = InvalidInput(said), True
        text = str(error) if known else f"{type(error).__name__}: {error} (FORGELOG_DEBUG=1 shows where)"
        print(f"error: {text}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, ForgelogError) else 70)  # EX_SOFTWARE of sysexits.h
