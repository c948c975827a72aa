"""Shapes as the text of a `types.proto`, with field numbers that never change.

The committed file is the memory: a known field keeps its number, a new one takes the next, one that is gone becomes
`reserved` (number and name). The same holds for enum values. Knows nothing of the models.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from events.language.proto_names import enum_prefix
from proto import GenerationError
from proto.shapes import EnumShape, FileShape, MessageShape

HEADER = """\
// Generated from events/language by `make proto`: change the models there, not this file.
// It is also the memory of field numbers: a field always keeps its number.
"""
_BLOCK = re.compile(r"^(message|enum) (\w+) \{")
_FIELD = re.compile(r"^  (?:(?:optional|repeated) )?(?:map<[^>]+>|[\w.]+) (\w+) = (\d+)(?: \[.+\])?;")
_VALUE = re.compile(r"^  (\w+) = (\d+);")
_RESERVED = re.compile(r"^  reserved (.+);")
_WIDTH = 118


class NumberReused(GenerationError):
    """A field came back under the name of a removed one; the text says which and what to do."""


@dataclass
class Numbers:
    """The numbers of one message or enum."""

    known: dict[str, int] = field(default_factory=dict)
    reserved_numbers: set[int] = field(default_factory=set)
    reserved_names: set[str] = field(default_factory=set)

    def assign(self, names: Iterable[str], where: str, first: int) -> dict[str, int]:
        """A number for each name, known ones kept; the names that are gone become reserved."""
        wanted = list(names)
        again = sorted(self.reserved_names.intersection(wanted))
        if again:
            raise NumberReused(f"{where}.{again[0]} was removed once and its name is reserved; choose another name")
        for name in [name for name in self.known if name not in wanted]:
            self.reserved_numbers.add(self.known.pop(name))
            self.reserved_names.add(name)
        following = max([first - 1, *self.known.values(), *self.reserved_numbers]) + 1
        for name in wanted:
            if name not in self.known:
                self.known[name] = following
                following += 1
        return self.known


def parse(text: str) -> dict[str, Numbers]:
    """The numbers of every message and enum of a generated file."""
    found: dict[str, Numbers] = {}
    current = Numbers()
    kind = ""
    for line in text.splitlines():
        if match := _BLOCK.match(line):
            kind = match[1]
            current = found.setdefault(match[2], Numbers())
        elif match := _RESERVED.match(line):
            for item in match[1].split(", "):
                if item.startswith('"'):
                    current.reserved_names.add(item.strip('"'))
                else:
                    current.reserved_numbers.add(int(item))
        elif match := (_FIELD if kind == "message" else _VALUE).match(line):
            current.known[match[1]] = int(match[2])
    return found


def render(file: FileShape, committed: str) -> str:
    """The text of `file`; `committed` is the text it replaces (empty for a new file)."""
    numbers = parse(committed)
    package = file.path.removesuffix("/types.proto").replace("/", ".")
    lines = [*HEADER.splitlines(), 'syntax = "proto3";', "", f"package {package};"]
    if file.imports:
        lines += ["", *(f'import "{path}";' for path in sorted(file.imports))]
    for enum in file.enums:
        lines += ["", *_enum(enum, numbers.get(enum.name, Numbers()))]
    for message in file.messages:
        lines += ["", *_message(message, numbers.get(message.name, Numbers()))]
    return "\n".join(lines) + "\n"


def _enum(enum: EnumShape, numbers: Numbers) -> Iterator[str]:
    zero = f"{enum_prefix(enum.name)}UNSPECIFIED"
    numbers.known.pop(zero, None)
    assigned = numbers.assign((name for name, _ in enum.values), enum.name, first=1)
    yield from _comment(enum.doc, "")
    yield f"enum {enum.name} {{"
    yield from _reserved(numbers)
    yield f"  {zero} = 0;"
    for name, doc in enum.values:
        yield from _comment(doc, "  ")
        yield f"  {name} = {assigned[name]};"
    yield "}"


def _message(message: MessageShape, numbers: Numbers) -> Iterator[str]:
    assigned = numbers.assign((item.name for item in message.fields), message.name, first=1)
    yield from _comment(message.doc, "")
    yield f"message {message.name} {{" + ("}" if not message.fields and not numbers.reserved_numbers else "")
    yield from _reserved(numbers)
    for item in message.fields:
        yield from _comment(item.doc, "  ")
        label = f"{item.label} " if item.label else ""
        option = "" if item.null is None else f" [(forgelog.common.v1.null_as) = {item.null}]"
        yield f"  {label}{item.type} {item.name} = {assigned[item.name]}{option};"
    if message.fields or numbers.reserved_numbers:
        yield "}"


def _reserved(numbers: Numbers) -> Iterator[str]:
    if numbers.reserved_numbers:
        yield f"  reserved {', '.join(map(str, sorted(numbers.reserved_numbers)))};"
    if numbers.reserved_names:
        names = ", ".join(f'"{name}"' for name in sorted(numbers.reserved_names))
        yield f"  reserved {names};"


def _comment(doc: str, indent: str) -> Iterator[str]:
    """Documentation as comment lines, paragraphs kept and lines filled."""
    if not doc:
        return
    for index, paragraph in enumerate(re.split(r"\n\s*\n", doc)):
        if index:
            yield f"{indent}//"
        filled = " ".join(paragraph.replace("``", "`").split())
        for line in textwrap.wrap(filled, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False):
            yield f"{indent}// {line}"
