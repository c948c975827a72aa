"""What tests of runs and their spool begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forgelog.capture import Captured
from forgelog.errors import Unavailable
from forgelog.tracking.points import Batch
from forgelog.tracking.segments import Point, Reader
from forgelog.tracking.spool import JOURNAL, POINTS, About, Destination, Session, Spool

THERE = Destination(gateway="127.0.0.1:7070")


class Platform:
    """A `draining.Platform` that writes down what comes, in order. `fails`: called before each, with what it is."""

    def __init__(self, fails: Callable[[str], None] = lambda _: None) -> None:
        self.came: list[tuple[str, Any]] = []
        self.fails = fails

    async def command(self, kind: str, body: dict[str, Any], id: str) -> None:
        self.fails(kind)
        self.came.append((kind, {**body, "id": id}))

    async def points(self, batch: Batch) -> None:
        self.fails("points")
        self.came.append(("points", batch.points()))

    async def capture(self, run_id: str, captured: Captured) -> None:
        self.fails("capture")
        self.came.append(("capture", captured))

    async def files(self, run_id: str, source: Path, folder: str, *, named: bool) -> None:
        self.fails("files")
        found = contents(source, named)
        self.came.append(("files", {f"{folder}/{path}".lstrip("/"): text for path, text in found.items()}))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.came]

    def points_of(self, key: str = "loss") -> list[Point]:
        found = [point for kind, points in self.came if kind == "points" for point in points]
        return [point for point in found if point.series[0] == key]


def contents(source: Path, named: bool) -> dict[str, str]:
    """Path → text of a file, or of a folder's files."""
    if source.is_file():
        return {source.name: source.read_text()}
    base = source.parent if named else source
    return {str(each.relative_to(base)): each.read_text() for each in source.rglob("*") if each.is_file()}


class Away:
    """Fails while it is on; `only`: at these."""

    def __init__(self, *only: str) -> None:
        self.on = True
        self.only = only

    def __call__(self, what: str) -> None:
        if self.on and (not self.only or what in self.only):
            raise Unavailable("no platform answers at 127.0.0.1:7070")


def session(folder: Path, *, in_job: bool = False, program: dict[str, Any] | None = None) -> Session:
    """A new session of a run that was created."""
    spool = Spool(folder / "spool")
    spool.make()
    made = spool.begin(About("r1", THERE, in_job=in_job, pid=1, program=program))
    made.note("CreateRun", {"experiment": "digits"}, "c1")
    return made


def logged(made: Session, *steps: int, key: str = "loss") -> None:
    """Log a point at each of these steps, in a segment of its own."""
    writer = made.segment()
    assert writer is not None
    for step in steps:
        writer.add(step, 1_778_301_120_000 + step, {key: float(step)})
    writer.end()


def journal(spool: Path) -> list[tuple[str, dict[str, Any]]]:
    """What was noted of all runs."""
    lines = [line for each in sorted(spool.glob(f"*/{JOURNAL}")) for line in each.read_text().splitlines() if line]
    return [(found["kind"], found["body"]) for found in map(json.loads, lines)]


def calls_of(reader: Reader) -> list[list[Point]]:
    """The points of each further call that a segment has."""
    found: list[list[Point]] = []
    while True:
        batch = Batch("r1")
        reader.more(batch.columns, 1, 1)
        if not batch.count:
            return found
        found.append(batch.points())


def recorded(spool: Path) -> list[Point]:
    found: list[Point] = []
    for path in sorted(spool.glob(f"*/{POINTS}*")):
        reader = Reader(path)
        found += [point for call in calls_of(reader) for point in call]
        reader.close()
    return found
