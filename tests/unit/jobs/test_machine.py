"""Any order of commands, reports, losses and repeats: a job's history stays one that the language allows."""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events.language.common import Refused
from events.language.jobs import (
    ExitReason,
    JobCompleted,
    JobEnded,
    JobExited,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
)
from events.language.jobs.spec import JobArray, JobStatus
from events.language.task_ranges import format_ranges, tasks_in
from services.jobs.state import ENDED_CODES
from tests.unit.jobs.desk import Desk, bound, cancel, dequeued, exited, node_lost, readiness, requeue, started, submit

TASKS = strategies.integers(0, 3)
ATTEMPTS = strategies.integers(1, 4)
SOME = strategies.sets(TASKS, min_size=1).map(format_ranges)
ENDS = strategies.sampled_from(
    [
        {"code": 0},
        {"code": 1},
        {"signal": 9},
        {"reason": ExitReason.STOPPED, "signal": 15},
        {"reason": ExitReason.TIMEOUT, "signal": 15},
        {"reason": ExitReason.LOST},
        {"reason": ExitReason.UNTRACKED},
        {"reason": ExitReason.UNHEALTHY, "signal": 15},
    ]
)


class Life(RuleBasedStateMachine):
    """One job of four tasks, a service, and one that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()

    @initialize(
        mode=strategies.sampled_from(["never", "on_failure", "always"]),
        restarts=strategies.none() | strategies.integers(0, 2),
        lost=strategies.booleans(),
        kind=strategies.sampled_from(["after_ok", "after_any", "after_not_ok"]),
    )
    def begin(self, mode: str, restarts: int | None, lost: bool, kind: str) -> None:
        restart = {"mode": mode, "max_restarts": restarts, "restart_lost": lost}
        self.desk.command(submit(array=JobArray(size=4), restart=restart, service={"ports": ["http"]}))
        self.desk.command(submit("second", depends_on=({"job_id": "job", "kind": kind},)))

    def attempt(self, action: Any, *arguments: Any) -> None:
        """A refusal leaves everything as it was."""
        before = self.desk.stored()
        events = len(self.desk.history["job"])
        try:
            action(*arguments)
        except Refused:
            assert self.desk.job() == before
            assert len(self.desk.history["job"]) == events

    @rule(tasks=SOME, attempt=ATTEMPTS)
    def place(self, tasks: str, attempt: int) -> None:
        self.desk.event(bound(tasks, attempt))

    @rule(tasks=strategies.sets(TASKS, min_size=1), attempt=ATTEMPTS)
    def start(self, tasks: set[int], attempt: int) -> None:
        self.attempt(self.desk.command, started(*sorted(tasks), attempt=attempt, service=True))

    @rule(
        tasks=strategies.sets(TASKS, min_size=1),
        ready=strategies.booleans(),
        at=strategies.integers(0, 3),
        attempt=ATTEMPTS,
    )
    def change_readiness(self, tasks: set[int], ready: bool, at: int, attempt: int) -> None:
        self.attempt(self.desk.command, readiness(*sorted(tasks), ready=ready, at=at, attempt=attempt))

    @rule(tasks=strategies.sets(TASKS, min_size=1), attempt=ATTEMPTS, end=ENDS)
    def end(self, tasks: set[int], attempt: int, end: dict[str, Any]) -> None:
        self.attempt(self.desk.command, exited(*sorted(tasks), attempt=attempt, **end))

    @rule(tasks=SOME, attempt=ATTEMPTS)
    def lose(self, tasks: str, attempt: int) -> None:
        self.desk.event(node_lost(tasks, attempt))

    @rule(tasks=strategies.none() | SOME)
    def cancel(self, tasks: str | None) -> None:
        self.attempt(self.desk.command, cancel(tasks=tasks))

    @rule(tasks=SOME, attempt=ATTEMPTS)
    def dequeue(self, tasks: str, attempt: int) -> None:
        self.desk.event(dequeued(tasks, attempt))

    @rule(tasks=strategies.none() | SOME)
    def requeue(self, tasks: str | None) -> None:
        self.attempt(self.desk.command, requeue(tasks=tasks))

    @rule(again=strategies.booleans())
    def change_the_waiting_one(self, again: bool) -> None:
        self.attempt(self.desk.command, requeue("second") if again else cancel("second"))

    @rule()
    def submit_again(self) -> None:
        self.attempt(self.desk.command, submit(array=JobArray(size=4)))

    # What holds after any history. (Each move of a task is checked against its table when it is folded.)

    @invariant()
    def history_and_snapshot_give_the_same_job(self) -> None:
        for id in self.desk.jobs:
            assert self.desk.replayed(id) == self.desk.job(id)
            assert self.desk.stored(id) == self.desk.job(id)

    @invariant()
    def only_running_tasks_have_readiness(self) -> None:
        for job in self.desk.jobs.values():
            assert {job.status(task) for task in job.readiness} <= {JobStatus.RUNNING}

    @invariant()
    def a_job_ends_exactly_when_its_last_task_has(self) -> None:
        for job in self.desk.jobs.values():
            if job.spec is not None:
                over = all(status in ENDED_CODES for status in job.statuses)
                assert (job.ended is not None) is over

    @invariant()
    def every_run_has_one_end_and_its_counts_add_up(self) -> None:
        for id, history in self.desk.history.items():
            size, alive = self.desk.job(id).size, False
            for event, _ in history:
                match event:
                    case JobSubmitted():
                        alive = True
                    case JobEnded():
                        assert alive, "a second end"
                        alive = False
                        counts = event.counts
                        assert counts.completed + counts.failed + counts.cancelled == counts.total == size
                        assert (event.exit_code == 0) is isinstance(event, JobCompleted)
                    case JobQueued() | JobRequeued():
                        alive = True

    @invariant()
    def attempts_only_grow_and_each_has_at_most_one_start_and_end(self) -> None:
        attempts: dict[int, int] = {}
        starts: set[tuple[int, int]] = set()
        ends: set[tuple[int, int]] = set()
        for event, _ in self.desk.history.get("job", []):
            match event:
                case JobQueued():
                    for task in tasks_in(event.tasks):
                        assert event.attempt == attempts.get(task, 0) + 1
                        attempts[task] = event.attempt
                case JobStarted():
                    for start in event.tasks:
                        assert start.attempt == attempts[start.task]
                        assert (start.task, start.attempt) not in starts | ends
                        starts.add((start.task, start.attempt))
                case JobExited():
                    for exit in event.tasks:
                        assert exit.attempt == attempts[exit.task]
                        assert (exit.task, exit.attempt) not in ends
                        ends.add((exit.task, exit.attempt))

    @invariant()
    def who_waits_starts_at_most_once(self) -> None:
        queued = [event for event, _ in self.desk.history.get("second", []) if isinstance(event, JobQueued)]
        assert len(queued) <= 1
        if queued:
            assert self.desk.job("second").status(0) is JobStatus.QUEUED


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
