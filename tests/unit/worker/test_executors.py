"""An executor does the work of stages, whatever that does to its process; the worker sees and says so."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from forgelog.worker import processes
from forgelog.worker.printing import Printing
from forgelog.worker.process import Child, Executor, Gone, NotStarted, Spares

COMMAND = (sys.executable, str(Path(__file__).with_name("performing.py")))
LIMIT = 256 << 20


class Around:
    """A worker's stdout, and executors that print there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        self.printing = Printing(self._descriptor, most=1 << 16)
        self.spares = Spares(self.start)
        self.asked: list[Any] = []

    async def start(self) -> Executor:
        return await Executor.start(self.printing, LIMIT, command=COMMAND)

    async def perform(self, do: str, **more: Any) -> Any:
        executor = await self.spares.take()
        self.printing.begin()
        return await executor.perform({"do": do, **more}, self._answer)

    async def _answer(self, question: Any) -> Any:
        self.asked.append(question)
        return {"answer": question["of"] / 2} if question["of"] else {"problem": "nothing has no half"}

    def printed(self) -> str:
        at = self.printing.end()
        return self._file.read_bytes()[at.first : at.end].decode()

    async def close(self) -> None:
        await self.spares.close()
        os.close(self._descriptor)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Around]:
    made = Around(tmp_path / "stdout")
    try:
        yield made
    finally:
        await made.close()
        assert not Child.known


async def test_one_executor_does_one_stage_after_another(around: Around) -> None:
    first = await around.perform("echo", value=1)
    second = await around.perform("echo", value=2)

    assert (first["value"], second["value"]) == (1, 2)
    assert first["pid"] == second["pid"]


async def test_what_a_stage_and_its_processes_print_is_a_range_of_the_workers_bytes(around: Around) -> None:
    await around.perform("warning", count=3)
    before = around.printing.printed
    await around.perform("printing")

    assert sorted(around.printed().splitlines()) == ["by a child", "to stderr", "to stdout"]
    assert around.printing.end().first == before > 0


async def test_of_ten_million_bytes_the_first_are_kept_and_the_rest_is_counted(around: Around) -> None:
    await around.perform("warning", count=300_000)

    text, at = around.printed(), around.printing.end()
    assert text.startswith("Warning 0: this is deprecated\nWarning 1:")
    assert at.dropped > 9_000_000
    assert f"{at.dropped} more bytes were printed" in text
    assert len(text) < (1 << 16) + 500


async def test_a_stage_asks_its_worker(around: Around) -> None:
    assert (await around.perform("asking", value=8))["value"] == 4
    assert around.asked == [{"ask": "half", "of": 8}]


async def test_an_answer_may_be_that_there_is_none(around: Around) -> None:
    done = await around.perform("asking", value=0)
    assert "nothing has no half" in done["failed"]["problem"]


async def test_an_exception_is_a_failure_with_the_lines_of_the_users_code(around: Around) -> None:
    done = await around.perform("failing")

    assert done["failed"]["problem"] == "ValueError: no such day: 31 February"
    assert "in failing" in done["failed"]["traceback"]
    assert "child.py" not in done["failed"]["traceback"]
    assert not done["spoilt"]


async def test_sys_exit_fails_the_stage_alone(around: Around) -> None:
    done = await around.perform("exiting")

    assert "sys.exit(3)" in done["failed"]["problem"]
    assert (await around.perform("echo", value=1))["value"] == 1


async def test_a_process_that_ends_is_replaced(around: Around) -> None:
    with pytest.raises(Gone, match="ended with code 9"):
        await around.perform("dying")

    assert (await around.perform("echo", value=1))["value"] == 1
    assert around.spares.replaced == 1


async def test_a_copy_that_goes_on_says_nothing(around: Around) -> None:
    assert (await around.perform("forking"))["value"] == "one"
    assert (await around.perform("echo", value=2))["value"] == 2


async def test_what_a_stage_leaves_is_ended_and_its_executor_replaced(around: Around) -> None:
    await around.perform("leaving")
    executor = await around.spares.take()

    assert around.spares.replaced == 1
    assert not processes.descendants(executor.pid)
    assert not [each for each in psutil.Process().children(recursive=True) if each.name() == "sleep"]


async def test_an_executor_with_a_thread_of_the_users_is_replaced(around: Around) -> None:
    done = await around.perform("threading_on")

    assert done["spoilt"] == "the stage left 1 thread (ticker)"
    await around.perform("echo", value=1)
    assert around.spares.replaced == 1


async def test_an_executor_that_keeps_memory_is_replaced(around: Around) -> None:
    done = await around.perform("leaking", mebibytes=160)

    assert "MiB are held" in done["spoilt"]
    await around.perform("echo", value=1)
    assert around.spares.replaced == 1


async def test_one_that_holds_more_than_it_may_is_ended(around: Around) -> None:
    executor = await around.spares.take()
    with pytest.raises(Gone, match="signal 9"):
        await around.perform("devouring")

    assert executor.over > LIMIT
    assert (await around.perform("echo", value=1))["value"] == 1


async def test_a_stage_is_stopped_with_its_processes(around: Around) -> None:
    executor = await around.spares.take()
    working = asyncio.create_task(around.perform("sleeping"))
    while not processes.descendants(executor.pid):
        await asyncio.sleep(0.01)
    below = processes.descendants(executor.pid)
    await executor.stop()

    with pytest.raises(Gone):
        await working
    assert (await around.perform("echo", value=1))["value"] == 1
    assert not [pid for pid in below if _runs(pid)]


async def test_the_next_stage_finds_folder_and_environment_as_they_were(around: Around) -> None:
    await around.perform("moving")
    assert (await around.perform("looking"))["value"] == [os.getcwd(), ""]


async def test_one_that_can_t_start_says_why(around: Around) -> None:
    with pytest.raises(NotStarted, match="ended with code 3"):
        await Executor.start(around.printing, LIMIT, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(NotStarted, match="can't be started: No such file"):
        await Executor.start(around.printing, LIMIT, command=("/none/such",))


class Started:
    """What `Spares` asks of an executor."""

    spoilt = ""

    def __init__(self) -> None:
        self.ended = False

    async def end(self) -> None:
        self.ended = True


async def test_no_executor_is_lost_when_its_taker_is_cancelled_as_it_starts() -> None:
    started: list[Started] = []
    taking: asyncio.Task[Executor]

    async def start() -> Executor:
        started.append(Started())
        if len(started) == 1:
            # Behind this step: the start is done by then, and its taker not yet awake.
            asyncio.get_running_loop().call_soon(lambda: taking.cancel())
        return cast(Executor, started[-1])

    spares = Spares(start)
    taking = asyncio.create_task(spares.take())
    with pytest.raises(asyncio.CancelledError):
        await taking
    await spares.close()
    assert started
    assert all(each.ended for each in started)


async def test_after_a_start_that_failed_the_next_is_tried() -> None:
    starts = 0

    async def start() -> Executor:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise NotStarted("no memory")
        return cast(Executor, Started())

    spares = Spares(start)
    for _ in range(2):
        with pytest.raises(NotStarted):
            await spares.take()
    assert (await spares.take()).spoilt == ""
    await spares.close()
