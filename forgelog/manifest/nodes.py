"""A document as a tree of nodes that know their line and column. Knows YAML and JSON; knows nothing of jobs.

The YAML text is only composed, never constructed into objects: tags can't create anything, and every scalar keeps its
source text, so that ``0.10`` given as an argument stays ``0.10``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from json import loads
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from events.language.common import shown
from forgelog.errors import ManifestError, Problem

MAX_BYTES = 1_000_000
"""Largest manifest file."""
MAX_DOCUMENTS = 500
MAX_DEPTH = 32
MAX_BITS, MAX_DIGITS = 1024, 400
"""Of a number: larger ones are refused before anything is made of them."""
_NUMBER = "no field takes one of more than 64 bits"
MAX_NODES = 200_000
"""Most values in a file, and most merges, after YAML aliases are followed (a "billion laughs" ends here)."""
MAX_TEXT = 4 * MAX_BYTES
"""Most characters of all values together, after YAML aliases are followed."""

Kind = Literal["map", "list", "scalar"]


@dataclass(slots=True)
class Node:
    """One value. `items` are a map's pairs or a list's values (with an empty key node)."""

    kind: Kind
    value: Any = None
    """A scalar's value: None, bool, int, float or str."""
    text: str = ""
    """A scalar as it was written."""
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    line: int = 0
    column: int = 0


def problem(node: Node, text: str, hint: str = "", field: str = "") -> Problem:
    """A problem at a node's place."""
    return Problem(field, text, hint, node.line, node.column)


class _TooMuch(Exception):
    def __init__(self, found: Problem) -> None:
        super().__init__(found.problem)
        self.problem = found


class _Bounds:
    """What one document may still hold. Each place counts as often as it is reached: one value that is named in many
    places is as much as many values."""

    def __init__(self) -> None:
        self._values = MAX_NODES
        self._text = MAX_TEXT

    def take(self, depth: int, text: int = 0, line: int = 0, column: int = 0) -> None:
        """One value more, `depth` levels deep, with so many characters. Raises `_TooMuch`."""
        self._values -= 1
        self._text -= text
        if self._values < 0:
            raise _TooMuch(Problem("", f"more than {MAX_NODES} values", "", line, column))
        if self._text < 0:
            raise _TooMuch(Problem("", f"values of more than {MAX_TEXT} characters together", "", line, column))
        if depth > MAX_DEPTH:
            raise _TooMuch(Problem("", f"nested deeper than {MAX_DEPTH} levels", "", line, column))


def from_python(value: object) -> Node:
    """Plain Python data as nodes without places (dicts given to `Client.submit`). Raises `ManifestError`."""
    try:
        return _from_python(value, 0, _Bounds())
    except _TooMuch as error:
        raise ManifestError("the job is not valid", [error.problem]) from None


def _from_python(value: object, depth: int, bounds: _Bounds) -> Node:
    bounds.take(depth, len(value) if isinstance(value, str) else 0)
    if isinstance(value, dict):
        pairs = [
            (_from_python(str(key), depth, bounds), _from_python(item, depth + 1, bounds))
            for key, item in value.items()
        ]
        return Node("map", pairs=pairs)
    if isinstance(value, list | tuple | set | frozenset):
        return Node("list", items=[_from_python(item, depth + 1, bounds) for item in value])
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise _TooMuch(Problem("", f"a number has {value.bit_length()} bits", _NUMBER))
    if value is None or isinstance(value, bool | int | float | str):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return Node("scalar", value=value, text=text)
    return Node("scalar", value=str(value), text=str(value))


def only_map(documents: Sequence[Node], problems: list[Problem], what: str, hint: str) -> Node | None:
    """The map of a file that describes one thing, such as ``a template``; None if it is none. Adds all that is wrong
    to the list."""
    for node in documents[1:]:
        problems.append(problem(node, "is a second document", f"{what} is one"))
    if documents[0].kind == "map":
        return documents[0]
    problems.append(problem(documents[0], f"{what} is a map of keys", hint))
    return None


