"""Locations as texts: parameters in them, wild cards, folders named by values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote

from events.language.pipelines.connections import PLACEHOLDER
from events.language.pipelines.manifests import NO_VALUE
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_WILD = re.compile(r"[*?\[]")
_BRACKETED = re.compile(r"\[([*?\[])\]")


def filled(text: str, context: IoContext, field: str) -> str:
    """A location with the run's values in it. A value is one name of a path: it may have no ``/``."""

    def value(found: re.Match[str]) -> str:
        name, code = found[1], found[2]
        if name is None:
            return "$"
        if name in ("interval_start", "interval_end"):
            given: object = getattr(context, name)
            if given is None:
                raise StageError(field, f"asks for ${{{name}}}, and the run has no interval", "give the run one")
        elif name in context.parameters:
            given = context.parameters[name]
        else:
            known = ", ".join(sorted(context.parameters)) or "none"
            raise StageError(field, f"asks for ${{{name}}}, and the run's parameters are: {known}", "declare it")
        written = _written(given, code)
        if "/" in written or written in ("", ".", "..") or not written.isprintable():
            problem = f"the value {shown(written)} of ${{{name}}} can't be a name in a path"
            raise StageError(field, problem, "give one without slashes and control characters")
        # what is a wild card in the pattern is none in a value
        return _WILD.sub(lambda sign: f"[{sign[0]}]", written)

    return PLACEHOLDER.sub(value, text)


def _written(value: object, code: str | None) -> str:
    if isinstance(value, datetime | date):
        if code:
            return value.strftime(code)
        return value.strftime("%Y-%m-%dT%H-%M-%S") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, code or "")


def is_wild(path: str) -> bool:
    """Whether a path has a wild card; a sign alone in brackets is itself."""
    return _WILD.search(_BRACKETED.sub("", path)) is not None


def literal(path: str) -> str:
    """What a path without wild cards names: signs in brackets are themselves."""
    return _BRACKETED.sub(r"\1", path)


def fixed_part(pattern: str) -> str:
    """The folders before the first name with a wild card, ending with ``/``; empty if there are none."""
    kept = []
    for name in pattern.split("/")[:-1]:
        if is_wild(name):
            break
        kept.append(literal(name))
    return "".join(name + "/" for name in kept)


def matches(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern. A wild card does not fit the beginning of a hidden name (``_x``, ``.x``)."""
    return _match(pattern.split("/"), path.split("/"))


def _match(pattern: list[str], names: list[str]) -> bool:
    # positions in the pattern that the names read so far can have come to
    reached = _beyond_folders(pattern, {0})
    for name in names:
        after = set()
        for at in reached:
            if at == len(pattern):
                continue
            part = pattern[at]
            if part == "**":
                if not hidden(name):
                    after.add(at)
            elif _fits(part, name):
                after.add(at + 1)
        reached = _beyond_folders(pattern, after)
        if not reached:
            return False
    # a pattern that ends with ** fits files in any depth
    return len(pattern) in reached


def _beyond_folders(pattern: list[str], places: Iterable[int]) -> set[int]:
    """``**`` fits no folder too."""
    found = set(places)
    for at in sorted(found):
        while at < len(pattern) and pattern[at] == "**":
            at += 1
            found.add(at)
    return found


def _fits(part: str, name: str) -> bool:
    if hidden(name) and part[:1] in "*?[" and not part.startswith(("[_]", "[.]")):
        return False
    return fnmatchcase(name, part)


def hidden(name: str) -> bool:
    """Whether a name is of a table's keeping, and none of its data: as Hive, Spark and others have it."""
    return name.startswith(("_", "."))


def partition_name(column: str, value: str | None) -> str:
    """The folder of a value, ``day=2026-05-09``."""
    return f"{quote(column, safe=' ')}={NO_VALUE if value is None else quote(value, safe=' :+,@')}"


def partition_of(path: str, columns: Iterable[str]) -> Mapping[str, str | None]:
    """The values that a path's folders have for some columns. Raises ValueError that says what is wrong."""
    wanted = {name.lower(): name for name in columns}
    values: dict[str, str | None] = {}
    for key, text in _pairs(path):
        name = wanted.get(key.lower())
        if name is None:
            continue
        if name in values:
            raise ValueError(f"has two folders for {name}")
        if "=" in text:
            raise ValueError(f"has the folder {shown(f'{key}={text}')}, whose value has a = (write %3D for it)")
        values[name] = None if text == NO_VALUE else unquote(text)
    if missing := [name for name in wanted.values() if name not in values]:
        raise ValueError(f"has no folder {missing[0]}=VALUE")
    return values


def _pairs(path: str) -> Iterator[tuple[str, str]]:
    for name in path.split("/")[:-1]:
        key, sign, text = name.partition("=")
        if sign:
            yield unquote(key), text
