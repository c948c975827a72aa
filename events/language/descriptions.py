"""What the source says below a model's fields and an enum's members: their descriptions, for documents.

Python does not keep these texts. They are read when a document is made, and only then: pydantic's own
``use_attribute_docstrings`` reads them whenever a class is defined, which took 85 ms of every process's start.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def descriptions_of(kind: type) -> Mapping[str, str]:
    """Name → description of a model's fields (those it inherits included) or an enum's members, of those that have one.
    Empty where the source is not at hand."""
    found: dict[str, str] = {}
    if issubclass(kind, BaseModel):
        for base in reversed(kind.__mro__):
            if own := kind.model_fields.keys() & inspect.get_annotations(base).keys():
                said = _texts(base)
                found |= {name: said.get(name, "") for name in own}  # a field defined anew has its own text or none
        found |= {name: info.description for name, info in kind.model_fields.items() if info.description}
    else:
        found |= _texts(kind)
    return {name: text for name, text in found.items() if text}


def _texts(kind: type) -> dict[str, str]:
    """The text below each attribute in a class's body."""
    found = {}
    for statement, below in pairwise(_bodies(kind.__module__).get(kind.__qualname__, ())):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(target, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[target.id] = inspect.cleandoc(text.value)
    return found


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The classes of a module by qualified name."""
    try:
        return dict(_classes(ast.parse(inspect.getsource(sys.modules[module])).body, ""))
    except (KeyError, OSError, TypeError):  # in no file
        return {}


def _classes(body: Iterable[ast.stmt], within: str) -> Iterator[tuple[str, list[ast.stmt]]]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield within + statement.name, statement.body
            yield from _classes(statement.body, f"{within}{statement.name}.")
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(statement.body, f"{within}{statement.name}.<locals>.")
