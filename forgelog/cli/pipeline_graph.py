"""A pipeline's stages as a graph: in text, with lanes as `git log --graph` has them, and as SVG. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from forgelog.cli.tables import cut
from forgelog.plots.svg import safe

Needs = Mapping[str, Sequence[str]]
"""Stage → the stages that it waits for. Has no cycle."""

COLOURS = {
    "pending": "#ffffff",
    "running": "#cfe2ff",
    "retrying": "#fff3cd",
    "completed": "#d1e7dd",
    "failed": "#f8d7da",
    "skipped": "#e9ecef",
}
"""Of a stage's box, by its status."""

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _EDGE = 170, 44, 60, 22, 16


def in_order(needs: Needs) -> list[str]:
    """The stages, each behind all that it waits for; as they are given where that says nothing."""
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    place = {stage: number for number, stage in enumerate(needs)}
    found: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
        stage = ready.pop(0)
        found.append(stage)
        sorter.done(stage)
    return found


def text(needs: Needs, labels: Mapping[str, str]) -> list[str]:
    """A line for each stage, and lines between them where lanes meet or part."""
    lanes = _Lanes()
    after = {stage: [other for other in needs if stage in needs[other]] for stage in needs}
    order = in_order(needs)
    place = {stage: number for number, stage in enumerate(order)}
    for stage in order:
        lane = lanes.arrive(stage)
        lanes.stand(lane, labels[stage])
        lanes.leave(lane, sorted(after[stage], key=place.__getitem__))
    return lanes.lines


@dataclass
class _Lanes:
    """Lanes from left to right, each with the stage that it leads to."""

    leads_to: list[str | None] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def arrive(self, stage: str) -> int:
        """The lane of a stage, once all that lead to it have met there."""
        mine = [lane for lane, end in enumerate(self.leads_to) if end == stage]
        if not mine:
            return self._free()
        if len(mine) > 1:
            self._join(mine[0], mine[1:], "├", "┴", "╯")
            for lane in mine[1:]:
                self.leads_to[lane] = None
        return mine[0]

    def stand(self, lane: int, label: str) -> None:
        self.leads_to[lane] = self.leads_to[lane] or ""
        signs = ["│" if end is not None else " " for end in self.leads_to]
        signs[lane] = "●"
        self.lines.append(f"{' '.join(signs).rstrip()}  {label}")

    def leave(self, lane: int, stages: Sequence[str]) -> None:
        """Lanes to the stages that come behind it."""
        self.leads_to[lane] = stages[0] if stages else None
        others = []
        for stage in stages[1:]:
            free = self._free(lane)
            self.leads_to[free] = stage
            others.append(free)
        if others:
            self._join(lane, others, "├", "┬", "╮")
        while self.leads_to and self.leads_to[-1] is None:
            self.leads_to.pop()

    def _free(self, right_of: int = -1) -> int:
        for lane in range(right_of + 1, len(self.leads_to)):
            if self.leads_to[lane] is None:
                return lane
        self.leads_to.append(None)
        return len(self.leads_to) - 1

    def _join(self, lane: int, others: Sequence[int], first: str, middle: str, last: str) -> None:
        line = ""
        for each, end in enumerate(self.leads_to):
            within = lane < each < max(others)
            sign = first if each == lane else last if each == max(others) else middle if each in others else ""
            sign = sign or ("┼" if within and end is not None else "─" if within else "│" if end is not None else " ")
            line += sign + ("─" if lane <= each < max(others) else " ")
        self.lines.append(line.rstrip())


def svg(needs: Needs, labels: Mapping[str, str], statuses: Mapping[str, str]) -> str:
    """Boxes in columns, from what waits for nothing to what waits longest, with lines between them."""
    depth: dict[str, int] = {}
    for stage in in_order(needs):
        depth[stage] = max((depth[before] + 1 for before in needs[stage]), default=0)
    columns: dict[int, list[str]] = {}
    for stage, column in depth.items():
        columns.setdefault(column, []).append(stage)
    places = {
        stage: (_EDGE + column * (_WIDTH + _ACROSS), _EDGE + row * (_HEIGHT + _DOWN))
        for column, stages in columns.items()
        for row, stage in enumerate(stages)
    }
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">'
    ]
    for stage, befores in needs.items():
        x, y = places[stage]
        for before in befores:
            left, top = places[before][0] + _WIDTH, places[before][1] + _HEIGHT / 2
            bend = (left + x) / 2
            parts.append(
                f'<path d="M {left} {top} C {bend} {top}, {bend} {y + _HEIGHT / 2}, {x} {y + _HEIGHT / 2}" '
                'fill="none" stroke="#6c757d"/>'
            )
    for stage, (x, y) in places.items():
        status = statuses.get(stage, "")
        fill = COLOURS.get(status, "#ffffff")
        said = f"{labels[stage]} ({status})" if status else labels[stage]
        parts.append(
            f'<g><title>{safe(said)}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
            f'fill="{fill}" stroke="#495057"/><text x="{x + _WIDTH / 2}" y="{y + _HEIGHT / 2 + 4}" '
            f'text-anchor="middle">{safe(cut(stage, 22))}</text></g>'
        )
    return "".join([*parts, "</svg>\n"])
