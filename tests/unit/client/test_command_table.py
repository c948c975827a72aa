"""A module of the command line that has `COMMANDS` is found by `make proto`; nothing lists it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from forgelog.cli import MODULES, make_app, make_list
from proto import GenerationError
from proto.commands import documents, helps, modules, render
from proto.generate import ROOT


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of commands, and its name is the folder's."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / f"cli_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    return folder


def found(package: Path, **texts: str) -> Any:
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    return modules(package, package.name)


def test_the_table_is_that_of_the_modules() -> None:
    assert documents() == {"forgelog/cli/commands.py": (ROOT / "forgelog/cli/commands.py").read_text()}


def test_a_new_module_comes_behind_those_that_have_a_place(package: Path) -> None:
    group = "import typer\nCOMMANDS = {'notes': typer.Typer(help='Show notes.')}\n"
    command = "def ps():\n    '''List jobs.'''\nCOMMANDS = {'ps': ps}\n"
    table = found(package, a_notes=group, jobs=command, render="WIDTH = 80\n")
    assert {module: helps(commands) for module, commands in table.items()} == {
        "jobs": {"ps": "List jobs."},
        "a_notes": {"notes": "Show notes."},
    }
    assert [*table] == ["jobs", "a_notes"]


def test_two_commands_of_one_name_are_refused(package: Path) -> None:
    with pytest.raises(GenerationError, match=r"one\.py and two\.py both have a command 'ps'; rename one"):
        found(package, one="COMMANDS = {'ps': print}", two="COMMANDS = {'ps': print}")


def test_a_command_says_what_it_does() -> None:
    def silent() -> None: ...

    with pytest.raises(GenerationError, match="'silent' has no help"):
        helps({"silent": silent})
    with pytest.raises(GenerationError, match="'group' has no help"):
        helps({"group": typer.Typer()})


def test_any_help_is_written_as_python_reads_it() -> None:
    table = {"module": {"command": 'Says "it\'s" – with a \\ and naïve 😀.'}}
    space: dict[str, Any] = {}
    exec(render(table), space)
    assert space["MODULES"] == table


def test_the_list_says_of_each_command_what_its_own_help_begins_with() -> None:
    whole: Any = typer.main.get_command(make_app())
    listed: Any = typer.main.get_command(make_list())
    assert [*listed.commands] == [name for commands in MODULES.values() for name in commands]
    assert {name: command.get_short_help_str(80) for name, command in listed.commands.items()} == {
        name: command.get_short_help_str(80) for name, command in whole.commands.items()
    }
