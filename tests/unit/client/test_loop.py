"""What stands behind the client for programs without coroutines: its loop, left early, interrupted, or stopped."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from forgelog.client.loop import BlockingClient, Loop
from tests import PATIENCE


class Numbers:
    """A source without an end; says what becomes of it."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.closed = threading.Event()

    async def follow(self, most: int) -> AsyncIterator[int]:
        try:
            for number in range(most):
                yield number
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def slow_to_end(self) -> AsyncIterator[int]:
        try:
            self.waits.set()
            await asyncio.Event().wait()
            yield 0
        finally:
            await asyncio.sleep(0)  # as a call that waits for a task of its own
            await asyncio.sleep(0)
            self.closed.set()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def beside(work: Callable[[], Any]) -> Future[Any]:
    """What the work gives or raises, in a thread that keeps nobody waiting."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the test's
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_leaving_an_iteration_early_closes_its_source(loop: Loop) -> None:
    numbers = Numbers()
    for number in loop.iterate(numbers.follow(3)):
        if number == 1:
            break
    assert numbers.closed.wait(PATIENCE)


def test_the_loop_s_own_thread_may_collect_an_iteration_that_was_left() -> None:
    """The cycle collector runs in whichever thread makes the next object."""
    loop, numbers = Loop(), Numbers()
    left: dict[str, Any] = {"iteration": loop.iterate(numbers.follow(2))}
    left["itself"] = left
    assert next(left["iteration"]) == 0
    del left

    async def collect() -> None:
        gc.collect()

    beside(lambda: loop.run(collect())).result(PATIENCE)
    assert numbers.closed.wait(PATIENCE)
    loop.stop()


def test_an_interrupt_is_what_a_program_hears_also_of_a_source_that_ends_slowly(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, waited = Numbers(), Future.result

    def interrupted(*_: object, **__: object) -> Any:
        assert numbers.waits.wait(PATIENCE)
        monkeypatch.setattr(Future, "result", waited)
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(loop.iterate(numbers.slow_to_end()))
    assert numbers.closed.wait(PATIENCE)


class Behind:
    """An asynchronous client."""

    async def close(self) -> None:
        await asyncio.sleep(0)


def test_closing_a_client_ends_what_other_threads_wait_for() -> None:
    client, numbers = BlockingClient(Behind(), Loop()), Numbers()
    waiting = beside(lambda: next(client._loop.iterate(numbers.follow(0))))
    assert numbers.waits.wait(PATIENCE)
    client.close()
    with pytest.raises(RuntimeError, match="the client was closed"):
        waiting.result(PATIENCE)
    assert numbers.closed.is_set()


def test_a_closed_client_says_so_and_may_be_closed_again(recwarn: pytest.WarningsRecorder) -> None:
    numbers = Numbers()
    with BlockingClient(Behind(), Loop()) as client:
        left: Any = client._loop.iterate(numbers.follow(1))
        assert next(left) == 0
        client.close()
    assert numbers.closed.is_set()
    left.close()
    with pytest.raises(RuntimeError, match="the client is closed; make another one"):
        client._loop.run(Behind().close())
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
