"""Windows over event time: how a stream's rows are put together, and what is remembered between two batches."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from events.language.base import Model
from events.language.common import Timestamp
from events.language.pipelines.clock.zones import UnknownZone, zone_of
from events.language.pipelines.relational import Columns
from events.language.pipelines.work import Count, StageOutput

MAX_SECONDS = 31_536_000
MAX_OVERLAPS = 1_000
"""Most windows that one row is in."""

ZoneName = Annotated[str, StringConstraints(min_length=1, max_length=100), Field(examples=["Europe/Zurich"])]


class WindowKind(StrEnum):
    """How event time is divided."""

    TUMBLING = "tumbling"
    """Windows of one size, one after the other: each row is in one."""
    HOPPING = "hopping"
    """Windows of one size that begin every `slide_seconds`: a row may be in several."""
    SESSION = "session"
    """Rows without a gap between them, of each value of `by`."""


class EventWindows(Model):
    """Windows that rows of a stream are in. The stage sees each row with ``_window_start`` and ``_window_end``, once
    for each window that it is in, and only when the watermark has passed the window's end."""

    kind: WindowKind = WindowKind.TUMBLING
    size_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 0.0
    """Of tumbling and hopping windows; they are counted from 1970-01-01 in UTC on, whatever clocks show."""
    slide_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 0.0
    """Of hopping windows: from one's begin to the next one's."""
    gap_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 0.0
    """Of sessions: rows that are so far apart are in two. A session ends so long after its last row."""
    by: Columns = ()
    """Of sessions: rows that are equal in these columns have sessions together; empty: all have."""
    days: Annotated[int, Field(ge=0, le=366)] = 0
    """Of tumbling windows, instead of `size_seconds`: so many days of the calendar, counted from 1970-01-01 on. With
    clock changes a day has 23 or 25 hours."""
    timezone: ZoneName = "UTC"
    """Of `days`."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            zone_of(name)
        except UnknownZone as error:
            raise ValueError(f"{error}; give a name such as Europe/Zurich") from None
        return name

    @model_validator(mode="after")
    def _fits(self) -> EventWindows:
        wanted = {
            WindowKind.TUMBLING: ("days",) if self.days else ("size_seconds",),
            WindowKind.HOPPING: ("size_seconds", "slide_seconds"),
            WindowKind.SESSION: ("gap_seconds",),
        }[self.kind]
        for name in ("size_seconds", "slide_seconds", "gap_seconds", "days"):
            value = getattr(self, name)
            if name in wanted and value < 1e-3:
                raise ValueError(f"{name} is missing, or below a thousandth; {self.kind} windows need it")
            if name not in wanted and value:
                raise ValueError(f"{name} is nothing of these {self.kind} windows; leave it out")
        if self.by and self.kind is not WindowKind.SESSION:
            raise ValueError("by is nothing but sessions'; leave it out, and group by its columns in the stage")
        if self.timezone != "UTC" and not self.days:
            raise ValueError("timezone is nothing but that of days; leave it out, or give days")
        if self.kind is WindowKind.HOPPING and not self.size_seconds / MAX_OVERLAPS <= self.slide_seconds:
            raise ValueError(f"slide_seconds puts a row into more than {MAX_OVERLAPS:,} windows; give a longer one")
        if self.kind is WindowKind.HOPPING and self.slide_seconds > self.size_seconds:
            raise ValueError("slide_seconds is longer than size_seconds, and rows between would be in no window")
        return self


class PartitionTime(Model):
    """How far a partition of a stream is."""

    partition: Annotated[int, Field(ge=0, lt=1_000_000)]
    greatest: Timestamp | None = None
    """The greatest event time of its rows; None: it had none."""
    active_at: Timestamp
    """When it last had rows; of one without any, when it was first looked at."""


class StreamState(Model):
    """What an input with windows leaves to the next batch. It is true with the batch's output and not without."""

    input: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
    """The stage's input."""
    batch: Annotated[int, Field(ge=1)] = 1
    """How many batches it is made of."""
    watermark: Timestamp | None = None
    """Windows that end then or before are complete; None: none is."""
    partitions: Annotated[tuple[PartitionTime, ...], Field(max_length=1_000)] = ()
    held: StageOutput = StageOutput()
    """The rows of windows that are open, or may be updated."""
    late_rows: Count = 0
    """That came after their window was complete, from the first batch on."""
    open_windows: Count = 0
    """How many windows have rows and are not complete."""
    next_end: Timestamp | None = None
    """When the first of them ends: what the watermark has to reach next."""
    held_by: Annotated[int, Field(ge=0, lt=1_000_000)] | None = None
    """The partition that holds the watermark back: of those that are not idle the one that is least far, or has had no
    row; None: all are idle."""
