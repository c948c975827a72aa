"""Where the columns of a dataset's version come from.

A stage reads its inputs under names of its own. Edges name those, and `LineageInput` says what each of them was: a
version of a dataset, or a place outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import OptionalIdentifier
from events.language.pipelines.columns import ColumnName

MAX_EDGES = 10_000
"""Most edges between columns of one version."""

MAX_LINEAGE_INPUTS = 1_000

InputName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""What a stage calls one of its inputs."""

Location = Annotated[str, StringConstraints(max_length=2_000)]
"""Where data is, as a URI without credentials, such as ``s3://bucket/orders`` or ``postgres://host/shop/public.orders``.
"""

OptionalVersion = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Which version of a dataset; the first is 1. 0: none."""


class ColumnEdge(Model):
    """One column that a column is computed from."""

    column: ColumnName
    """Of the output."""
    dataset: InputName
    """The input."""
    source: ColumnName
    """The input's column."""


class LineageEdges(Model):
    """What an output is computed from: by columns where that is certain, and by tables in any case."""

    columns: tuple[ColumnEdge, ...] = Field(default=(), max_length=MAX_EDGES)
    """Empty if `unresolved`."""
    tables: tuple[InputName, ...] = Field(default=(), max_length=MAX_LINEAGE_INPUTS)
    """All inputs that it was computed from."""
    unresolved: Annotated[str, StringConstraints(max_length=1_000)] = ""
    """Why the columns can't be told; empty if they are."""

    @model_validator(mode="after")
    def _whole(self) -> LineageEdges:
        if self.unresolved and self.columns:
            raise ValueError("columns has edges, but unresolved says that they can't be told; leave out one of the two")
        tables = frozenset(self.tables)
        if stray := next((edge.dataset for edge in self.columns if edge.dataset not in tables), ""):
            raise ValueError(f"columns names the input {stray!r}, which tables has not; name it there too")
        return self

    def through(self, inner: Mapping[str, LineageEdges]) -> LineageEdges:
        """With the inputs that are outputs of other stages replaced by what those were computed from.

        `inner`: by the input's name, edges whose names of inputs mean the same as the outer ones. A column of
        unresolved inner edges makes all unresolved, since what it comes from is not known.
        """
        tables: dict[str, None] = {}
        for name in self.tables:
            tables.update(dict.fromkeys(inner[name].tables if name in inner else (name,)))
        reason = self.unresolved or next(
            (f"{edge.dataset}: {inner[edge.dataset].unresolved}" for edge in self.columns if _unknown(edge, inner)), ""
        )
        if reason:
            return LineageEdges(tables=tuple(tables), unresolved=reason[:1_000])
        sources = {name: _by_column(edges) for name, edges in inner.items()}
        found: dict[ColumnEdge, None] = {}
        for edge in self.columns:
            if edge.dataset not in sources:
                found[edge] = None
                continue
            for origin in sources[edge.dataset].get(edge.source, ()):
                found[ColumnEdge(column=edge.column, dataset=origin.dataset, source=origin.source)] = None
        if len(found) > MAX_EDGES:
            reason = f"there are {len(found)} edges between columns, more than {MAX_EDGES}"
            return LineageEdges(tables=tuple(tables), unresolved=reason)
        return LineageEdges(columns=tuple(found), tables=tuple(tables))


def _unknown(edge: ColumnEdge, inner: Mapping[str, LineageEdges]) -> bool:
    return edge.dataset in inner and bool(inner[edge.dataset].unresolved)


def _by_column(edges: LineageEdges) -> dict[str, list[ColumnEdge]]:
    found: dict[str, list[ColumnEdge]] = {}
    for edge in edges.columns:
        found.setdefault(edge.column, []).append(edge)
    return found


class LineageInput(Model):
    """What an input was when a stage read it."""

    name: InputName
    dataset_id: OptionalIdentifier = ""
    """The dataset; empty of a place that is none of the platform's."""
    version: OptionalVersion = 0
    """The version that was read; 0 if it has none."""
    location: Location = ""
    """Where it was read."""

    @model_validator(mode="after")
    def _is_something(self) -> LineageInput:
        if not self.dataset_id and not self.location:
            raise ValueError("dataset_id and location are empty; say which dataset it is, or where it is")
        if self.version and not self.dataset_id:
            raise ValueError("version is given without a dataset; give dataset_id too")
        return self
