"""Filters and orders of searches, as people write them. Pure: knows no table and no SQL (`events.queries.searching`).

    params.depth = '3' and (tags."git branch" like 'main%' or status in ('failed', 'killed'))
    metrics.loss desc

The language is MLflow's, with ``or`` and parentheses:

    expression = all { "or" all }
    all        = one { "and" one }
    one        = "(" expression ")" | name comparison
    comparison = operator value | ["not"] "in" "(" text { "," text } ")" | "is" ["not"] "null"
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | "like" | "ilike"
    name       = [ kind "." ] key
    order      = name [ "asc" | "desc" ]

A key with other characters than letters, digits and ``_ . / : @ -`` stands in double quotes or backticks. A text stands
in single or double quotes. A quote inside quotes is doubled. Words of the language are taken in any case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

MAX_CHARACTERS = 100_000
MAX_COMPARISONS = 200
MAX_DEPTH = 50
"""Most parentheses in each other."""
MOST_DIGITS = 18
"""Of a whole number that is kept as one; a longer one is as exact as a float is."""

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "like", "ilike")

_SPACE = re.compile(r"\s*")
_KIND = re.compile(r"[^\W\d]\w*")
_KEY = re.compile(r"[\w./:@-]+")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.])")
_SIGNS = re.compile(r"[=!<>~]+")
_QUOTED = {quote: re.compile(rf"{quote}((?:[^{quote}]|{quote}{quote})*){quote}") for quote in "'\"`"}

Value = str | int | float | tuple[str, ...] | None


class ExpressionError(ValueError):
    """What is wrong with an expression, and at which character, counted from 1."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(f"at character {at + 1}: {problem}")


