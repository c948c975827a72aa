"""What a pipeline remembers of its triggers: what it is told of, and what waits for a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.pipelines.arrivals import ArrivedFile
from events.language.pipelines.windows import StreamState


@dataclass(slots=True)
class Topic:
    """A topic that a trigger watches."""

    topic: str
    url: str
    since: datetime
    """When the trigger began to count."""
    ends: dict[int, int] = field(default_factory=dict)
    """Partition → the first offset that is not known to have a record."""
    taken: dict[int, int] = field(default_factory=dict)
    """Partition → the first offset that no run was given."""
    run: str = ""
    """The run that has the last batch, until it is completed or cancelled. Further records wait for that: two runs
    would put rows into their places in the wrong order, and of one that failed only a retry knows what it has
    published."""

    streams: dict[tuple[str, str], StreamState] = field(default_factory=dict)
    """Of windows over its records: stage and input → what the last batch has left."""

    def is_of(self, topic: str, url: str) -> bool:
        return (self.topic, self.url) == (topic, url)


@dataclass(slots=True)
class Files:
    """A path that a trigger watches."""

    place: str
    """Its type, its connection's URL and itself."""
    since: datetime
    looked: bool = False
    """Whether the files are known that were there before."""
    known: dict[str, None] = field(default_factory=dict)
    """Identities of files that have arrived, or were there before."""
    waiting: list[ArrivedFile] = field(default_factory=list)
    """That no run was given, oldest first."""


@dataclass(slots=True)
class Triggers:
    """A pipeline's triggers, as its events tell them."""

    subscribed: set[str] = field(default_factory=set)
    """Ids of the datasets that tell the pipeline of their versions."""
    newest: dict[str, int] = field(default_factory=dict)
    """Dataset → the newest version that the pipeline has heard of."""
    waiting: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Trigger → dataset → the first and the last version that no run was started for."""
    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    """Run that is about to be queued → dataset → the newest version that it takes."""
    runs: dict[str, str] = field(default_factory=dict)
    """Runs that triggers started and that have not ended, by id → the trigger."""
    topics: dict[str, Topic] = field(default_factory=dict)
    """By the trigger's name, since the pipeline was activated."""
    files: dict[str, Files] = field(default_factory=dict)
    troubles: dict[str, dict[str, str]] = field(default_factory=dict)
    """Trigger → cause → why it starts no runs."""
    lost: int = 0
    """Watchers in a row that ended before they were ready."""
    watch_at: datetime | None = None
    """No watcher is asked for before then."""

    def holds(self, run_id: str) -> bool:
        """Whether records wait for the end of a run."""
        return any(each.run == run_id for each in self.topics.values())
