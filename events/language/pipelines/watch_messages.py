"""What watchers of topics and files are told and report, and what it leads to. The pipeline decides all of them.

A watcher is a job of the pipeline, as its workers are: it is where the data is, and has the secrets. It finds out, and
never decides what a run is about.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.language.common import Identifier, Timestamp
from events.language.pipelines.arrivals import (
    MAX_ARRIVED,
    MAX_PARTITIONS,
    MAX_WATCHED_FILES,
    ArrivedFile,
    FileIdentity,
    PartitionRange,
)
from events.language.pipelines.commands import OfPipeline
from events.language.pipelines.connections import Location
from events.language.pipelines.events import PipelineEvent
from events.language.pipelines.pipeline import Reason, VersionNumber
from events.language.pipelines.triggers import WatchedTopic

Ranges = Annotated[tuple[PartitionRange, ...], Field(max_length=MAX_PARTITIONS)]
Identities = Annotated[tuple[FileIdentity, ...], Field(max_length=MAX_WATCHED_FILES, examples=[["4f" * 8]])]


class TriggerReport(OfPipeline):
    """What a watcher tells of a trigger. One that is not its own any more is refused as ``aborted``."""

    trigger: Identifier
    worker: Identifier


class ReportTopicAdvanced(TriggerReport):
    """From a watcher: a topic has so many records more. A range goes on where the last one of its partition ended, or
    it is refused; the first one says where the trigger begins."""

    ranges: Ranges


class ReportFilesArrived(TriggerReport):
    """From a watcher: files have arrived, or are gone."""

    files: Annotated[tuple[ArrivedFile, ...], Field(max_length=MAX_ARRIVED)] = ()
    existing: Identities = ()
    """Files that were there before the pipeline was activated, and do not count as arrived."""
    looked: bool = False
    """Whether all of these are told: what is found from now on has arrived."""
    gone: Identities = ()
    """Files that are not there any more, and need not be remembered."""


class ReportTriggerTrouble(TriggerReport):
    """From a watcher: it can't look at what the trigger watches, or can again."""

    reason: Reason = ""
    """Empty: it can."""


class TroubleKind(StrEnum):
    """What keeps a trigger from starting runs."""

    SOURCE = "source"
    """What it watches can't be looked at."""
    RUN = "run"
    """The run that has its last records has failed."""


class TriggerWatched(PipelineEvent):
    """A watcher is to watch this, from where it was watched before."""

    worker: Identifier
    """The job that the watcher is."""
    trigger: Identifier
    pipeline_version: VersionNumber
    """Which describes the trigger."""
    since: Timestamp
    """When the trigger began to count."""
    ranges: Ranges = ()
    """Of a topic: what is known of each partition, of which `end` matters here."""
    known: Identities = ()
    """Files that have arrived, or were there before."""
    looked: bool = False
    """Whether those that were there before are among them."""


class TopicAdvanced(PipelineEvent):
    """A topic that a trigger names has these records more. They wait for a run."""

    trigger: Identifier
    topic: WatchedTopic
    url: Location
    ranges: Ranges


class FilesArrived(PipelineEvent):
    """Files that a trigger watches have arrived, and wait for a run; or are known otherwise."""

    trigger: Identifier
    files: Annotated[tuple[ArrivedFile, ...], Field(max_length=MAX_ARRIVED)] = ()
    existing: Identities = ()
    looked: bool = False
    gone: Identities = ()


class TriggerTroubled(PipelineEvent):
    """A trigger starts no run for this cause."""

    trigger: Identifier
    kind: TroubleKind
    reason: Reason


class TriggerMended(PipelineEvent):
    """The cause is gone."""

    trigger: Identifier
    kind: TroubleKind


WATCH_COMMANDS = (ReportTopicAdvanced, ReportFilesArrived, ReportTriggerTrouble)

WATCH_EVENTS = (TriggerWatched, TopicAdvanced, FilesArrived, TriggerTroubled, TriggerMended)
"""What comes of watching."""
