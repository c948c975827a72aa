"""Groups of commands: what all of them have in common. Knows no command."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

LISTING = ("list", "ls")
"""The two names of a group's list. A group has one of them, and takes both."""


class Group(TyperGroup):
    """A group with a list, by either name. One that lists things when no command is given does so for these too."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; for a list's name, that of the other."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in LISTING:
            (other,) = (name for name in LISTING if name != cmd_name)
            found = super().get_command(ctx, other)
        return found

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if self.invoke_without_command and args[:1] and args[0] in LISTING and self.get_command(ctx, args[0]) is None:
            args = args[1:]
        return super().parse_args(ctx, args)


class ShowFirst(Group):
    """A group whose default command is `show`: ``forgelog queue``, ``forgelog queue vision``, ``forgelog queue ls``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ("-h", "--help"))
        completing = not args and ctx.resilient_parsing
        if not named and not completing:
            args = ["show", *(args[1:] if args[:1] and args[0] in LISTING else args)]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        (name,) = (parameter for parameter in self.commands["show"].params if parameter.name == "name")
        return [*super().shell_complete(ctx, incomplete), *name.shell_complete(ctx, incomplete)]


def make_alike(group: typer.Typer) -> None:
    """Make `group` and those in it a `Group`, where they are of no kind of their own."""
    if not isinstance(group.info.cls, type):
        group.info.cls = Group
    for below in group.registered_groups:
        if below.typer_instance is not None:
            make_alike(below.typer_instance)