@dataclass(frozen=True, slots=True)
class Name:
    """What is compared, or ordered by. `kind` is empty where only a key stands. `at` is where it begins."""

    kind: str
    key: str
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator` is one of `OPERATORS`, ``in``, ``not in``, ``is null`` or ``is not null``."""

    name: Name
    operator: str
    value: Value
    """A text, a number, the texts of a list, or None for the two that have none."""
    at: int
    """Where the operator begins."""


@dataclass(frozen=True, slots=True)
class Group:
    """All of its parts hold (``and``), or any of them (``or``). There are at least two."""

    word: str
    parts: tuple[Expression, ...]


Expression = Comparison | Group


@dataclass(frozen=True, slots=True)
class Order:
    name: Name
    descending: bool


def parse_filter(text: str) -> Expression | None:
    """A filter's expression; None if it is empty. Raises ExpressionError."""
    reader = _Reader(text)
    if reader.at_end:
        return None
    expression = reader.expression(0)
    if not reader.at_end:
        reader.wrong("here 'and', 'or' or the end was expected")
    return expression


def parse_order(text: str) -> Order:
    """One clause of an order. Raises ExpressionError."""
    reader = _Reader(text)
    if reader.at_end:
        reader.wrong("it is empty; name what to order by, such as start_time desc")
    name = reader.name()
    descending = reader.word("desc")
    if not descending:
        reader.word("asc")
    if not reader.at_end:
        reader.wrong("here 'asc', 'desc' or the end was expected; give each clause on its own")
    return Order(name, descending)


def names_in(expression: Expression) -> Iterator[Name]:
    """What an expression compares."""
    if isinstance(expression, Group):
        for part in expression.parts:
            yield from names_in(part)
    else:
        yield expression.name


def write(expression: Expression) -> str:
    """An expression as text, of which `parse_filter` makes the same again, but for the places."""
    if isinstance(expression, Group):
        parts = (f"({write(part)})" if isinstance(part, Group) else write(part) for part in expression.parts)
        return f" {expression.word} ".join(parts)
    name = expression.name
    key = f'"{_doubled(name.key, chr(34))}"'
    return f"{name.kind}.{key} {_compared(expression)}" if name.kind else f"{key} {_compared(expression)}"


def _compared(comparison: Comparison) -> str:
    value = comparison.value
    if value is None:
        return comparison.operator
    if isinstance(value, tuple):
        return f"{comparison.operator} ({', '.join(map(_text, value))})"
    return f"{comparison.operator} {_text(value) if isinstance(value, str) else repr(value)}"


def _text(value: str) -> str:
    return f"'{_doubled(value, chr(39))}'"


def _doubled(text: str, quote: str) -> str:
    return text.replace(quote, quote * 2)


class _Reader:
    """Reads one text from its beginning. `_at` is never before a space."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._comparisons = 0
        if len(text) > MAX_CHARACTERS:
            raise ExpressionError(MAX_CHARACTERS, f"it has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
        if (nul := text.find("\0")) >= 0:
            raise ExpressionError(nul, "there is a NUL character; leave it out")
        self._skip(0)

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text)

    def wrong(self, problem: str, at: int | None = None) -> NoReturn:
        """Raises ExpressionError, with what stands there."""
        at = self._at if at is None else at
        found = f"{self._text[at : at + 20]!r}" if at < len(self._text) else "the end"
        raise ExpressionError(at, f"{problem}, found {found}")

    def expression(self, depth: int) -> Expression:
        return self._group("or", [self._all(depth)], lambda: self._all(depth))

    def _all(self, depth: int) -> Expression:
        return self._group("and", [self._one(depth)], lambda: self._one(depth))

    def _group(self, word: str, parts: list[Expression], more: Callable[[], Expression]) -> Expression:
        while self.word(word):
            parts.append(more())
        return parts[0] if len(parts) == 1 else Group(word, tuple(parts))

    def _one(self, depth: int) -> Expression:
        if not self._sign("("):
            return self._comparison()
        if depth == MAX_DEPTH:
            self.wrong(f"more than {MAX_DEPTH} parentheses are in each other", self._at - 1)
        inside = self.expression(depth + 1)
        if not self._sign(")"):
            self.wrong("here 'and', 'or' or ')' was expected")
        return inside

    def name(self) -> Name:
        """A name, in quotes or not."""
        at = self._at
        first = self._quoted('"`', skip=False)
        if first is None:
            first = self._match(_KIND, "a name was expected, such as params.depth or status", skip=False)
        if not self._text.startswith(".", self._at):
            self._skip(self._at)
            return Name("", first, at)
        self._at += 1
        key = self._quoted('"`')
        if key is None:
            key = self._match(_KEY, "a key was expected behind the point; put one with other characters in quotes")
        return Name(first, key, at)

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self.wrong(f"there are more than {MAX_COMPARISONS} comparisons")
        name, at = self.name(), self._at
        if self.word("is"):
            negated = self.word("not")
            if not self.word("null"):
                self.wrong("'null' or 'not null' was expected behind 'is'")
            return Comparison(name, "is not null" if negated else "is null", None, at)
        if negated := self.word("not"):
            if not self.word("in"):
                self.wrong("'in' was expected behind 'not'")
            return Comparison(name, "not in", self._list(), at)
        if self.word("in"):
            return Comparison(name, "in", self._list(), at)
        return Comparison(name, self._operator(), self._value(), at)

    def _operator(self) -> str:
        for word in ("like", "ilike"):
            if self.word(word):
                return word
        found = _SIGNS.match(self._text, self._at)
        if found is None or found[0] not in OPERATORS:
            self.wrong(f"an operator was expected ({', '.join(OPERATORS)}, in, not in, is null, is not null)")
        self._skip(found.end())
        return found[0]

    def _value(self) -> Value:
        if (text := self._quoted("'\"")) is not None:
            return text
        if (found := _NUMBER.match(self._text, self._at)) is None:
            self.wrong("a number or a text in quotes was expected")
        self._skip(found.end())
        digits = found[0].lstrip("+-")
        return int(found[0]) if digits.isdecimal() and len(digits) <= MOST_DIGITS else float(found[0])

    def _list(self) -> tuple[str, ...]:
        if not self._sign("("):
            self.wrong("a list was expected, such as ('a', 'b')")
        texts: list[str] = []
        while not texts or self._sign(","):
            if texts and self._text.startswith(")", self._at):  # Python's way of a list of one
                break
            if (text := self._quoted("'\"")) is None:
                self.wrong("a text in quotes was expected")
            texts.append(text)
        if not self._sign(")"):
            self.wrong("',' or ')' was expected")
        return tuple(texts)

    def word(self, word: str) -> bool:
        """Whether this word of the language stands here; then it is read."""
        found = _WORD.match(self._text, self._at)
        if found is None or found[0].lower() != word:
            return False
        self._skip(found.end())
        return True

    def _sign(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._skip(self._at + 1)
        return True

    def _quoted(self, quotes: str, *, skip: bool = True) -> str | None:
        """What stands in one of these quotes; None if none begins here."""
        quote = self._text[self._at : self._at + 1]
        if not quote or quote not in quotes:
            return None
        if (found := _QUOTED[quote].match(self._text, self._at)) is None:
            self.wrong(f"the quote {quote} is not closed")
        self._skip(found.end(), spaces=skip)
        return found[1].replace(quote * 2, quote)

    def _match(self, pattern: re.Pattern[str], problem: str, *, skip: bool = True) -> str:
        if (found := pattern.match(self._text, self._at)) is None:
            self.wrong(problem)
        self._skip(found.end(), spaces=skip)
        return found[0]

    def _skip(self, to: int, *, spaces: bool = True) -> None:
        found = _SPACE.match(self._text, to)
        self._at = found.end() if spaces and found is not None else to
