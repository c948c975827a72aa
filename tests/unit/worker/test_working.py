"""A worker does what is ordered, in order, and reports what came of it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from forgelog.worker import processes
from forgelog.worker.platform import Refusal
from forgelog.worker.printing import Printing
from forgelog.worker.process import Child, Executor, Spares
from forgelog.worker.working import Done, Order, Progress, Stop, Worker

PATIENCE = 60.0
COMMAND = (sys.executable, str(Path(__file__).with_name("performing.py")))


def order(stage: str, do: str, *, attempt: int = 1, timeout: float | None = None, **more: Any) -> Order:
    return Order(("daily.7", stage, attempt, "run"), {"do": do, **more}, timeout)


class Desk:
    """Gives a worker its orders, and notes what it reports."""

    def __init__(self, file: Path, *, once: bool = False, progress_seconds: float = 3_600.0) -> None:
        self.reports: list[str] = []
        self.done: list[Done] = []
        self.progress: list[Progress] = []
        self.others = set(Child.known)
        """Executors that are none of this worker's."""
        self._changed = asyncio.Condition()
        self._orders: asyncio.Queue[Order | Stop | None] = asyncio.Queue()
        self._orders.put_nowait(None)
        self._printed = os.open(file, os.O_RDWR | os.O_CREAT)
        printing = Printing(self._printed, most=1 << 16)
        self.spares = Spares(lambda: Executor.start(printing, 256 << 20, command=COMMAND))
        self.worker = Worker(
            self._follow,
            _Reports(self),
            _answer,
            printing,
            self.spares,
            once=once,
            progress_seconds=progress_seconds,
        )
        self.running = asyncio.create_task(self.worker.run())

    def give(self, *orders: Order | Stop) -> None:
        for each in orders:
            self._orders.put_nowait(each)

    async def _follow(self) -> AsyncIterator[Order | Stop | None]:
        while True:
            yield await self._orders.get()

    async def note(self, report: str) -> None:
        async with self._changed:
            self.reports.append(report)
            self._changed.notify_all()

    async def until(self, *reports: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: all(report in self.reports for report in reports))

    def log_of(self, done: Done) -> str:
        return os.pread(self._printed, done.printed.end - done.printed.first, done.printed.first).decode()

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})
        os.close(self._printed)


class _Reports:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._noting: list[asyncio.Task[None]] = []

    def _note(self, text: str) -> None:
        self._noting.append(asyncio.create_task(self._desk.note(text)))

    def ready(self) -> None:
        self._note("ready")

    def started(self, order: Order) -> None:
        self._note(f"{order.key[1]} started")

    def progress(self, progress: Progress) -> None:
        self._desk.progress.append(progress)
        self._note(f"{progress.order.key[1]} goes on")

    def done(self, done: Done) -> None:
        self._desk.done.append(done)
        self._note(f"{done.order.key[1]} {done.failure.get('kind', 'completed')}")

    async def all_sent(self) -> None:
        await asyncio.gather(*self._noting)


async def _answer(_: Order, question: Any) -> Any:
    return {"answer": question["of"] / 2}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "stdout")
    try:
        yield made
    finally:
        await made.close()


async def test_orders_are_done_one_after_another_and_each_is_reported(desk: Desk) -> None:
    desk.give(order("a", "asking", value=8), order("b", "failing"), order("c", "echo", value=1))
    await desk.until("c completed")

    wanted = ["a started", "a completed", "b started", "b error", "c started", "c completed"]
    assert desk.reports == ["ready", *wanted]
    assert desk.done[0].said["value"] == 4
    assert desk.done[1].failure["problem"] == "ValueError: no such day: 31 February"


async def test_an_order_that_is_given_again_is_done_once(desk: Desk) -> None:
    desk.give(order("a", "echo", value=1), order("a", "echo", value=1), order("b", "echo", value=2))
    await desk.until("b completed")
    assert desk.reports.count("a completed") == 1


