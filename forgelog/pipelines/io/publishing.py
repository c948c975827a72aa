"""Publication of what was written aside, and its removal."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.places import place_at
from forgelog.pipelines.problems import StageError


def publish(sink: DataSink, manifest: CommitManifest, version: int, context: IoContext) -> Published:
    """Make a committed version's rows those of the sink. It can be repeated; see `forgelog.pipelines.io.places`.

    Raises StageError, with the fields of the sink. `manifest.files` are given, also where the event named an object.
    """
    if manifest.files_object is not None:
        raise ValueError("the manifest's files are in an object; read them before")
    return place_at(sink, manifest.base, context).publish(sink, manifest, version)


def discard(sink: DataSink, manifest: CommitManifest, context: IoContext) -> None:
    """Remove what an attempt wrote aside, if it will never be published. It can be repeated."""
    place_at(sink, manifest.base, context).discard(manifest)


def discard_all(written: Iterable[tuple[DataSink, CommitManifest]], context: IoContext) -> None:
    """The same of all that an attempt wrote, as far as it can be removed: what can't is in the way of nothing."""
    for sink, manifest in written:
        with suppress(StageError):
            discard(sink, manifest, context)
