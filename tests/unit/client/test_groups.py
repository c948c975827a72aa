"""Groups of commands: a list has the names `list` and `ls`, whichever its group's help shows."""

from __future__ import annotations

from typing import Any

import click
import pytest
import typer

from forgelog.cli import make_app
from forgelog.cli.groups import LISTING
from forgelog.errors import InvalidInput

APP = typer.main.get_command(make_app())


def groups(found: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    below = [(name, each) for name, each in found.commands.items() if hasattr(each, "commands")]
    return [*(((*path, name), each) for name, each in below), *(g for n, e in below for g in groups(e, (*path, n)))]


WITH_A_LIST = [
    each
    for each in groups(APP)
    if {*LISTING} & {*each[1].commands} or each[1].invoke_without_command or each[0] == ("queue",)
]


@pytest.mark.parametrize("name", LISTING)
@pytest.mark.parametrize(("path", "group"), WITH_A_LIST, ids=[" ".join(path) for path, _ in WITH_A_LIST])
def test_a_list_has_both_names(path: tuple[str, ...], group: Any, name: str) -> None:
    context = click.Context(group, info_name=path[-1])
    command = group.get_command(context, name)
    if command is not None:
        assert command.name in LISTING
    else:  # it lists when no command is given
        rest = group.parse_args(context, [name])
        assert name not in [*rest, *context._protected_args]


def test_there_are_groups_with_lists() -> None:
    found = {" ".join(path) for path, _ in WITH_A_LIST}
    assert found >= {"queue", "nodes", "runs", "pipeline", "pipeline backfill", "deployments", "keys"}


def test_a_queue_is_not_changed_in_the_past() -> None:
    with pytest.raises(InvalidInput, match="leave --at out"):
        APP(["queue", "vision", "--policy", "fifo", "--at", "1h ago"], standalone_mode=False)
