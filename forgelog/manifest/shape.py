"""From nodes to the plain data of a language model: shorthands, units, misspelt keys, and where each value stood.

Works on any pydantic model: the fields' types say what is text, what is a number, and what goes deeper. A field
``*_bytes`` may be written without its suffix and with a unit (``memory: 4Gi``), a field ``*_seconds`` likewise
(``grace: 30s``). Knows nothing of documents or dependencies.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from events.language.common import shown
from events.language.jobs.spec import JobResources
from events.language.refusals import refusals_of
from events.language.wording import field_error
from forgelog.errors import Problem
from forgelog.manifest.nodes import Node, problem
from forgelog.manifest.shorthand import OF_JOBS, Shorthand
from forgelog.units import parse_bytes, parse_cpus, parse_duration

M = TypeVar("M", bound=BaseModel)

Path = tuple[str | int, ...]

_UNITS: dict[str, Callable[[str], float]] = {"_bytes": parse_bytes, "_seconds": parse_duration}


_OF_THE_LANGUAGE = frozenset(
    ("string_pattern_mismatch", "string_too_short", "string_too_long", "too_short", "too_long", "string_unicode")
)
"""Refusals that a command's own words tell best; of others the place is known better here."""


@dataclass
class Shaper:
    """Collects the problems and the places of one document."""

    shorthand: Shorthand = OF_JOBS
    problems: list[Problem] = field(default_factory=list)
    places: dict[Path, Node] = field(default_factory=dict)

    def shape(self, node: Node, model: type[BaseModel], path: Path = ()) -> dict[str, Any]:
        """The data of `model` that `node` describes, as far as it is right; the rest is in `problems`."""
        result: dict[str, Any] = {}
        self._fields(node, model, path, result)
        return result

    def validated(self, data: dict[str, Any], model: type[M]) -> M | None:
        """The model of what `shape` made of a node; None if it is wrong, and what is wrong is in `problems`."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.problems += [*self._refusals(error, model)]
            return None

    def _fields(self, node: Node, model: type[BaseModel], path: Path, result: dict[str, Any]) -> None:
        self.places.setdefault(path, node)
        if node.kind != "map":
            word = self.shorthand.words.get(model)
            if node.kind == "scalar" and word is not None and node.value is not None:
                node = Node("map", pairs=[(Node("scalar", word, word), node)], line=node.line, column=node.column)
            else:
                keys = ", ".join(list(model.model_fields)[:4])
                self._add(node, path, "needs to be a map", f"write keys below it, such as {keys}")
                return
        for key, value in node.pairs:
            self._field(key, value, model, path, result)

    def _field(self, key: Node, value: Node, model: type[BaseModel], path: Path, result: dict[str, Any]) -> None:
        target = self.shorthand.keys.get(model, {}).get(key.text)
        if target is not None and (value.kind != "scalar" or value.value is not None):
            inner = _model_of(model.model_fields[target[0]].annotation)
            assert inner is not None, f"shortcut {key.text} leads into no model"
            below = result.setdefault(target[0], {})
            self.places.setdefault((*path, target[0]), key)
            self._field(Node("scalar", target[1], target[1], line=key.line, column=key.column), value, inner,
                        (*path, target[0]), below)  # fmt: skip
            return
        name = _field_name(key.text, model)
        if name is None:
            self._unknown(key, model, path)
            return
        where = (*path, name)
        annotation = model.model_fields[name].annotation
        nested = _model_of(annotation)
        if nested is not None and value.kind == "map" and isinstance(result.get(name), dict):
            self.places[where] = value
            self._fields(value, nested, where, result[name])  # beside shortcuts into the same model
            return
        if name in result:
            first = self.places.get(where)
            self._add(key, where, "is given twice", f"first in line {first.line}" if first and first.line else "")
            return
        shaped = self._value(value, annotation, where, unit=_unit(name))
        if shaped is not _NOTHING:
            result[name] = shaped

    def _value(self, node: Node, annotation: Any, path: Path, unit: str = "") -> Any:
        self.places[path] = node
        options = [option for option in _options(annotation) if option is not type(None)]
        optional = type(None) in _options(annotation)
        if node.kind == "scalar" and node.value is None:
            if optional:
                return None
            self._add(node, path, "has no value", 'give one, or write "" for an empty text')
            return _NOTHING
        if len(options) != 1:
            return _plain(node)
        wanted = options[0]
        origin = get_origin(wanted) or wanted
        if isinstance(origin, type) and issubclass(origin, BaseModel):
            below: dict[str, Any] = {}
            self._fields(node, origin, path, below)
            return below
        if origin in (tuple, list, set, frozenset):
            return self._list(node, get_args(wanted)[0], path)
        if origin is dict:
            return self._map(node, get_args(wanted)[1], path)
        if node.kind != "scalar":
            self._add(node, path, f"needs to be one value, not a {node.kind}")
            return _NOTHING
        return self._scalar(node, origin, path, unit)

    def _list(self, node: Node, inner: Any, path: Path) -> Any:
        if node.kind != "list":
            self._add(node, path, "needs to be a list", "write [a, b] or one '- a' per line")
            return _NOTHING
        shaped = [self._value(item, inner, (*path, index)) for index, item in enumerate(node.items)]
        return [item for item in shaped if item is not _NOTHING]

    def _map(self, node: Node, inner: Any, path: Path) -> Any:
        if node.kind != "map":
            self._add(node, path, "needs to be a map", "write 'key: value' lines below it")
            return _NOTHING
        below = {}
        for key, value in node.pairs:
            self.places[(*path, key.text, "[key]")] = key
            shaped = self._value(value, inner, (*path, key.text))
            if shaped is not _NOTHING:
                below[key.text] = shaped
        return below

    def _scalar(self, node: Node, wanted: Any, path: Path, unit: str) -> Any:
        if wanted in (int, float):
            parse: Callable[[str], float] | None = _UNITS.get(unit)
            if path[-1] == "cpus":
                parse = parse_cpus
            if isinstance(node.value, bool):
                self._add(node, path, f"{node.text} is not a number")
                return _NOTHING
            if parse is not None and isinstance(node.value, str):
                try:
                    return parse(node.text)
                except ValueError as error:
                    self._add(node, path, str(error))
                    return _NOTHING
            return node.value
        if wanted is bool:
            return node.value
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            words = [str(member.value) for member in wanted]
            if node.text not in words:
                self._add(node, path, f"{shown(node.text)} is none of {', '.join(words)}", suggest(node.text, words))
                return _NOTHING
            return node.text
        return node.text  # text, and what pydantic parses from text (times)

    def _unknown(self, key: Node, model: type[BaseModel], path: Path) -> None:
        names = [_short(name) for name in model.model_fields]
        hint = suggest(key.text, [*names, *self.shorthand.keys.get(model, {}), *model.model_fields])
        if not hint:
            hint = f"keys here are {', '.join(names)}"
            if path == () and key.text in {*JobResources.model_fields, *map(_short, JobResources.model_fields)}:
                hint = f"write it below 'resources': resources: {{{key.text}: ...}}"
        self._add(key, (), f"unknown key {shown(key.text)}{' in ' + _dotted(path) if path else ''}", hint)

    def _add(self, node: Node, path: Path, text: str, hint: str = "") -> None:
        self.problems.append(problem(node, text, hint, _dotted(path)))

    def _refusals(self, error: ValidationError, model: type[BaseModel]) -> Iterable[Problem]:
        """A model's own refusals, at the places of the values."""
        for item in refusals_of(error):
            path = tuple(part for part in item["loc"])
            if any(known.field == _dotted(path) for known in self.problems):
                continue  # already said in better words
            if item["type"] == "missing":
                node = self._place(path[:-1])
                yield problem(node, f"{_short(str(path[-1]))!r} is missing", _missing_hint(path), _dotted(path[:-1]))
                continue
            if item["type"] in _OF_THE_LANGUAGE:
                said = field_error(item, model)
                yield problem(self._place(path), said.problem, said.hint, _dotted(path))
                continue
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            if item["msg"].startswith("Input should be "):
                message = f"should be {message}"
            node = self._place(path)
            hint = f"it is {node.text}" if _showable(node.text) and node.text not in message else ""
            if path and str(path[-1]).endswith("_bytes") and node.text.isdigit() and int(node.text):
                hint = f"{node.text} is a number of bytes; did you mean {node.text}Gi?"
            yield problem(node, message, hint, _dotted(path))

    def _place(self, path: Path) -> Node:
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path) or Node("scalar")


