"""What a run is about that triggers of topics and files have found: offsets of partitions, files."""

from __future__ import annotations

from typing import Annotated

from blake3 import blake3
from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.pipelines.connections import Location
from events.language.pipelines.triggers import WatchedTopic

MAX_PARTITIONS = 1_000
"""Most partitions of a topic that is watched."""
MAX_ARRIVED = 1_000
"""Most files of a run, and of a report. Those that are more wait for the next run."""
MAX_WATCHED_FILES = 50_000
"""Most files that a watched path may mean."""

Partition = Annotated[int, Field(ge=0, lt=1_000_000)]
Offset = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]

FileIdentity = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$"), Field(examples=["4f" * 8])]
"""Tells a file from others, and from itself with another content: see `identity_of`."""


class PartitionRange(Model):
    """Successive records of a partition, from `start` on and before `end`."""

    partition: Partition
    start: Offset
    end: Offset

    @model_validator(mode="after")
    def _in_order(self) -> PartitionRange:
        if self.start > self.end:
            raise ValueError(f"end {self.end} is before start {self.start}; exchange them")
        return self


class TopicBatch(Model):
    """The records of a topic that a run reads. A partition that is not named is not read."""

    trigger: Identifier
    """Which watches the topic."""
    topic: WatchedTopic
    url: Location
    """Of its cluster, as the trigger's connection has it."""
    ranges: Annotated[tuple[PartitionRange, ...], Field(max_length=MAX_PARTITIONS)] = ()
    """Empty: nothing waited, and none of its records is read."""


class ArrivedFile(Model):
    """A file that has arrived, as it was then."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    """Whole; a local file's path."""
    size: Annotated[int, Field(ge=0)]
    etag: Annotated[str, StringConstraints(max_length=500)]
    """Changes with the content: the store's, or a local file's time of change."""


class ArrivedFiles(Model):
    """The files that a run takes of a trigger."""

    trigger: Identifier
    files: Annotated[tuple[ArrivedFile, ...], Field(max_length=MAX_ARRIVED)] = ()


def identity_of(file: ArrivedFile) -> str:
    """The `FileIdentity` of a file: the same as long as its path, etag and size are."""
    return blake3(f"{file.url}\0{file.etag}\0{file.size}".encode()).hexdigest(8)
