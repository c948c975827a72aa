"""How documents name a program with its arguments, and a folder that is uploaded."""

from __future__ import annotations

from forgelog.errors import Problem
from forgelog.manifest.nodes import Node, problem


def folder_of(value: Node, problems: list[Problem]) -> str:
    """The folder that is to be uploaded; `true` is the one of the manifest."""
    if (value.kind == "scalar" and value.value is None) or value.value is False:
        return ""
    if value.kind == "scalar" and value.value is True:
        return "."
    if value.kind == "scalar" and isinstance(value.value, str) and value.text and "\0" not in value.text:
        return value.text
    problems.append(problem(value, "needs to be a folder", "write for example 'upload: .'", "upload"))
    return ""


def program_of(value: Node, args: list[Node], problems: list[Problem]) -> Node | None:
    """The program of a ``command`` that may be a list with its arguments (which go to `args`)."""
    if value.kind != "list":
        return value
    if not value.items:
        problems.append(problem(value, "the list is empty", "write for example [python, train.py]", "command"))
        return None
    args.extend(value.items[1:])
    return value.items[0]


def with_arguments(
    pairs: list[tuple[Node, Node]], args: list[Node], problems: list[Problem]
) -> list[tuple[Node, Node]]:
    """``command: [prog, a]`` with ``args: [b]`` runs ``prog a b``. `args`: those of the command, as `program_of` found
    them."""
    if not args:
        if not any(key.text == "args" for key, _ in pairs):
            _refuse_shell_line(pairs, problems)
        return pairs
    result = []
    more: list[Node] = []
    for key, value in pairs:
        if key.text != "args":
            result.append((key, value))
        elif value.kind == "list":
            more = value.items
        else:
            problems.append(problem(value, "needs to be a list", "write [a, b]", "args"))
    place = args[0]
    result.append(
        (Node("scalar", "args", "args", line=place.line, column=place.column),
         Node("list", items=[*args, *more], line=place.line, column=place.column))
    )  # fmt: skip
    return result


def _refuse_shell_line(pairs: list[tuple[Node, Node]], problems: list[Problem]) -> None:
    """``command: python train.py`` would look for a program of that whole name: say so before a node does."""
    for key, value in pairs:
        if key.text == "command" and value.kind == "scalar" and len(value.text.split()) > 1:
            words = ", ".join(value.text.split())
            hint = f"no shell is involved; write [{words}], or [sh, -c, ...] for a shell line"
            problems.append(problem(value, "has more than one word", hint, "command"))
