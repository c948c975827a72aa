"""What the expressions of a search may name: attributes, which are columns of the row, values by key, and things that a
row has several of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from events.queries.expressions import ExpressionError, Name

Type = Literal["text", "word", "number", "float", "time"]
"""``word``: of an enum, in any case. ``number``: whole. ``time``: milliseconds since 1970, or a text as RFC 3339."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column of the row, or what is computed from columns."""

    sql: str
    type: Type = "text"
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Values:
    """Values by key, in a table of rows that name theirs.

    `link` is the column by which they do; the searched table has one of that name. There is one value of a key.
    """

    table: str
    link: str
    type: Type = "text"
    value: str = "value"
    key: str = "key"
    indexed: int = 0
    """How many characters of a text the table's index has; 0 for all."""
    in_order: bool = False
    """Whether the table has an index by key and value: rows that are ordered by numbers are read along it."""

    def test(self, outer: str, key: str, test: str) -> str:
        return (
            f"exists (select from {self.table} v where v.{self.link} = {outer}.{self.link} and v.{self.key} = "
            f"{key}::text{f' and {test}' if test else ''})"
        )

    def join(self, outer: str, key: str, alias: str, kind: str = "left join") -> str:
        return (
            f" {kind} (select v.{self.link}, v.{self.value} as value from {self.table} v where v.{self.key} = "
            f"{key}::text) {alias} on {alias}.{self.link} = {outer}.{self.link}"
        )


@dataclass(frozen=True, slots=True)
class Entries:
    """Texts by key, in a jsonb column of the row."""

    column: str


@dataclass(frozen=True, slots=True)
class Related:
    """Things that a row has several of, in a table of rows that name theirs by the column `link`: what is compared must
    hold of one of them."""

    table: str
    link: str
    texts: Mapping[str, str]
    """What may be compared → its column, which is empty where a thing has none."""
    entries: Mapping[str, str] = field(default_factory=dict)
    """What has texts by key, such as ``tags`` of ``dataset.tags.team`` → its jsonb column."""

    def find(self, name: Name) -> Attribute | tuple[Entries, str]:
        """A column, or a jsonb column and the key in it. Raises ExpressionError for what there is not."""
        if (column := self.texts.get(name.key)) is not None:
            return Attribute(f"v.{column}")
        kind, _, key = name.key.partition(".")
        if key and (column := self.entries.get(kind)) is not None:
            return Entries(f"v.{column}"), key
        names = ", ".join([*self.texts, *(f"{each}.KEY" for each in self.entries)])
        raise ExpressionError(name.at, f"there is no {name.kind}.{name.key}; there are {names}")

    def test(self, outer: str, test: str) -> str:
        return f"exists (select from {self.table} v where v.{self.link} = {outer}.{self.link} and {test})"


@dataclass(frozen=True, slots=True)
class Words:
    """What the expressions of a search may name."""

    attributes: Mapping[str, Attribute]
    kinds: Mapping[str, Values | Entries | Related]
    """By each name that the kind has, such as ``param`` and ``params``."""
    own: Collection[str] = ("attribute", "attributes", "attr")
    """What may stand before an attribute's name."""

    def find(self, name: Name) -> Attribute | Values | Entries | Related:
        """Raises ExpressionError for a name that there is not."""
        if not name.kind or name.kind in self.own:
            if (attribute := self.attributes.get(name.key)) is not None:
                return attribute
            names = ", ".join(self.attributes)
            raise ExpressionError(name.at, f"there is no attribute {name.key!r}; there are {names}")
        if (kind := self.kinds.get(name.kind)) is not None:
            return kind
        kinds = ", ".join([*self.kinds, *self.own])
        raise ExpressionError(name.at, f"{name.kind!r} is nothing that has keys; write one of {kinds} before the point")
