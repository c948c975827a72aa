"""Where a sink's rows go. Each kind of place publishes a version in its own way; see `Place`.

Contract of a publication
-------------------------
Once
    `publish` can be called any number of times for one version, by any process, also at the same time. The rows are
    there once.
Whole
    A reader of the platform sees all of a version's rows or none.
In order
    A version is published after the one before it. When a newer version is published already, `publish` changes nothing
    and raises StageError: the caller was stopped and has woken late, or the place has another owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.formats import FileFormat
from events.language.pipelines.manifests import CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import QUARANTINE
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.opening import datasets_root, whole_url
from forgelog.pipelines.io.paths import filled, is_wild, literal
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


class Place(Protocol):
    """See the module."""

    base: str
    """As in `CommitManifest`."""

    def aside(self, attempt: str) -> str:
        """As in `CommitManifest`."""

    def check(self, sink: DataSink) -> None:
        """Raises StageError if the sink's mode is not possible with what is there."""

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        """Bring files of the scratch folder there. It leaves nothing when it fails."""

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        """See the module."""

    def discard(self, manifest: CommitManifest) -> None:
        """Remove what an attempt wrote aside and nobody published."""


def place_of(sink: DataSink, context: IoContext) -> Place:
    """Where a sink's rows go, with the run's parameters in its location."""
    return place_at(sink, _base(sink, context), context)


def place_at(sink: DataSink, base: str, context: IoContext) -> Place:
    """The place of a sink whose base is known."""
    if sink.type is DataSourceType.DATABASE:
        from forgelog.pipelines.io.database_sink import DatabasePlace

        return DatabasePlace(sink, base, context)
    if sink.type is DataSourceType.KAFKA:
        from forgelog.pipelines.io.topic_sink import TopicPlace

        return TopicPlace(sink, base, context)
    if sink.type is DataSourceType.HTTP:
        from forgelog.pipelines.io.web_sink import WebPlace

        return WebPlace(sink, base, context)
    if sink.file_format.type is FileFormat.DELTA:
        from forgelog.pipelines.io.delta_sink import DeltaPlace

        return DeltaPlace(sink, base, context)
    from forgelog.pipelines.io.tables import TablePlace

    return TablePlace(sink, base, context)


def _base(sink: DataSink, context: IoContext) -> str:
    if sink.type is DataSourceType.DATASET:
        root, _ = datasets_root(context)
        side = QUARANTINE if sink.dataset.endswith(QUARANTINE) else ""
        # a dataset's name and its id mean one place
        return f"{root}/{sink.dataset.partition('.')[0]}{side}"
    if sink.type is DataSourceType.DATABASE:
        return f"{sink.connection.url}#{sink.table}"
    if sink.type is DataSourceType.KAFKA:
        return f"kafka://{sink.connection.url.partition(',')[0]}/{sink.topic}"
    path = filled(sink.path, context, "path")
    if is_wild(path):
        raise StageError("path", f"{shown(path)} has a wild card, and a sink is one place", "name the folder")
    path = literal(path)
    if sink.type is DataSourceType.HTTP:
        from forgelog.pipelines.io.web import web_url

        return web_url(path, sink.connection, "path")
    return whole_url(path, sink.connection, sink.type, "path").rstrip("/")
