"""The tables say what the job knows, for the same random histories that the decisions are tested with."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis.stateful import invariant

from events.language.jobs import JobExited, JobStarted
from events.language.jobs.spec import JobArray, JobDependency, JobStatus
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Row, Table
from services.jobs.projections import JobsProjection
from services.jobs.rendering import COUNTED
from services.jobs.rows import ATTEMPTS, JOBS, SPECS, TASKS
from tests.unit.jobs.desk import Desk, exited, readiness, started, submit
from tests.unit.jobs.test_machine import Life


class Memory:
    """Rows in memory; only those that `touches` names may be used. Folds what of a desk's histories is new."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Row] = {}
        self.projection = JobsProjection()
        self._named: set[tuple[str, Key]] = set()
        self._folded: dict[str, int] = {}

    def get(self, table: Table, key: Key) -> Row | None:
        assert (table.name, key) in self._named
        return self.rows.get((table.name, key))

    def put(self, table: Table, row: Row) -> None:
        key = tuple(row[name] for name in table.key)
        assert (table.name, key) in self._named
        assert set(row) == set(table.columns)
        self.rows[(table.name, key)] = row

    def delete(self, table: Table, key: Key) -> None:
        assert (table.name, key) in self._named
        self.rows.pop((table.name, key), None)

    def fold(self, desk: Desk) -> None:
        for id, history in desk.history.items():
            done = self._folded.get(id, 0)
            for number, (event, time) in enumerate(history[done:], done):
                meta = Meta("e", type(event).type_name(), event.subject(), time, "local/default", "owner")
                recorded = Recorded(event, meta, id, Position("events.jobs", 0, number))
                self._named = {(table.name, key) for table, key in self.projection.touches(recorded)}
                self.projection.project(recorded, self)
            self._folded[id] = len(history)

    def job(self, id: str = "job") -> dict[str, Any]:
        return self.rows[(JOBS.name, (id,))]

    def task(self, task: int, id: str = "job") -> Row:
        """A task's row; empty if it has none."""
        return self.rows.get((TASKS.name, (id, task)), {})

    def status(self, task: int, id: str = "job") -> tuple[str, int]:
        """Status and attempt of a task, with or without a row of its own."""
        row = self.rows.get((TASKS.name, (id, task)))
        if row is None:
            row = {"status": self.job(id)["default_status"], "attempt": self.job(id)["default_attempt"]}
        return row["status"], row["attempt"]


class ProjectedLife(Life):
    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    @invariant()
    def tasks_and_their_tallies_are_as_the_job_knows_them(self) -> None:
        self.memory.fold(self.desk)
        for id, job in self.desk.jobs.items():
            if job.spec is None:
                continue
            row = self.memory.job(id)
            statuses = [job.status(task) for task in range(job.size)]
            known = [(status.value, attempt) for status, attempt in zip(statuses, job.attempts, strict=True)]
            assert [self.memory.status(task, id) for task in range(job.size)] == known
            assert {name: row[f"tasks_{name}"] for name in COUNTED} == {
                name: statuses.count(JobStatus(name)) for name in COUNTED
            }
            ready = [task for task, told in job.readiness.items() if told.ready]
            assert row["tasks_ready"] == len(ready)
            assert [task for task in range(job.size) if self.memory.task(task, id).get("ready")] == sorted(ready)
            assert row["ended_at"] is None if job.ended is None else row["status"] == job.ended.value
            if job.ended is None:
                assert row["exit_code"] is None
            elif job.ended is JobStatus.CANCELLED and row["started_at"] is None:
                assert row["exit_code"] is None, "it never ran"
            else:
                assert row["exit_code"] == job.exit_code

    @invariant()
    def every_attempt_keeps_its_end(self) -> None:
        self.memory.fold(self.desk)
        history = [event for event, _ in self.desk.history.get("job", [])]
        for event in history:
            if isinstance(event, JobExited):
                for exit in event.tasks:
                    row = self.memory.rows[(ATTEMPTS.name, ("job", exit.task, exit.attempt))]
                    assert (row["exit_code"], row["signal"]) == (exit.exit_code, exit.signal)
                    assert row["exit_reason"] == exit.reason.value
            elif isinstance(event, JobStarted):
                for start in event.tasks:
                    assert self.memory.rows[(ATTEMPTS.name, ("job", start.task, start.attempt))]["pid"] == start.pid


TestProjectedLife = ProjectedLife.TestCase
TestProjectedLife.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_an_array_has_rows_only_for_tasks_that_differ() -> None:
    desk, memory = Desk(), Memory()
    desk.command(submit(array=JobArray(size=10_000)))
    memory.fold(desk)
    assert [table for table, _ in memory.rows] == [JOBS.name, SPECS.name]
    desk.command(started(17))
    desk.command(exited(17, code=2))
    memory.fold(desk)
    assert len([key for table, key in memory.rows if table == TASKS.name]) == 1
    assert (memory.job()["tasks_queued"], memory.job()["tasks_failed"]) == (9_999, 1)


def test_a_job_that_waits_for_others_names_them_until_they_have_ended() -> None:
    desk, memory = Desk(), Memory()
    for id in ("a", "b"):
        desk.command(submit(id=id))
    depends = tuple(JobDependency(job_id=id) for id in ("a", "b"))
    desk.command(submit(depends_on=depends))
    memory.fold(desk)
    assert (memory.job()["waits_for"], memory.job()["reason"]) == ("a,b", "waits for jobs a, b")
    desk.command(started(id="a"))
    desk.command(exited(id="a"))
    memory.fold(desk)
    assert (memory.job()["waits_for"], memory.job()["reason"]) == ("b", "waits for job b")
    desk.command(started(id="b"))
    desk.command(exited(id="b", code=3))
    memory.fold(desk)
    assert (memory.job()["waits_for"], memory.job()["status"]) == ("", "cancelled")
    assert memory.job("b")["reason"] == "exit code 3"


def test_a_running_task_of_a_service_has_its_address_and_whether_it_is_ready() -> None:
    desk, memory = Desk(), Memory()
    desk.command(submit(service={"ports": ["http"]}, restart={"mode": "always", "max_restarts": None}))

    def seen() -> tuple[object, ...]:
        memory.fold(desk)
        task = memory.task(0)
        return task["address"], task["ports"], task["ready"], task["unready_reason"], memory.job()["tasks_ready"]

    desk.command(started(service=True))
    assert seen() == ("10.0.0.7", {"http": 20_000}, False, "", 0)
    desk.command(readiness(at=1))
    assert seen() == ("10.0.0.7", {"http": 20_000}, True, "", 1)
    desk.command(readiness(ready=False, at=2))
    assert seen() == ("10.0.0.7", {"http": 20_000}, False, "no answer", 0)
    desk.command(readiness(at=3))
    desk.command(exited(code=1))
    assert seen() == ("", {}, None, "", 0)
