"""What a dataset remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.contracts import DatasetContract
from events.language.pipelines.formats import Columns
from events.language.pipelines.quality import DataQualityRule

MAX_HELD = 20
"""Requests that wait for a version to be published."""
MAX_STAGES = 1_000
"""Runs of stages that are remembered by what became of them. A request of an older one counts as a new one."""
MAX_COUNTS = 100
MAX_JOBS = 1_000
"""Jobs outside whose lineage is remembered, to tell a repeat."""


@dataclass(slots=True)
class Rule:
    """A rule of the dataset."""

    rule: DataQualityRule
    revision: int


@dataclass(slots=True)
class StageRun:
    """What became of a stage in one run."""

    attempt: int
    """The newest that asked."""
    version: int = 0
    """The version that it has; 0: none."""


@dataclass(slots=True)
class Dataset:
    """A dataset as its events tell it."""

    project: str = ""
    """Empty: there is none yet."""
    rules: dict[str, Rule] = field(default_factory=dict)
    revision: int = 0
    """How often `rules` has been changed."""
    contract: DatasetContract = field(default_factory=DatasetContract)
    committed: int = 0
    """The newest version."""
    pending: CommitRequest | None = None
    """What the newest version is made of, while it is not published."""
    held: list[CommitRequest] = field(default_factory=list)
    """What waits for that, in order."""
    published: int = 0
    published_at: datetime | None = None
    stale: bool = False
    columns: Columns = ()
    """Of the newest published version."""
    schema_version: int = 0
    counts: list[int] = field(default_factory=list)
    """Rows of the newest published versions, the newest last."""
    stages: dict[str, StageRun] = field(default_factory=dict)
    """By run and stage, the newest last."""
    subscribers: dict[str, None] = field(default_factory=dict)
    """Pipelines."""
    recorded: dict[str, str] = field(default_factory=dict)
    """Job outside → digest of what was recorded last."""

    @property
    def stale_at(self) -> datetime | None:
        """When it becomes stale; None: it is already, or never does."""
        policy = self.contract.freshness
        if policy is None or self.published_at is None or self.stale:
            return None
        return self.published_at + timedelta(seconds=policy.within_seconds)


def stage_key(run_id: str, stage_id: str) -> str:
    """What a stage is remembered by."""
    return f"{run_id}/{stage_id}"
