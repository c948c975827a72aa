"""A dataset's decisions in memory, without a log: requests, publications, commands and time in, events out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.pipelines.columns import Column
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.quality import DataQualityRule, QualityRuleType, QualitySeverity, RuleOutcome
from events.language.pipelines.run_events import CommitRequested, CommitWithdrawn, StagePublished
from events.language.pipelines.sinks import WriteMode
from events.language.pipelines.trigger_messages import DatasetSubscribed, DatasetUnsubscribed
from events.writer.decider import DecisionContext
from services.pipelines.dataset.decide import Datasets

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"
ID = "orders"
COLUMNS = (Column(name="id", type="BIGINT"), Column(name="price", type="DECIMAL(18,2)"))


def manifest(rows: int = 100, columns: Sequence[Column] = COLUMNS, attempt: str = "a") -> CommitManifest:
    return CommitManifest(
        attempt=attempt,
        type=DataSourceType.DATASET,
        mode=WriteMode.OVERWRITE,
        base="file:///data/orders",
        aside="file:///data/orders/_forgelog/a",
        columns=tuple(columns),
        rows=rows,
        bytes=10 * rows,
    )


def request(run: int = 1, stage: str = "clean", attempt: int = 1, **given: Any) -> CommitRequest:
    made = manifest(given.pop("rows", 100), given.pop("columns", COLUMNS), f"daily.{run}.{stage}.{attempt}")
    return CommitRequest(
        dataset_id=ID,
        pipeline_id="daily",
        pipeline_version=1,
        run_id=f"daily.{run}",
        stage_id=stage,
        attempt=attempt,
        manifest=made,
        **given,
    )


def rule(rule_id: str = "known", **given: Any) -> DataQualityRule:
    return DataQualityRule(rule_id=rule_id, type=QualityRuleType.COMPLETENESS, columns=("id",), **given)


def outcome(rule_id: str = "known", failed: int = 0, revision: int = 0, **given: Any) -> RuleOutcome:
    said = {"type": QualityRuleType.COMPLETENESS, "severity": QualitySeverity.ERROR, "rows": 100, **given}
    return RuleOutcome(
        rule_id=rule_id,
        revision=revision,
        passed=100 - failed,
        failed=failed,
        pass_rate=(100 - failed) / 100,
        breached=failed > 0,
        **said,
    )


def _of(request: CommitRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ("pipeline_id", "run_id", "stage_id", "attempt")}


class Desk:
    """One dataset, folded as the writer does."""

    def __init__(self) -> None:
        self.decider = Datasets()
        self.state = self.decider.initial(ID)
        self.now = NOON
        self.events: list[Event] = []

    @property
    def context(self) -> DecisionContext:
        return DecisionContext(self.now, f"c{len(self.events)}", "owner", PROJECT, ID)

    def asked(self, request: CommitRequest) -> list[Event]:
        """What a stage's request leads to."""
        event = CommitRequested(**_of(request), commit=request)
        return self._noted(self.decider.react(self.state, event, self.context))

    def published(self, version: int, **more: Any) -> list[Event]:
        """What a worker's report of a publication leads to."""
        about = {**_of(request()), "dataset_id": ID, "location": "file:///data/orders", **more}
        event = StagePublished(**about, dataset_version=version)
        return self._noted(self.decider.react(self.state, event, self.context))

    def withdrawn(self, run: int = 1) -> list[Event]:
        """What it leads to that a run was stopped before anybody was told to publish its output."""
        event = CommitWithdrawn(**_of(request(run)), dataset_id=ID)
        return self._noted(self.decider.react(self.state, event, self.context))

    def subscribed(self, pipeline: str) -> list[Event]:
        event = DatasetSubscribed(pipeline_id=pipeline, dataset_id=ID)
        return self._noted(self.decider.react(self.state, event, self.context))

    def unsubscribed(self, pipeline: str) -> list[Event]:
        event = DatasetUnsubscribed(pipeline_id=pipeline, dataset_id=ID)
        return self._noted(self.decider.react(self.state, event, self.context))

    def told(self, command: Command) -> list[Event]:
        return self._noted(self.decider.decide(self.state, command, self.context))

    def later(self, seconds: float) -> list[Event]:
        """What follows from that much time."""
        until, found = self.now + timedelta(seconds=seconds), []
        while (due := self.decider.due(self.state)) is not None and due <= until:
            self.now = due
            found += self._noted(self.decider.wake(self.state, self.context))
        self.now = until
        return found

    def _noted(self, events: Sequence[Event]) -> list[Event]:
        found = list(events)
        for event in found:
            self.state = self.decider.evolve(self.state, event, self.now)
        while more := self.decider.after_batch(self.state, self.context):
            for event in more:
                self.state = self.decider.evolve(self.state, event, self.now)
            found += more
        self.events += found
        again = self.decider.load(ID, self.decider.dump(self.state))
        assert again == self.state, "a snapshot says what the log says"
        return found
