"""What a stage reads: `DataSource`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName, OptionalIdentifier
from events.language.pipelines.columns import ColumnName
from events.language.pipelines.connections import (
    FILE_PLACES,
    WATCHED_PLACES,
    Connection,
    DataSourceType,
    Location,
    PlaceName,
    check_placeholders,
)
from events.language.pipelines.formats import Columns, DataFormat, FileFormat, check_names
from events.language.pipelines.quality import MAX_RULES, DataQualityRule
from events.language.pipelines.windows import MAX_SECONDS, EventWindows, WindowKind

MAX_PATHS = 1_000
_UPDATE_SECONDS = 86_400.0

QUARANTINE = ".quarantine"
"""After a dataset's name: the rows that rules have set aside from it."""

DatasetName = Annotated[
    str,
    StringConstraints(pattern=r"^$|^[a-z0-9]([a-z0-9_-]{0,118}[a-z0-9])?(\.[a-z2-7]{5})?(\.quarantine)?$"),
    Field(examples=["clean-orders"]),
]
"""A dataset of the platform by its name in the project, or by its id. ``NAME.quarantine`` has the rows that rules
have set aside from it, and with a version those of that version."""

TableName = Annotated[str, StringConstraints(pattern=r'^$|^[^\s"\x00]+$', max_length=250)]
"""A table of a database, with its schema where it is in another than the connection's: ``sales.orders``."""

TopicName = Annotated[str, StringConstraints(pattern=r"^$|^[A-Za-z0-9._-]{1,249}$")]

Query = Annotated[str, StringConstraints(max_length=100_000)]
"""A SELECT in the database's own SQL; empty for none."""


class SchemaDrift(StrEnum):
    """What happens where files of one source have different columns or types."""

    WIDEN = "widen"
    """A column that a file lacks has no values there; types become the narrowest that holds both, such as BIGINT for
    INTEGER and BIGINT."""
    REFUSE = "refuse"
    """The stage fails and names the first file that differs."""


class SchemaInference(Model):
    """How columns are found where a source does not give them."""

    sample_rows: Annotated[int, Field(ge=-1, le=10_000_000)] = 20_480
    """Rows of each CSV or JSON file that types are found from; -1: all."""
    text_only: bool = False
    """Whether all columns of CSV are text."""
    drift: SchemaDrift = SchemaDrift.WIDEN


class LatePolicy(StrEnum):
    """What becomes of rows that come later than the watermark allows."""

    DROP = "drop"
    SIDE = "side"
    """They go to the quarantine of the dataset that the stage writes, with the reason."""
    UPDATE = "update"
    """Their windows are given to the stage again, whole, up to `Streaming.update_seconds` after they were complete."""


class StreamStart(StrEnum):
    """Where a stream begins to be read for the first time."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Streaming(Model):
    """How a topic is read: between two offsets of each partition. Where a trigger of the pipeline watches the topic,
    each run is given its own. A run that is given none reads from `start` up to the present end."""

    start: StreamStart = StreamStart.EARLIEST
    """Of a run that is given no offsets. `latest` reads nothing then: only runs by a trigger have records."""
    max_records: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Most records of a run that is given no offsets, of all partitions together. Of others the trigger's."""
    windows: EventWindows | None = None
    """None: a run sees its own records, each once. With windows a trigger has to watch the topic."""
    event_time: ColumnName | None = None
    """The column that says when a row's event was, a TIMESTAMP (of UTC) or TIMESTAMPTZ; none: the record's own time."""
    delay_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 0.0
    """How late events may come: a partition's watermark is its greatest event time less this, the source's the least of
    its partitions'."""
    idle_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 300.0
    """A partition without records for this long does not hold the watermark back."""
    late: LatePolicy = LatePolicy.DROP
    """What becomes of rows whose window is complete. They are counted, whatever it is."""
    update_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = _UPDATE_SECONDS
    """With ``late: update``, how long rows of complete windows are kept, in event time. Later ones are dropped."""

    @model_validator(mode="after")
    def _of_windows(self) -> Streaming:
        if self.windows is None:
            return self  # what is nothing without them is refused in a new pipeline (`checks`), and read in an old one
        if self.late is LatePolicy.UPDATE and self.windows.kind is WindowKind.SESSION:
            raise ValueError("late can't be update for sessions: a late row may join two; choose drop or side")
        if self.late is not LatePolicy.UPDATE and self.update_seconds != _UPDATE_SECONDS:
            raise ValueError("update_seconds is nothing without late: update; leave it out")
        return self