def parse_documents(text: str, name: str) -> list[Node]:
    """The documents of a YAML stream (empty ones left out). Raises `ManifestError`."""

    def fail(found: Problem) -> ManifestError:
        return ManifestError(f"{name} is not valid", [found])

    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise fail(Problem("", f"the file is larger than {MAX_BYTES} bytes", "split it, or use an array job"))
    json = _is_json(text)
    # JSON is YAML but for tabs between tokens; inside JSON strings a raw tab can't occur.
    source = text.replace("\t", " ") if json else text
    yaml = YAML(typ="safe", pure=True)
    try:
        converter = _Converter(yaml.constructor, json)
        documents: list[Node] = []
        for composed in yaml.compose_all(source):
            if composed is None:
                continue
            node = converter.convert(composed, 0)
            if node.kind == "scalar" and node.value is None:
                continue
            documents.append(node)
            if len(documents) > MAX_DOCUMENTS:
                raise fail(problem(node, f"more than {MAX_DOCUMENTS} documents", "split the file"))
    except _TooMuch as error:
        raise fail(error.problem) from None
    except RecursionError:
        raise fail(Problem("", f"nested deeper than {MAX_DEPTH} levels")) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        kind = "JSON or YAML" if source.lstrip().startswith(("{", "[")) else "YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise fail(Problem("", f"this is not {kind}: {words}", "", line, column)) from None
    except YAMLError as error:
        raise fail(Problem("", f"this is not YAML: {error}")) from None
    return documents


def _is_json(text: str) -> bool:
    """Whether a text is JSON, by what it holds: a file may have any name, and standard input has none."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return False
    try:
        loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return True


class _Converter:
    """From ruamel's composed nodes to `Node`, within the limits."""

    def __init__(self, constructor: Any, json: bool) -> None:
        self._constructor = constructor
        self._json = json
        self._bounds = _Bounds()

    def convert(self, composed: Any, depth: int) -> Node:
        mark = composed.start_mark
        line, column = mark.line + 1, mark.column + 1
        self._bounds.take(depth, len(composed.value) if isinstance(composed, ScalarNode) else 0, line, column)
        if isinstance(composed, MappingNode):
            return Node("map", pairs=list(self._pairs(composed, depth)), line=line, column=column)
        if isinstance(composed, SequenceNode):
            items = [self.convert(item, depth + 1) for item in composed.value]
            return Node("list", items=items, line=line, column=column)
        return self._scalar(composed, line, column)

    def _pairs(self, composed: Any, depth: int) -> Iterable[tuple[Node, Node]]:
        merged: dict[str, tuple[Node, Node]] = {}
        own: dict[str, tuple[Node, Node]] = {}
        for key, value in composed.value:
            if str(key.tag) == "tag:yaml.org,2002:merge":
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    mark = source.start_mark
                    self._bounds.take(depth, 0, mark.line + 1, mark.column + 1)
                    if not isinstance(source, MappingNode):
                        raise _TooMuch(problem(self.convert(source, depth), "'<<' merges maps only"))
                    for pair in self._pairs(source, depth + 1):
                        merged.setdefault(pair[0].text, pair)
                continue
            name = self.convert(key, depth + 1)
            if name.kind != "scalar":
                raise _TooMuch(problem(name, "a key must be a word, not a list or a map"))
            if name.text in own:
                first = own[name.text][0].line
                raise _TooMuch(problem(name, f"key {shown(name.text)} is given twice, first in line {first}"))
            own[name.text] = (name, self.convert(value, depth + 1))
        return (merged | own).values()

    def _scalar(self, composed: ScalarNode, line: int, column: int) -> Node:
        tag, text = str(composed.tag), composed.value
        place = Node("scalar", text=text, line=line, column=column)
        if self._json:  # JSON writes characters beyond the BMP as surrogate pairs
            text = place.text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        kind = tag.removeprefix("tag:yaml.org,2002:")
        if kind in ("int", "float") and len(text) > MAX_DIGITS:
            raise _TooMuch(problem(place, f"a number has {len(text)} digits", _NUMBER))
        try:
            if kind == "null":
                place.value = None
            elif kind == "bool":
                place.value = self._constructor.construct_yaml_bool(composed)
            elif kind == "int":
                place.value = self._constructor.construct_yaml_int(composed)
            elif kind == "float":
                place.value = self._constructor.construct_yaml_float(composed)
            elif kind in ("str", "timestamp"):
                place.value = text
            else:
                raise _TooMuch(problem(place, f"tag {shown(tag)} is not supported", "write the plain value"))
        except (ValueError, OverflowError) as error:
            raise _TooMuch(problem(place, f"is not a number: {error}")) from None
        return place
