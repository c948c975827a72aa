"""What a manifest's documents may be: the kinds that the contexts name in their `ContextSpec`.

A document says its kind (``kind: Job``); one that says none is of the kind that is wanted. The module of a kind is
imported when a document is of that kind. Knows no kind itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from events.language.common import shown
from events.language.contexts import ContextsError, broken, contexts
from forgelog.errors import ManifestError, Problem
from forgelog.manifest.nodes import MAX_BYTES, Node, parse_documents, problem
from forgelog.manifest.shape import suggest
from forgelog.user_files import read_at_most

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ManifestKind(Generic[T]):
    """One kind of document. A context names it in its `ContextSpec.kinds`."""

    word: str
    """What stands behind ``kind:``, such as ``Job``."""
    least: str
    """What a document says at least, in words: ``name and command``."""
    taken_by: str
    """The command that takes a file of this kind, such as ``forgelog submit``."""
    read: Callable[[Sequence[Node], list[Problem]], list[T]]
    """From documents (without their ``kind``) to what they describe, in the order in which it is to be sent. Adds all
    that is wrong to the list; if it does, what it returns is not used."""


def known() -> Mapping[str, str]:
    """Word → ``package.module:NAME`` of the `ManifestKind`. Raises ContextsError when two contexts have one word."""
    found: dict[str, str] = {}
    for spec in contexts().values():
        for word, place in spec.kinds:
            if word in found:
                raise ContextsError(f"the context {spec.name!r} has a second kind {word!r}; give it another word")
            found[word] = place
    return found


def named(word: str) -> ManifestKind[Any]:
    """The kind of one of the `known` words. Raises ContextsError when it can't be used."""
    module, _, name = known()[word].partition(":")
    try:
        kind = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ContextsError(f"the kind {word!r} can't be used: {error}") from None
    except ContextsError:
        raise
    except Exception as error:  # noqa: BLE001 - anybody's code
        raise ContextsError(f"the kind {word!r} can't be used: {broken(error)}") from None
    if not isinstance(kind, ManifestKind):
        raise ContextsError(f"the kind {word!r} can't be used: {module} has no ManifestKind {name!r}")
    return kind


def load(path: str | Path, kind: ManifestKind[T]) -> list[T]:
    """What a file describes, all of it of one kind; ``-`` reads standard input. Raises `ManifestError`."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = read_at_most(path, MAX_BYTES, "a manifest").decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{name} is not valid", [Problem("", f"not UTF-8 text at byte {error.start}")]) from None
    return parse(text, name, kind)


def parse(text: str, name: str, kind: ManifestKind[T]) -> list[T]:
    """What a YAML or JSON text describes, all of it of one kind. Raises `ManifestError` with every error there is."""
    documents = parse_documents(text, name)
    if len(documents) == 1 and documents[0].kind == "list":
        documents = documents[0].items
    if not documents:
        nothing = Problem("", "the file is empty", f"write at least {kind.least}")
        raise ManifestError(f"{name} has no {kind.word.lower()}", [nothing])
    return described(documents, name, kind)


def described(documents: Sequence[Node], name: str, kind: ManifestKind[T]) -> list[T]:
    """What documents describe, all of them of one kind. Raises `ManifestError` with every error there is.

    Where one is of another kind, nothing else is looked at.
    """
    problems: list[Problem] = []
    others: list[Problem] = []
    rest = [_without_kind(document, kind, problems, others) for document in documents]
    if others:
        raise _wrong(name, others)
    found = kind.read(rest, problems)
    if problems:
        raise _wrong(name, problems)
    return found


def _without_kind(document: Node, kind: ManifestKind[Any], problems: list[Problem], others: list[Problem]) -> Node:
    if document.kind != "map":
        return document
    for key, value in document.pairs:
        if key.text != "kind" or value.text == kind.word:
            continue
        if value.text in known():
            other = named(value.text)
            text = f"is of kind {other.word}, and {kind.word} is wanted here"
            others.append(problem(value, text, f"{other.taken_by!r} takes it"))
        else:
            words = sorted(known())
            hint = suggest(value.text, words) or f"the kinds are {', '.join(words)}"
            problems.append(problem(value, f"kind {shown(value.text)} is not known", hint))
    return replace(document, pairs=[pair for pair in document.pairs if pair[0].text != "kind"])


def _wrong(name: str, problems: list[Problem]) -> ManifestError:
    problems.sort(key=lambda item: (item.line, item.column))
    count = "an error" if len(problems) == 1 else f"{len(problems)} errors"
    return ManifestError(f"{name} has {count}", problems)