class DataSource(Model):
    """What a stage reads."""

    id: PlaceName = ""
    """The dataset in lineage that the place is, so that all who name it alike mean one; empty: where the data lies
    says which."""
    name: DisplayName | None = None
    type: DataSourceType
    connection: Connection = Connection()
    path: Location = ""
    """Files, of types that keep files and of ``http``: a path from the connection's URL on, or a whole URL. ``*``,
    ``?``, ``[...]`` and ``**`` are wild cards (not over HTTP); a name that has such a character itself is written with
    it in brackets: ``x[[]1].csv``. A path that ends with ``/`` means all files below."""
    paths: tuple[Location, ...] = Field(default=(), max_length=MAX_PATHS)
    """Several such paths."""
    table: TableName = ""
    """Of a database."""
    query: Query = ""
    """Of a database, instead of a table. ``$name``, ``$interval_start`` and ``$interval_end`` are values of the run."""
    topic: TopicName = ""
    """Of Kafka."""
    dataset: DatasetName = ""
    """Of the platform."""
    version: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Of a dataset; 0: the newest published one."""
    format: DataFormat | None = None
    """Of files, and of Kafka's values (``json``); none: as the names of the files tell."""
    columns: Columns = ()
    """The columns to read, with their types. A value that can't be such is an error. Empty: they are found, see
    `infer`."""
    infer: SchemaInference = SchemaInference()
    partitions: Columns = ()
    """Columns whose values are in the names of folders, ``day=2026-05-09``, in their order."""
    streaming: Streaming | None = None
    """Of Kafka."""
    trigger: OptionalIdentifier = ""
    """Of files: a trigger of the pipeline. Only the files are read that have arrived for the run, and `path` is that of
    the trigger; without any there is nothing to read, see `allow_empty`. Empty: all files of the path."""
    rules: tuple[DataQualityRule, ...] = Field(default=(), max_length=MAX_RULES)
    """What its rows must be, before anything else sees them."""
    allow_empty: bool = False
    """Whether there may be no file. The columns must be given then."""

    @model_validator(mode="after")
    def _complete(self) -> DataSource:
        if self.id and self.dataset:
            raise ValueError("id is nothing of a source of type dataset, whose dataset names it; leave it out")
        wanted = _WANTED[self.type]
        given = [field for field in _LOCATIONS if getattr(self, field)]
        if wrong := [field for field in given if field not in wanted]:
            raise ValueError(f"{wrong[0]} is nothing of a source of type {self.type}; give {' or '.join(wanted)}")
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(
                f"{found} is given; a source of type {self.type} needs {' or '.join(wanted)}, and one only"
            )
        if self.version and self.type is not DataSourceType.DATASET:
            raise ValueError("version is nothing but a dataset's; leave it out")
        if self.streaming is not None and self.type is not DataSourceType.KAFKA:
            raise ValueError("streaming is nothing but Kafka's; leave it out")
        if self.trigger and (self.type not in WATCHED_PLACES or not self.path):
            places = ", ".join(sorted(WATCHED_PLACES))
            raise ValueError(f"trigger is nothing but that of one path of files ({places}); leave it out")
        if self.type is DataSourceType.DATABASE and not self.connection.url:
            raise ValueError("connection.url is empty; give the database's, such as postgresql://user@host/name")
        if self.type is DataSourceType.KAFKA and not self.connection.url:
            raise ValueError("connection.url is empty; give the cluster's first brokers, such as host:9092")
        check_placeholders((self.path, *self.paths))
        return self

    @model_validator(mode="after")
    def _of_files(self) -> DataSource:
        kind = self.format.type if self.format is not None else None
        if self.type is DataSourceType.KAFKA and kind not in (None, FileFormat.JSON):
            raise ValueError(f"format {kind} is none of Kafka's values; choose json")
        if self.type in (DataSourceType.DATABASE, DataSourceType.DATASET) and kind is not None:
            raise ValueError(f"format is nothing of a source of type {self.type}; leave it out")
        if self.partitions and self.type not in FILE_PLACES - {DataSourceType.DATASET}:
            raise ValueError(f"partitions are nothing of a source of type {self.type}; leave them out")
        if self.allow_empty and not self.columns:
            raise ValueError("allow_empty needs columns: without a file nothing else tells them")
        check_names(column.name for column in (*self.columns, *self.partitions))
        check_names((rule.rule_id for rule in self.rules), "rules")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """The paths, one or several."""
        return (self.path,) if self.path else self.paths


_LOCATIONS = ("path", "paths", "table", "query", "topic", "dataset")

_WANTED = {
    DataSourceType.S3: ("path", "paths"),
    DataSourceType.GCS: ("path", "paths"),
    DataSourceType.AZURE_BLOB: ("path", "paths"),
    DataSourceType.FILE_SYSTEM: ("path", "paths"),
    DataSourceType.HTTP: ("path", "paths"),
    DataSourceType.DATABASE: ("table", "query"),
    DataSourceType.KAFKA: ("topic",),
    DataSourceType.DATASET: ("dataset",),
}
"""The fields of which a source of a type has one."""
