"""Records of the topic ``points.experiments``, read: what came, as points of series. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from pydantic_core import from_json

from events.language.common import Refused, shown
from events.language.experiments.points import MAX_BATCH_BYTES, TIMES, SeriesName, batch_of, check_batch, name_of
from events.log.repeats import refuse_repeats
from events.log.wire import Raw
from events.streams.columns import Columns, Malformed, from_bytes, merge
from events.streams.stream import Unusable
from forgelog_pb.experiments.v1.points_pb2 import PointBatch

_JSON = b"{"
"""How a record begins that is JSON. No message does: it would be the start of a group."""


class Piece(NamedTuple):
    """A record."""

    run: str
    series: dict[SeriesName, Columns]
    arrival: int
    """When it came: the time of the record, in milliseconds since 1970."""


def read_piece(raw: Raw) -> Piece:
    """Raises Unusable."""
    value = raw.value or b""
    try:
        batch = _batch(value)
        check_batch(batch, len(value))
    except Refused as refused:
        raise Unusable(refused.message) from None
    if batch.run_id.encode() != (raw.key or b""):  # all points of a run must be in one partition
        raise Unusable(f"its key is not its run_id, {shown(batch.run_id)}")
    if raw.timestamp not in TIMES:
        raise Unusable(f"its timestamp, {raw.timestamp} ms, is no time")
    series: dict[SeriesName, Columns] = {}
    for index, each in enumerate(batch.series):
        try:
            points = from_bytes(each.steps, each.times, each.values)
        except Malformed as error:
            raise Unusable(f"series[{index}]: {error}") from None
        if len(points):
            name = name_of(each)
            series[name] = merge([series[name], points]) if name in series else points
    return Piece(batch.run_id, series, raw.timestamp)


def _batch(value: bytes) -> Any:
    """Raises Refused or Unusable."""
    if value.startswith(_JSON):
        if len(value) > MAX_BATCH_BYTES:
            raise Unusable(f"the batch has {len(value)} bytes; at most {MAX_BATCH_BYTES} are taken")
        try:
            refuse_repeats(value)
            return batch_of(from_json(value), PointBatch)
        except ValueError as error:
            raise Unusable(f"it is neither a PointBatch nor JSON: {error}") from None
    try:
        return PointBatch.FromString(value)
    except DecodeError as error:
        raise Unusable(f"it is no PointBatch: {error}") from None
