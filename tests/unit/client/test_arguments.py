"""What a method of the client, or a command, is given is used: words of an error alone are no use of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import forgelog.cli
import forgelog.client

MODULES = sorted(
    each
    for each in Path(forgelog.client.__file__).parent.rglob("*.py")
    if each.name != "channel.py"  # it makes the errors
)

COMMANDS = sorted(Path(forgelog.cli.__file__).parent.rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _methods(tree: ast.Module) -> Iterator[Function]:
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef) and not _is_protocol(owner):
            yield from (each for each in owner.body if isinstance(each, Function) and not each.name.startswith("_"))


def _is_protocol(owner: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in owner.bases)


def _used(node: ast.AST) -> Iterator[str]:
    """Names that are read, but not those that are only put into a text."""
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.Name):
        yield node.id
    for below in ast.iter_child_nodes(node):
        yield from _used(below)


def _idle(method: Function) -> set[str]:
    given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
    used = {name for statement in method.body for name in _used(statement)}
    return {each.arg for each in given} - used - {"self", "cls"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_argument_is_used_for_more_than_words(module: Path) -> None:
    found = {method.name: idle for method in _methods(ast.parse(module.read_text())) if (idle := _idle(method))}
    assert found == {}


def _commands(tree: ast.Module) -> Iterator[Function]:
    """Functions whose parameters are options and arguments."""
    for each in ast.walk(tree):
        if isinstance(each, Function) and any(_typed(given) for given in [*each.args.args, *each.args.kwonlyargs]):
            yield each


def _typed(given: ast.arg) -> bool:
    """Whether a parameter is typed by users."""
    return given.annotation is not None and any(
        word in ast.unparse(given.annotation) for word in ("Option", "Argument")
    )


ACTING = {"version"}
"""Options whose callback acts."""


@pytest.mark.parametrize("module", COMMANDS, ids=lambda path: path.stem)
def test_every_option_is_used_for_more_than_words(module: Path) -> None:
    found = {each.name: idle for each in _commands(ast.parse(module.read_text())) if (idle := _idle(each) - ACTING)}
    assert found == {}
