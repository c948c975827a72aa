"""A pipeline's decisions in memory, without a log: commands, events of its jobs and time in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.pipelines.commands import DefinePipeline
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.stages import StageSpec
from events.log.ids import with_assigned_id
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.pipeline.state import Pipeline

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"
ID = "sales"


def stages(*written: str, **fields: Any) -> tuple[StageSpec, ...]:
    """Stages as ``report: load clean``: report waits for load and for clean."""
    found = []
    for text in written:
        id, _, after = text.partition(":")
        found.append(StageSpec(id=id.strip(), after=tuple(after.split()), **fields))
    return tuple(found)


def spec(*written: str, **fields: Any) -> PipelineSpec:
    return PipelineSpec(stages=stages(*written), **fields)


class Desk:
    """Decides as the writer does: each event is folded, and then `after_batch` is asked until it has nothing."""

    def __init__(self, project: str = PROJECT) -> None:
        self.decider = Pipelines()
        self.state: Pipeline = self.decider.initial(ID)
        self.project = project
        self.now = NOON
        self.events: list[Event] = []
        self._ids = 0

    def send(self, command: Command) -> list[Event]:
        """What follows from a command. Raises Refused."""
        self._ids += 1
        command = with_assigned_id(command, f"c{self._ids}", self.project)
        return self.take(self.decider.decide(self.state, command, self.context(command.subject())))

    def hear(self, event: Event) -> list[Event]:
        return self.take(self.decider.react(self.state, event, self.context()))

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass; the pipeline wakes whenever something is due."""
        end, found = self.now + timedelta(seconds=seconds), []
        while (due := self.decider.due(self.state)) is not None and due <= end:
            self.now = max(self.now, due)
            woken = self.take(self.decider.wake(self.state, self.context()))
            assert woken or self.decider.due(self.state) != due, f"nothing happens at {due}, though it is due"
            found += woken
        self.now = end
        return found

    def define(self, *written: str, **fields: Any) -> list[Event]:
        return self.send(DefinePipeline(name="sales", spec=spec(*written, **fields)))

    def take(self, decided: Sequence[Event]) -> list[Event]:
        found = self._fold(decided)
        while more := self.decider.after_batch(self.state, self.context()):
            found += self._fold(more)
        self.events += found
        return found

    def context(self, subject: str = ID) -> DecisionContext:
        self._ids += 1
        return DecisionContext(self.now, f"i{self._ids}", "owner", self.project, subject)

    def _fold(self, decided: Iterable[Event]) -> list[Event]:
        found = list(decided)
        for event in found:
            self.state = self.decider.evolve(self.state, event, self.now)
        return found
