"""Each field of experiments acts somewhere and is tested: the reference says where, and is held to it here."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from events.language import experiments
from events.language.base import Message, Model

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/fields-experiments.md"
MESSAGES = "Commands and events"
ALIKE = " (all alike)"


class Row(NamedTuple):
    """A line of a table of the page."""

    section: str
    fields: tuple[str, ...]
    places: tuple[str, ...]
    """Those that name each of the fields, or are said to treat all alike."""
    alike: bool
    """Whether one of them treats all alike."""
    tests: tuple[str, ...]


def rows() -> Iterator[Row]:
    section = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").replace("`", "")
        elif line.startswith("| ") and "`" in line:
            _, fields, places, tests = (cell.strip() for cell in line.strip("|").split(" | "))
            yield Row(section, quoted(fields), quoted(places), ALIKE.strip() in places, quoted(tests))


def quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def models() -> dict[str, type[Model]]:
    """Public ones with fields, by name."""
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(experiments.__path__, f"{experiments.__name__}.")
    ]
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Model) and kind.__module__ == module.__name__
        if kind.model_fields and not name.startswith("_")
    }


VALUES = {name: kind for name, kind in models().items() if not issubclass(kind, Message)}
SENT = {name: kind for name, kind in models().items() if issubclass(kind, Message)}
ROWS = tuple(rows())


def described(name: str) -> set[str]:
    return {field for row in ROWS if name in row.section.split(", ") for field in row.fields}


@pytest.mark.parametrize("name", VALUES)
def test_each_field_of_a_model_is_described(name: str) -> None:
    missing = VALUES[name].model_fields.keys() - described(name)
    assert not missing, f"describe in {PAGE.name}, under {name}: {', '.join(sorted(missing))}"


def test_each_field_of_commands_and_events_is_described() -> None:
    known = {field for row in ROWS for field in row.fields}
    missing = {f"{name}.{field}" for name, kind in SENT.items() for field in kind.model_fields.keys() - known}
    assert not missing, f"describe in {PAGE.name}, under {MESSAGES}: {', '.join(sorted(missing))}"


def test_nothing_else_is_described() -> None:
    own = {field for kind in VALUES.values() for field in kind.model_fields}
    for row in ROWS:
        kinds = SENT if row.section == MESSAGES else {name: VALUES[name] for name in row.section.split(", ")}
        there = {field for kind in kinds.values() for field in kind.model_fields}
        assert set(row.fields) <= there, f"{row.section} has no {', '.join(set(row.fields) - there)}"
        assert row.section != MESSAGES or own.isdisjoint(row.fields), f"models have {own.intersection(row.fields)}"


@cache
def named(file: str) -> dict[str, str]:
    """What a module defines, by its name within it → its text."""
    text = (ROOT / file).read_text()

    def inside(node: ast.AST, before: str) -> Iterator[tuple[str, str]]:
        for each in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = [each.name]
            elif isinstance(each, ast.Assign | ast.AnnAssign):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                yield before + name, ast.get_source_segment(text, each) or ""
                yield from inside(each, f"{before}{name}.")

    return dict(inside(ast.parse(text), ""))


def mentions(text: str, field: str) -> bool:
    return re.search(rf"\b{re.escape(field)}\b", text) is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {', '.join(row.fields)}")
def test_a_place_is_there_and_names_the_field_and_a_test_is_there(row: Row) -> None:
    text = ""
    for place in row.places:
        file, _, name = place.partition(":")
        assert name in named(file), f"there is no {place}"
        text += named(file)[name]
    assert row.alike or not (unnamed := [field for field in row.fields if not mentions(text, field)]), unnamed
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in named(file), f"there is no {test}"
