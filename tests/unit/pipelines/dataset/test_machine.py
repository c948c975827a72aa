"""A dataset under any requests, publications and commands: each version once, no stale attempt, in order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.language.base import Event
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.dataset_messages import (
    AbandonVersion,
    CommitHeld,
    CommitRefused,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from tests.unit.pipelines.dataset.desk import COLUMNS, ID, Desk, request

RUNS, ATTEMPTS = st.integers(1, 4), st.integers(1, 4)


class DatasetMachine(RuleBasedStateMachine):
    """Workers of several runs, which may be late, ask in any order; publications may be reported twice."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.newest: dict[str, int] = {}
        """Run → the newest attempt that has asked."""
        self.answered: list[tuple[str, int]] = []
        """Run and attempt of each answer but `CommitHeld`."""
        self.asked_for: list[tuple[str, int]] = []

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, VersionCommitted):
                newest = self.newest[event.run_id]
                assert event.attempt == newest, f"attempt {event.attempt} was stale: {newest} has asked"
            if isinstance(event, VersionCommitted | CommitRefused):
                self.answered.append((event.run_id, event.attempt))

    def _ended(self) -> dict[int, type[Event]]:
        """Version → how it ended."""
        found: dict[int, type[Event]] = {}
        for event in self.desk.events:
            if isinstance(event, VersionPublished | VersionAbandoned):
                found.setdefault(event.dataset_version, type(event))
        return found

    @rule(run=RUNS, attempt=ATTEMPTS, breaks=st.booleans())
    def ask(self, run: int, attempt: int, breaks: bool) -> None:
        made: CommitRequest = request(run=run, attempt=attempt, columns=COLUMNS[:1] if breaks else COLUMNS)
        if (made.run_id, attempt) in self.asked_for:
            return  # a stage's event is heard once
        self.asked_for.append((made.run_id, attempt))
        self.newest[made.run_id] = max(attempt, self.newest.get(made.run_id, 0))
        self._note(self.desk.asked(made))

    @rule(version=st.integers(1, 8))
    def publish(self, version: int) -> None:
        state, ended = self.desk.state, self._ended()
        pending = version == state.committed and state.pending is not None
        events = self.desk.published(version)  # the desk's reports are of the first run
        told = [event for event in events if isinstance(event, VersionPublished | VersionAbandoned)]
        assert not pending or type(told[0]) is VersionPublished
        assert pending or all(type(event) is ended[version] for event in told), "what was decided stays so"
        self._note(events)

    @precondition(lambda self: self.desk.state.pending is not None)
    @rule()
    def abandon(self) -> None:
        self._note(self.desk.told(AbandonVersion(dataset_id=ID, dataset_version=self.desk.state.committed)))

    @rule(run=RUNS)
    def withdraw(self, run: int) -> None:
        state, asked = self.desk.state, [each for each in self.asked_for if each[0] == f"daily.{run}"]
        pending = state.pending.run_id if state.pending is not None else ""
        events = self.desk.withdrawn(run)
        assert [type(event) for event in events[:1]] != [VersionAbandoned] or pending == f"daily.{run}"
        assert not [each for each in state.held if each.run_id == f"daily.{run}"]
        assert asked or not events
        self._note(events)

    @invariant()
    def each_version_is_there_once_and_in_order(self) -> None:
        committed = [event for event in self.desk.events if isinstance(event, VersionCommitted)]
        assert [event.dataset_version for event in committed] == list(range(1, len(committed) + 1))
        ended = self._ended()
        kept = [event.run_id for event in committed if ended.get(event.dataset_version) is not VersionAbandoned]
        assert len(set(kept)) == len(kept), "a stage of a run makes one version"
        assert list(ended) == list(range(1, len(ended) + 1))
        assert len(committed) - len(ended) == (self.desk.state.pending is not None)

    @invariant()
    def each_request_is_answered_once_or_waits(self) -> None:
        waiting = [(each.run_id, each.attempt) for each in self.desk.state.held]
        assert sorted(self.answered + waiting) == sorted(self.asked_for)
        assert not waiting or self.desk.state.pending is not None
        held = [event for event in self.desk.events if isinstance(event, CommitHeld)]
        assert len(held) >= len(waiting)


DatasetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestDataset = DatasetMachine.TestCase
