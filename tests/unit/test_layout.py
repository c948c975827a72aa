"""Modules import each other in one direction only, are short, and are called alike in every service.

`make lint` checks the floors; this finds circles inside a floor too. An import counts wherever it is written: at the
top, in a function, or for types only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("events", "services", "forgelog", "proto")

MOST_LINES = 400
GENERATED = {"forgelog.client.rows", "forgelog.client.sync"}
"""By `make proto`, as long as what it is made from."""

ROOMS = ("projections", "queries", "service")
"""Modules that every service with aggregates has."""

PARTS = ("state", "fold")
"""Modules that a larger `decide` is divided into."""

MOST_UNDIVIDED = 150
"""Lines of a `decide` that has its state and its folds in it."""


def modules() -> dict[str, Path]:
    """Every module by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(source: str, names: frozenset[str]) -> Iterator[str]:
    """The modules among `names` that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in names or node.module in names:
                    yield inner if inner in names else node.module


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other, the first one again at the end; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize(
    ("graph", "members"),
    [
        ({"a": {"b"}, "b": {"c"}}, set()),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}, set()),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, {"b", "c"}),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, {"a", "b", "c"}),
    ],
)
def test_a_circle_is_found(graph: dict[str, set[str]], members: set[str]) -> None:
    assert set(circle(graph)) == members


def test_every_import_counts() -> None:
    source = "import a.b\nif TYPE_CHECKING:\n    from a import c\ndef f():\n    from a.d import name\n"
    assert set(imported(source, frozenset({"a", "a.b", "a.c", "a.d"}))) == {"a.b", "a.c", "a.d"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = modules()
    names = frozenset(found)
    assert circle({name: set(imported(path.read_text(), names)) - {name} for name, path in found.items()}) == []


def test_no_module_is_long() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES and name not in GENERATED} == {}


DECIDERS = sorted((ROOT / "services").glob("**/decide.py"))
"""In its service's folder; of a service with several aggregates, each in a folder of its own there."""


@pytest.mark.parametrize("decide", DECIDERS, ids=lambda path: str(path.parent.relative_to(ROOT / "services")))
def test_services_have_the_same_rooms(decide: Path) -> None:
    assert missing(decide.parent, PARTS if len(decide.read_text().splitlines()) > MOST_UNDIVIDED else ()) == []
    service = ROOT / "services" / decide.relative_to(ROOT / "services").parts[0]
    assert missing(service, ROOMS) == []


def missing(folder: Path, rooms: Iterable[str]) -> list[str]:
    """Those of these rooms that a folder lacks."""
    return [room for room in rooms if not (folder / f"{room}.py").is_file() and not (folder / room).is_dir()]
