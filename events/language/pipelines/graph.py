"""The graph of a pipeline's stages: its order, and everything that is wrong with it, at once. Pure.

A cycle is told by its shortest path: of stages that wait for each other, those that are enough to see it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from events.language.common import FieldError, shown
from events.language.pipelines.stages import StageSpec

MOST_ERRORS = 100
"""Most errors that are told at once."""

_MOST_SHOWN = 12
"""Stages of a cycle that are written out."""

Graph = Mapping[str, Iterable[str]]
"""Stage → the stages that it waits for."""


def graph_errors(stages: Sequence[StageSpec], path: str = "spec.stages") -> list[FieldError]:
    """What is wrong with the ids of stages and with what they wait for; empty if they can be run. `path`: of the
    stages, in the command that has them."""
    numbers: dict[str, int] = {}
    errors: list[FieldError] = []
    for number, stage in enumerate(stages):
        if numbers.setdefault(stage.id, number) != number:
            problem = f"is {stage.id!r}, and stage {numbers[stage.id]} has this id too"
            errors.append(FieldError(field=f"{path}[{number}].id", problem=problem, hint="give it another id"))
    graph: dict[str, list[str]] = {}
    for number, stage in enumerate(stages):
        known = graph.setdefault(stage.id, [])
        for place, needed in _named(stage):
            if needed in numbers:
                known.append(needed)
            else:
                errors.append(_unknown(f"{path}[{number}].{place}", needed, numbers))
    for cycle in cycles(graph):
        field = f"{path}[{numbers[cycle[0]]}]"
        errors.append(FieldError(field=field, problem=_told(cycle), hint="let one of them not wait for the next"))
    return errors[:MOST_ERRORS]


def _named(stage: StageSpec) -> Iterator[tuple[str, str]]:
    """Where a stage names others, and which."""
    for number, needed in enumerate(stage.after):
        yield f"after[{number}]", needed
    for name, given in stage.inputs.items():
        if given.stage:
            yield f"inputs.{name}.stage", given.stage


def _unknown(field: str, needed: str, known: Iterable[str]) -> FieldError:
    # Words of another length are not close, and comparing is slow.
    candidates = [id for id in known if abs(len(id) - len(needed)) <= 2]
    close = get_close_matches(needed, candidates[:200], n=1, cutoff=0.75)
    hint = f"did you mean {close[0]!r}?" if close else "name a stage of this pipeline"
    return FieldError(field=field, problem=f"is {shown(needed)}, and the pipeline has no such stage", hint=hint)


def _told(cycle: Sequence[str]) -> str:
    if len(cycle) == 1:
        return f"stage {cycle[0]} waits for itself"
    names = [*cycle, cycle[0]]
    if len(names) > _MOST_SHOWN:
        left = len(names) - _MOST_SHOWN
        names = [*names[: _MOST_SHOWN - 1], f"… {left} more …", names[-1]]
    return f"stages wait for each other: {' → '.join(names)}"


def cycles(graph: Graph) -> list[list[str]]:
    """Of each set of stages that wait for each other, the shortest cycle, in the order in which each waits for the
    next; it begins with the stage that comes first in the graph."""
    order = {id: number for number, id in enumerate(graph)}
    found = []
    for component in _components(graph):
        inner = {id: [needed for needed in graph[id] if needed in component] for id in graph if id in component}
        if cycle := _shortest(inner):
            first = min(range(len(cycle)), key=lambda place: order[cycle[place]])
            found.append([*cycle[first:], *cycle[:first]])
    return sorted(found, key=lambda cycle: order[cycle[0]])


def _components(graph: Graph) -> Iterator[set[str]]:
    """The sets of stages that wait for each other (Tarjan 1972, without recursion); also a stage by itself."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for needed in rest:
                if needed not in index:
                    index[needed] = low[needed] = len(index)
                    stack.append(needed)
                    on_stack.add(needed)
                    work.append((needed, iter(graph[needed])))
                    break
                if needed in on_stack:
                    low[node] = min(low[node], index[needed])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: set[str] = set()
                    while node not in component:
                        component.add(top := stack.pop())
                        on_stack.discard(top)
                    yield component


def _shortest(graph: dict[str, list[str]]) -> list[str]:
    """The shortest cycle of stages that all wait for each other; empty if there is none.

    A breadth-first search from a stage finds the shortest cycle through it. Any shorter one goes without that stage,
    so it is taken out, and then what is in no cycle without it.
    """
    for id, needs in graph.items():
        if id in needs:
            return [id]
    before: dict[str, set[str]] = {id: set() for id in graph}
    for id, needs in graph.items():
        for needed in needs:
            before[needed].add(id)
    after = {id: set(needs) for id, needs in graph.items()}
    best: list[str] = []
    while after:
        start = max(after, key=lambda id: len(after[id]))
        found = _through(after, start, len(best) or len(graph) + 1)
        best = found or best
        if len(best) == 2:
            break
        _take_out(after, before, start)
    return best


def _through(after: Mapping[str, set[str]], start: str, below: int) -> list[str]:
    """The shortest cycle through a stage, if it has fewer stages than `below`; else empty."""
    came_from = {start: ""}
    level, length = deque([start]), 1
    while level and length < below:
        following: deque[str] = deque()
        for node in level:
            for needed in after[node]:
                if needed == start:
                    path = [node]
                    while path[-1] != start:
                        path.append(came_from[path[-1]])
                    return path[::-1]
                if needed not in came_from:
                    came_from[needed] = node
                    following.append(needed)
        level, length = following, length + 1
    return []


def _take_out(after: dict[str, set[str]], before: dict[str, set[str]], start: str) -> None:
    """Remove a stage, and all that are in no cycle then."""
    leaving = [start]
    while leaving:
        node = leaving.pop()
        if node not in after:
            continue
        for needed in after.pop(node):
            before[needed].discard(node)
            if needed in after and not before[needed]:
                leaving.append(needed)
        for waiting in before.pop(node):
            after[waiting].discard(node)
            if not after[waiting]:
                leaving.append(waiting)
