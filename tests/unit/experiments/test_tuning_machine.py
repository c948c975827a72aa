"""Whatever is asked, started, lost, reported and told, in any order: numbers have no gaps and each trial ends once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from events.language.common import Refused
from events.language.experiments import (
    TRIAL_ENDS,
    AskTrial,
    CreateTuning,
    EarlyStopping,
    PauseTuning,
    ReportTrial,
    RequeueTrial,
    ResumeTuning,
    StartTrial,
    TellTrial,
    TrialAdded,
    TrialEnded,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningLimits,
    TuningStatus,
    TuningStatusSet,
)
from tests.unit.experiments.desk import Desk

ID = "t1"


class TuningMachine(RuleBasedStateMachine):
    """Keeps of each trial only what a user sees: its number, its attempt, and whether it has ended."""

    attempts = Bundle("attempts")
    """(number, attempt) of processes that work at a trial, or did."""

    @initialize(
        trials=st.integers(1, 6),
        parallel=st.none() | st.integers(1, 3),
        patience=st.none() | st.integers(1, 4),
    )
    def create(self, trials: int, parallel: int | None, patience: int | None) -> None:
        self.desk = Desk()
        self.trials, self.parallel = trials, parallel
        rule = EarlyStopping(patience=patience) if patience else None
        limits = TuningLimits(trials=trials, parallel=parallel)
        self.desk.send(CreateTuning(tuning_id=ID, name="", limits=limits, early_stopping=rule))
        self.attempt: dict[int, int] = {}
        self.status: dict[int, TrialStatus] = {}

    def send(self, command: Any) -> list[Any]:
        """What follows; nothing if it is refused."""
        try:
            return list(self.desk.send(command))
        except Refused:
            return []

    @rule(target=attempts, status=st.sampled_from([TrialStatus.REQUESTED, TrialStatus.RUNNING]))
    def ask(self, status: TrialStatus) -> Any:
        events = self.send(AskTrial(tuning_id=ID, status=status))
        if not events:
            return -1, 1
        (added,) = events
        assert isinstance(added, TrialAdded)
        assert added.number == len(self.attempt)
        self.attempt[added.number], self.status[added.number] = 1, status
        return added.number, 1

    @rule(target=attempts, value=st.floats(allow_nan=False))
    def add_one_that_ended_elsewhere(self, value: float) -> Any:
        command = AskTrial(tuning_id=ID, status=TrialStatus.COMPLETED, objective_values=[str(value)])
        events = self.send(command)
        if events:
            number = events[0].number
            self.attempt[number], self.status[number] = 1, TrialStatus.COMPLETED
            return number, 1
        return -1, 1

    @rule(each=attempts)
    def start(self, each: tuple[int, int]) -> None:
        number, _ = each
        if number >= 0 and self.send(StartTrial(tuning_id=ID, number=number)):
            assert self.status[number] is TrialStatus.REQUESTED
            self.status[number] = TrialStatus.RUNNING

    @rule(target=attempts, each=attempts)
    def lose(self, each: tuple[int, int]) -> Any:
        number, attempt = each
        if number < 0:
            return each
        events = self.send(RequeueTrial(tuning_id=ID, number=number, attempt=attempt))
        if not events:
            return each
        assert self.attempt[number] == attempt
        self.attempt[number] += 1
        self.status[number] = TrialStatus.REQUESTED
        return number, attempt + 1

    @rule(each=attempts, step=st.integers(0, 3), value=st.floats())
    def report(self, each: tuple[int, int], step: int, value: float) -> None:
        number, attempt = each
        if number >= 0 and self.send(
            ReportTrial(tuning_id=ID, number=number, attempt=attempt, step=step, value=str(value))
        ):
            assert self.attempt[number] == attempt

    @rule(each=attempts, status=st.sampled_from(TRIAL_ENDS), value=st.floats(allow_nan=False))
    def tell(self, each: tuple[int, int], status: TrialStatus, value: float) -> None:
        self._tell(each, status, value)

    @rule(each=consumes(attempts), status=st.sampled_from(TRIAL_ENDS), value=st.floats(allow_nan=False))
    def tell_for_the_last_time(self, each: tuple[int, int], status: TrialStatus, value: float) -> None:
        self._tell(each, status, value)

    def _tell(self, each: tuple[int, int], status: TrialStatus, value: float) -> None:
        number, attempt = each
        if number < 0:
            return
        values = [str(value)] if status is TrialStatus.COMPLETED else []
        command = TellTrial(tuning_id=ID, number=number, attempt=attempt, status=status, objective_values=values)
        if self.send(command):
            assert self.attempt[number] == attempt, "an old attempt has told"
            assert self.status[number] not in TRIAL_ENDS, "it has ended before"
            self.status[number] = status

    @rule()
    def pause(self) -> None:
        self.send(PauseTuning(tuning_id=ID))

    @rule()
    def resume(self) -> None:
        self.send(ResumeTuning(tuning_id=ID))

    @invariant()
    def the_events_tell_the_same(self) -> None:
        events = self.desk.events
        numbers = [event.number for event in events if isinstance(event, TrialAdded)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) <= self.trials
        ends = Counter(event.number for event in events if isinstance(event, TrialEnded))
        ends.update(event.number for event in events if isinstance(event, TrialAdded) and event.status in TRIAL_ENDS)
        assert set(ends.values()) <= {1}
        assert set(ends) == {number for number, status in self.status.items() if status in TRIAL_ENDS}

    @invariant()
    def no_more_run_than_may(self) -> None:
        running: set[int] = set()
        for event in self.desk.events:
            match event:
                case TrialAdded(status=TrialStatus.RUNNING) | TrialStarted():
                    running.add(event.number)
                case TrialEnded() | TrialRequeued():
                    running.discard(event.number)
            assert self.parallel is None or len(running) <= self.parallel

    @invariant()
    def an_attempt_counts_from_its_start_to_its_loss(self) -> None:
        attempt: dict[int, int] = {}
        for event in self.desk.events:
            match event:
                case TrialAdded():
                    attempt[event.number] = 1
                case TrialRequeued():
                    assert event.attempt == attempt[event.number] + 1
                    attempt[event.number] = event.attempt
                case TrialReported() | TrialEnded() | TrialStarted():
                    assert event.attempt == attempt[event.number]

    @invariant()
    def it_is_complete_once_all_its_trials_have_ended(self) -> None:
        ended = sum(status in TRIAL_ENDS for status in self.status.values())
        done = [event for event in self.desk.events if isinstance(event, TuningStatusSet)]
        completed = [event for event in done if event.status is TuningStatus.COMPLETED]
        assert len(completed) <= 1
        if ended == self.trials:
            assert completed


TestTuning = TuningMachine.TestCase
TestTuning.settings = settings(max_examples=60, stateful_step_count=40)
