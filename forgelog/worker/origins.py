"""What a stage's rows are computed from, through the stages before it that have handed theirs on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from events.language.pipelines.lineage import ColumnEdge, LineageEdges, LineageInput
from events.language.pipelines.work import MAX_ORIGINS, StageOutput

MOST_HANDED_ON = 1_000
"""Edges between columns that are handed on with rows: orders and reports have them."""


class Origins(NamedTuple):
    """What rows are computed from: places and versions, and their columns."""

    inputs: tuple[LineageInput, ...] = ()
    lineage: LineageEdges = LineageEdges()

    def handed_on(self) -> dict[str, object]:
        """The fields of a `StageOutput`. Of too many columns it says so, and names the tables."""
        inputs, lineage = self.inputs, self.lineage
        if len(lineage.columns) > MOST_HANDED_ON:
            why = f"there are {len(lineage.columns)} edges between columns, more than the {MOST_HANDED_ON} handed on"
            lineage = LineageEdges(tables=lineage.tables, unresolved=why)
        if len(inputs) > MAX_ORIGINS:
            return {}
        return {"inputs": inputs, "lineage": lineage}


def through(read: Sequence[LineageInput], lineage: LineageEdges, taken: Mapping[str, StageOutput]) -> Origins:
    """`lineage` of a stage over its inputs, with those that stages have handed on (`taken`) replaced by what these are
    computed from. A place that several inputs come from is one input."""
    names = {(each.dataset_id, each.version, each.location): each.name for each in read}
    inputs, used = list(read), {each.name for each in read} | set(taken)
    inner: dict[str, LineageEdges] = {}
    for name, output in taken.items():
        renamed: dict[str, str] = {}
        for each in output.inputs:
            place = (each.dataset_id, each.version, each.location)
            if place not in names:
                names[place] = _free(f"{name}.{each.name}", used)
                inputs.append(each.model_copy(update={"name": names[place]}))
            renamed[each.name] = names[place]
        inner[name] = _renamed(output.lineage, renamed)
    return Origins(tuple(inputs), lineage.through(inner))


def _renamed(lineage: LineageEdges, names: Mapping[str, str]) -> LineageEdges:
    columns = dict.fromkeys(
        ColumnEdge(column=each.column, dataset=names.get(each.dataset, each.dataset), source=each.source)
        for each in lineage.columns
    )
    tables = dict.fromkeys(names.get(each, each) for each in lineage.tables)
    return LineageEdges(columns=tuple(columns), tables=tuple(tables), unresolved=lineage.unresolved)


def _free(name: str, used: set[str]) -> str:
    found, number = name[:240], 1
    while found in used:
        number += 1
        found = f"{name[:240]}.{number}"
    used.add(found)
    return found