async def test_each_log_is_what_its_stage_printed(desk: Desk) -> None:
    desk.give(order("a", "warning", count=2), order("b", "printing"), order("c", "leaving"))
    await desk.until("c completed")

    assert desk.log_of(desk.done[0]).splitlines() == [f"Warning {n}: this is deprecated" for n in (0, 1)]
    assert "by a child" in desk.log_of(desk.done[1])
    assert desk.log_of(desk.done[2]).endswith("the next stage gets another process\n")


async def test_a_stage_that_takes_long_says_how_far_it_is_until_it_ends(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "stdout", progress_seconds=0.2)
    desk.give(order("a", "sleeping"))
    await desk.until("a goes on")
    desk.give(Stop(("daily.7", "a", 1), "the run was cancelled"), order("b", "warning", count=1))
    await desk.until("b completed")

    first = desk.progress[0]
    assert first.seconds > 0
    assert first.peak_memory_bytes > 0
    assert desk.reports.index("a goes on") < desk.reports.index("a cancelled")
    assert "a goes on" not in desk.reports[desk.reports.index("a cancelled") :]
    await desk.close()


async def test_a_stage_that_takes_too_long_is_ended(desk: Desk) -> None:
    desk.give(order("a", "sleeping", timeout=0.2), order("b", "echo", value=1))
    await desk.until("b completed")

    assert desk.reports[2] == "a timeout"
    assert desk.done[0].failure["field"] == "timeout_seconds"


async def test_one_that_takes_too_much_memory_is_ended_and_says_how_much(desk: Desk) -> None:
    desk.give(order("a", "devouring"), order("b", "echo", value=1))
    await desk.until("b completed")

    assert desk.reports[2] == "a memory"
    assert "it may hold 256 MiB" in desk.done[0].failure["problem"]


async def test_a_crash_is_said_and_the_next_stage_runs(desk: Desk) -> None:
    desk.give(order("a", "dying"), order("b", "echo", value=1))
    await desk.until("b completed")

    assert desk.reports[2] == "a crash"
    assert "ended with code 9" in desk.done[0].failure["problem"]


async def test_a_stop_ends_what_runs_and_what_waits(desk: Desk) -> None:
    desk.give(order("a", "sleeping"), order("b", "echo", value=1), order("c", "echo", value=1))
    await desk.until("a started")
    desk.give(Stop(("daily.7", "b", 1), "the run was cancelled"), Stop(("daily.7", "a", 1), "the run was cancelled"))
    await desk.until("c completed")

    assert desk.reports[1:4] == ["a started", "b cancelled", "a cancelled"]
    assert "b started" not in desk.reports
    assert desk.done[0].failure["problem"] == "the run was cancelled"


async def test_a_stop_of_another_attempt_changes_nothing(desk: Desk) -> None:
    desk.give(Stop(("daily.7", "a", 1), "it took too long"), order("a", "echo", attempt=2, value=1))
    await desk.until("a completed")


async def test_an_attempt_that_does_not_count_any_more_is_stopped(desk: Desk) -> None:
    desk.give(order("a", "sleeping"))
    await desk.until("a started")
    desk.worker.refused(("daily.7", "a", 1), Refusal("failed_precondition", "attempt 2 of the stage counts"))
    await desk.until("a cancelled")


async def test_a_worker_of_one_stage_ends_with_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "stdout", once=True)
    desk.give(order("a", "echo", value=1), order("b", "echo", value=1))
    await desk.running

    assert desk.reports == ["ready", "a started", "a completed"]
    await desk.close()


async def test_nothing_is_left_of_a_worker_that_ends(desk: Desk) -> None:
    desk.give(order("a", "sleeping"))
    await desk.until("a started")
    # Not all that is below this process: it may be the parent of a Postgres, which starts processes as it likes.
    executors = Child.known - desk.others
    below = [psutil.Process(pid) for each in executors for pid in (each, *processes.descendants(each))]
    desk.running.cancel()
    await asyncio.wait({desk.running})

    assert executors
    assert not executors & Child.known
    _, left = psutil.wait_procs(below, timeout=PATIENCE)
    assert not left