def suggest(word: str, words: Iterable[str]) -> str:
    """``did you mean 'memory'?`` or nothing."""
    close = get_close_matches(word.lower(), sorted(set(words)), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _showable(text: str) -> bool:
    return text.isprintable() and 0 < len(text) < 80


class _Nothing:
    pass


_NOTHING = _Nothing()


def _plain(node: Node) -> Any:
    if node.kind == "map":
        return {key.text: _plain(value) for key, value in node.pairs}
    if node.kind == "list":
        return [_plain(item) for item in node.items]
    return node.value


def _unit(name: str) -> str:
    return next((suffix for suffix in _UNITS if name.endswith(suffix)), "")


def _short(name: str) -> str:
    return name.removesuffix(_unit(name))


def _field_name(key: str, model: type[BaseModel]) -> str | None:
    if key in model.model_fields:
        return key
    return next((key + suffix for suffix in _UNITS if key + suffix in model.model_fields), None)


def _options(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, `Annotated` taken off."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(inner for option in get_args(annotation) for inner in _options(option))
    return (annotation,)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    models = [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]
    return models[0] if models else None


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(_short(str(part)) for part in path if part != "[key]")


def _missing_hint(path: Path) -> str:
    if path[0] == "metadata":
        return "every job needs a name: write for example 'name: train'"
    if path == ("command",):
        return "write for example 'command: [python, train.py]'"
    return ""
