"""The commands of the command line, with what `forgelog --help` says of each: `forgelog/cli/commands.py`.

Made from the `COMMANDS` of the modules of `forgelog/cli`, so that none of them has to be imported to know them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import typer

from forgelog.cli import Commands
from proto import GenerationError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "forgelog/cli"
TARGET = f"{FOLDER}/commands.py"

FIRST = (
    "platform",
    "token",
    "demo",
    "submitting",
    "jobs",
    "show",
    "queues",
    "output",
    "fetch",
    "nodes",
    "log",
    "maintenance",
    "audit",
    "export",
    "repair",
)
"""The modules in the order of `forgelog --help`. Those that are not named here come behind them, by their names."""

_HEAD = '''\
# ruff: noqa
# fmt: off
"""Module of this package → its commands → what `forgelog --help` says of them.

Generated from the modules' `COMMANDS` by `make proto`: change those, not this file.
"""

from __future__ import annotations

MODULES: dict[str, dict[str, str]] = {
'''


def documents() -> Mapping[str, str]:
    """The one file."""
    return {TARGET: render({module: helps(commands) for module, commands in modules(ROOT / FOLDER).items()})}


def modules(folder: Path, package: str = "forgelog.cli") -> Mapping[str, Commands]:
    """The modules of a package that have commands, in the order of `forgelog --help`.

    Raises GenerationError when two have one of the same name.
    """
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "commands"))
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    found: dict[str, Commands] = {}
    homes: dict[str, str] = {}
    for name in names:
        commands: Commands = getattr(import_module(f"{package}.{name}"), "COMMANDS", {})
        for command in commands:
            if (home := homes.setdefault(command, name)) != name:
                raise GenerationError(f"{home}.py and {name}.py both have a command {command!r}; rename one")
        if commands:
            found[name] = commands
    return found


def helps(commands: Commands) -> Mapping[str, str]:
    """The first paragraph of each command's help, in one line. Raises GenerationError for one that has none."""
    found = {}
    for name, command in commands.items():
        text = (command.info.help if isinstance(command, typer.Typer) else command.__doc__) or ""
        found[name] = " ".join(text.strip().split("\n\n")[0].split())
        if not found[name]:
            raise GenerationError(f"the command {name!r} has no help: write a docstring, or typer.Typer(help=...)")
    return found


def render(table: Mapping[str, Mapping[str, str]]) -> str:
    return _HEAD + "".join(_entries(table)) + "}\n"


def _entries(table: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for module, commands in table.items():
        yield f"    {json.dumps(module)}: {{\n"
        for name, text in commands.items():
            yield f"        {json.dumps(name)}: {json.dumps(text, ensure_ascii=False)},\n"
        yield "    },\n"
