"""What a reference of fields says, and whether it is so: each field of a context's models acts somewhere and is tested.

A reference is a page with a table a model (or several): its fields, the places where they act, and their tests.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from events.language.base import Message, Model

ROOT = Path(__file__).parents[3]
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


class Reference:
    """The page `file` in docs/reference: of the models of a package, without those of its modules `elsewhere`, which
    other pages describe."""

    def __init__(self, file: str, package: ModuleType, elsewhere: frozenset[str] = frozenset()) -> None:
        self.page = ROOT / "docs/reference" / file
        found = _models(package, elsewhere)
        self.values = {name: kind for name, kind in found.items() if not issubclass(kind, Message)}
        self.sent = {name: kind for name, kind in found.items() if issubclass(kind, Message)}
        self.rows = tuple(self._rows())

    def check_model(self, name: str) -> None:
        """Each of its fields is described."""
        known = {field for row in self.rows if name in row.section.split(", ") for field in row.fields}
        missing = self.values[name].model_fields.keys() - known
        assert not missing, f"describe in {self.page.name}, under {name}: {', '.join(sorted(missing))}"

    def check_messages(self) -> None:
        """Each field of commands and events is described."""
        known = {field for row in self.rows for field in row.fields}
        missing = {f"{name}.{field}" for name, kind in self.sent.items() for field in kind.model_fields.keys() - known}
        assert not missing, f"describe in {self.page.name}, under {MESSAGES}: {', '.join(sorted(missing))}"

    def check_nothing_else(self) -> None:
        """Nothing is described that there is not, and nothing twice."""
        own = {field for kind in self.values.values() for field in kind.model_fields}
        for row in self.rows:
            kinds = self.sent if row.section == MESSAGES else {n: self.values[n] for n in row.section.split(", ")}
            there = {field for kind in kinds.values() for field in kind.model_fields}
            assert set(row.fields) <= there, f"{row.section} has no {', '.join(set(row.fields) - there)}"
            assert row.section != MESSAGES or own.isdisjoint(row.fields), f"models have {own.intersection(row.fields)}"

    def _rows(self) -> Iterator[Row]:
        section = ""
        for line in self.page.read_text().splitlines():
            if line.startswith("## "):
                section = line.removeprefix("## ").replace("`", "")
            elif line.startswith("| ") and "`" in line:
                _, fields, places, tests = (cell.strip() for cell in line.strip("|").split(" | "))
                yield Row(section, _quoted(fields), _quoted(places), ALIKE.strip() in places, _quoted(tests))


def check_row(row: Row) -> None:
    """Its places are there and name its fields, and its tests are there."""
    text = ""
    for place in row.places:
        file, _, name = place.partition(":")
        assert name in named(file), f"there is no {place}"
        text += f"{named(file)[name]}\n"
    assert row.alike or not (unnamed := [field for field in row.fields if not mentions(text, field)]), unnamed
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in named(file), f"there is no {test}"


def name_of(row: Row) -> str:
    """For the names of tests."""
    return f"{row.section}: {', '.join(row.fields)}"


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def _models(package: ModuleType, elsewhere: frozenset[str]) -> dict[str, type[Model]]:
    """Public ones with fields, by name."""
    names = [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names if name.rpartition(".")[2] not in elsewhere]
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Model) and kind.__module__ == module.__name__
        if kind.model_fields and not name.startswith("_")
    }


@cache
def named(file: str) -> dict[str, str]:
    """What a module defines, by its name within it → its text."""
    text = (ROOT / file).read_text()
    lines = text.split("\n")

    def inside(node: ast.AST, before: str) -> Iterator[tuple[str, str]]:
        for each in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = [each.name]
            elif isinstance(each, ast.Assign | ast.AnnAssign):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                yield before + name, "\n".join(lines[each.lineno - 1 : each.end_lineno])
                yield from inside(each, f"{before}{name}.")

    return dict(inside(ast.parse(text), ""))


def mentions(text: str, field: str) -> bool:
    return re.search(rf"\b{re.escape(field)}\b", text) is not None
