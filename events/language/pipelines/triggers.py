"""What starts a pipeline's runs beside the clock and people: records of a topic, versions of datasets, files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.pipelines.connections import WATCHED_PLACES, Connection, DataSourceType, Location
from events.language.pipelines.sources import StreamStart

WatchedTopic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$"), Field(examples=["orders"])]
"""A topic's name as Kafka allows it."""

WatchedDataset = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128), Field(examples=["clean-orders"])
]
"""A dataset of the platform by its name in the project, or by its id."""


class TopicTrigger(Model):
    """A run for each batch of a topic's records. Sources of this topic read exactly the run's batch, and batches have
    no gaps. A run that starts otherwise takes what waits as well. While the run that has the last batch is not
    completed or cancelled, what comes waits."""

    topic: WatchedTopic
    connection: Connection = Connection()
    """Its `url` has the first brokers, ``host:9092``."""
    start: StreamStart = StreamStart.LATEST
    """Where the first batch begins: with what comes after the pipeline was activated (or got the trigger), or with the
    oldest record. Partitions that the topic gets later are read from their begin."""
    max_records: int = Field(default=10_000, ge=1, le=100_000_000)
    """A batch is given to a run once it has so many records, and has no more of them."""
    every_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Or once its first record has waited so long."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> TopicTrigger:
        if not self.connection.url:
            raise ValueError("connection.url is empty; give the cluster's first brokers, such as host:9092")
        if "$" in self.connection.url:
            raise ValueError(
                "connection.url has a $, and no run is there yet that has parameters; write the address as it is"
            )
        return self


class DatasetRule(StrEnum):
    """Of several datasets: when a run starts."""

    ANY = "any"
    """Once one of them has a new version."""
    ALL = "all"
    """Once each of them has a new version since the last run."""


class DatasetTrigger(Model):
    """A run for new versions of datasets. Versions that come while a run is active wait; the next run is about all of
    them."""

    datasets: tuple[WatchedDataset, ...] = Field(min_length=1, max_length=64)
    rule: DatasetRule = DatasetRule.ANY

    @model_validator(mode="after")
    def _each_once(self) -> DatasetTrigger:
        if len(set(self.datasets)) < len(self.datasets):
            raise ValueError("datasets names a dataset twice; name each once")
        return self


class FileTrigger(Model):
    """A run for files that arrived. A file is the same one as long as path, etag and size are. Sources that name the
    trigger (`DataSource.trigger`) read these files alone. A run that starts otherwise takes what waits as well."""

    type: DataSourceType
    connection: Connection = Connection()
    path: Annotated[Location, Field(min_length=1)]
    """As `DataSource.path`, with wild cards; without parameters."""
    poll_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """How often the path is listed."""
    settle_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """A file has arrived once its etag and its size have not changed for so long: nobody is writing it."""
    existing: bool = False
    """Whether files that are there when the pipeline is activated count as arrived."""

    @model_validator(mode="after")
    def _can_be_watched(self) -> FileTrigger:
        if self.type not in WATCHED_PLACES:
            places = ", ".join(sorted(WATCHED_PLACES))
            raise ValueError(f"type is '{self.type}', where no files arrive; give one of {places}")
        if "$" in self.connection.url:
            raise ValueError(
                "connection.url has a $, and no run is there yet that has parameters; write the address as it is"
            )
        if "$" in self.path:
            raise ValueError("path has a $, and no run is there yet that has parameters; write the path as it is")
        return self


class Trigger(Model):
    """One of the things that start runs of a pipeline."""

    name: Identifier
    topic: TopicTrigger | None = None
    dataset: DatasetTrigger | None = None
    files: FileTrigger | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Trigger:
        if sum(each is not None for each in (self.topic, self.dataset, self.files)) != 1:
            raise ValueError(f"trigger {self.name!r} needs exactly one of topic, dataset and files")
        return self
