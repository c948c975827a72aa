"""Chunks: the points of a series in rows of up to `FULL`, with a tally each.

Heads become chunks (`close`). A chunk that is not full is merged with the next ones of its series once they are half as
large or larger. So a series has few small chunks, and a point is written anew a few times at most (the logarithmic
method of Bentley and Saxe, 1980).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from events.projections.tables import Db
from events.streams.arrived import Arrived, cut, decode, encode, merge
from services.experiments.points import tally
from services.experiments.points.heads import decode_head
from services.experiments.points.tables import FULL, TALLY

_COLUMNS = ("series", *TALLY, "data")


class Small(NamedTuple):
    """A chunk that is not full."""

    id: int
    points: int


async def close(db: Db, runs: Collection[str]) -> None:
    """Make chunks of the heads of these runs. The schema is the search path."""
    rows = await db.fetch("delete from heads where run = any($1::text[]) returning data", list(runs))
    new = await asyncio.to_thread(_gathered, [row["data"] for row in rows])
    if not new:
        return
    small: dict[int, list[Small]] = defaultdict(list)
    for row in await db.fetch(
        f"select id, series, count from chunks where series = any($1::bigint[]) and count < {FULL} order by id desc",
        list(new),
    ):
        small[row["series"]].append(Small(row["id"], row["count"]))
    absorbed = [each.id for series, parts in new.items() for each in to_merge(sum(map(len, parts)), small[series])]
    for row in await db.fetch("delete from chunks where id = any($1::bigint[]) returning series, data", absorbed):
        new[row["series"]].append(row["data"])
    made = await asyncio.to_thread(_rows, new)
    await db.copy_records_to_table("chunks", records=made, columns=_COLUMNS)


def to_merge(points: int, small: Iterable[Small]) -> list[Small]:
    """The chunks, of those that are not full (the newest first), to merge with so many new points."""
    found: list[Small] = []
    for each in small:
        if each.points > 2 * points:
            break
        found.append(each)
        points += each.points
    return found


def _gathered(heads: Sequence[bytes]) -> dict[int, list[Any]]:
    """Series → its points in heads."""
    found: dict[int, list[Any]] = defaultdict(list)
    for data in heads:
        for series, part in decode_head(data).items():
            found[series].append(part)
    return found


def _rows(series: Mapping[int, Sequence[Arrived | bytes]]) -> list[tuple[Any, ...]]:
    """The rows of new chunks."""
    return [
        (number, *tally.values_of(tally.tally(part)), encode(part))
        for number, given in series.items()
        for part in cut(merge(decode(each) if isinstance(each, bytes) else each for each in given), FULL)
    ]
