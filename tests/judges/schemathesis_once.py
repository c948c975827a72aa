"""What schemathesis need not try again: what two commands, queries or properties have in common is read by one code."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

COMPONENTS = "#/components/schemas/"
SHORT = ".required"
WORDS = {"title", "description", "default"}
"""Of a schema, what says nothing of the values that it takes."""

DESCRIPTIONS = ("title", "description")
VALUES = {"default", "const", "enum", "example", "examples"}
"""Of a schema, what is or has values."""


def each_shape_once(commands: list[dict[str, Any]], shapes: dict[str, Any]) -> None:
    """Leave what several commands have in common whole in the first of them: the envelope, and every shape that has a
    name. Later ones keep of a shape its place and what is required in it: that they take it, and refuse others."""
    for each in commands[1:]:
        each["properties"] = {name: each["properties"][name] for name in ("type", "data")}
    whole: set[str] = set()
    for each in commands:
        new: set[str] = set()
        _shorten(each, whole, new, shapes)
        whole |= new


def each_form_once(shapes: dict[str, Any]) -> None:
    """Queries take the fields of their options and of their page as their own, too: by one code, so leave that to the
    first (to name such a field here and there is refused, which schemathesis draws up as cases by the power of two)."""
    found: set[str] = set()
    for shape in shapes.values():
        twins = shape.get("dependentSchemas", {}).keys()
        if twins <= found:
            shape.pop("dependentSchemas", None)
            for name in twins:
                del shape["properties"][name]
        found |= twins


def _shorten(node: Any, whole: set[str], new: set[str], shapes: dict[str, Any]) -> None:
    """Let a schema name the short forms of the shapes that are whole in an earlier command; gather which are new."""
    for each in _inner(node):
        _shorten(each, whole, new, shapes)
    name = node["$ref"].removeprefix(COMPONENTS) if isinstance(node, dict) and "$ref" in node else ""
    if name in whole:
        node["$ref"] = COMPONENTS + _short(name, shapes)
    elif name and name not in new:
        new.add(name)
        _shorten(shapes[name], whole, new, shapes)


def _short(name: str, shapes: dict[str, Any]) -> str:
    """The name of a shape's form that has the required properties alone."""
    shape, short = shapes[name], name + SHORT
    if "properties" not in shape:
        return name
    if short not in shapes:
        required = {each: copy.deepcopy(shape["properties"][each]) for each in shape.get("required", ())}
        shapes[short] = shape | {"properties": required}
        _shorten(required, {each for each in shapes if not each.endswith(SHORT)}, set(), shapes)
    return short


def _inner(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def without_descriptions(node: Any) -> None:
    """Take the texts for people out of schemas, and leave values (also a property of such a name) as they are."""
    if isinstance(node, dict):
        for word in DESCRIPTIONS:
            if isinstance(node.get(word), str):
                del node[word]
        for name, each in node.items():
            if name not in VALUES:
                without_descriptions(each)
    elif isinstance(node, list):
        for each in node:
            without_descriptions(each)


class Property(NamedTuple):
    """One that a place in a schema lies in."""

    place: str
    name: str
    within: str
    """The rest of the way."""
    takes: Any
    """Its schema."""


class Once:
    """Remembers what was tried, and where."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self._places: dict[str, str] = {}

    def here(self, place: str, *what: Any) -> bool:
        """Whether this is to be tried at this place: it was tried at no other."""
        return self._places.setdefault(json.dumps(what, sort_keys=True, default=repr), place) == place

    def property_at(self, schema: Any, location: str) -> Property:
        """Which property a place in a schema (a JSON pointer, through references) lies in; the whole has no name."""
        found, node, before = Property("", "", location, self.resolved(schema)), schema, ""
        steps = location.split("/")[1:]
        for number, step in enumerate(steps, 1):
            node = self.resolved(node)
            try:
                node = node[int(step) if isinstance(node, list) else step]
            except (LookupError, ValueError):  # what is wrong with an alternative has no place of its own
                break
            if before == "properties":
                found = Property("/".join(steps[:number]), step, "/".join(steps[number:]), node)
            before = step if before != "properties" else ""
        return found

    def types_of(self, schema: Any) -> Any:
        """Of what type a schema's values are."""
        schema = self.resolved(schema)
        alternatives = [self.types_of(each) for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
        return [schema.get("type"), *alternatives]

    def resolved(self, node: Any) -> Any:
        """A schema itself in place of a reference to it."""
        while isinstance(node, dict) and "$ref" in node:
            node = self.document["components"]["schemas"][node["$ref"].removeprefix(COMPONENTS)]
        return node


def values_of(schema: Any) -> Any:
    """A schema without its words."""
    if isinstance(schema, dict):
        return {name: values_of(value) for name, value in schema.items() if name not in WORDS}
    return [values_of(each) for each in schema] if isinstance(schema, list) else schema
