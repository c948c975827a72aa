"""Calls in a thread have a time limit, and the thread goes on after each call that can be ended."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from forgelog.serve import limited
from forgelog.serve.limited import LimitedPool, LimitedThread, Overrun


async def test_a_call_gives_what_it_returns_or_raises() -> None:
    thread = LimitedThread("a script", print)
    assert await thread.call(lambda: 7, 60) == 7
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 // 0, 60)
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await thread.call(lambda: exit(3), 60)
    assert await thread.call(lambda: 8, 60) == 8
    thread.close()


async def test_a_call_over_its_limit_is_ended_and_the_next_one_made() -> None:
    stuck: list[str] = []
    thread = LimitedThread("a script", stuck.append)

    def forever() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:  # noqa: BLE001 -- a script that keeps all it can
                pass

    with pytest.raises(Overrun):
        await thread.call(forever, 0.05)
    assert await thread.call(lambda: 8, 60) == 8
    assert stuck == []
    thread.close()


async def test_a_call_that_can_not_be_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "GRACE", 0.05)
    stuck: list[str] = []
    thread = LimitedThread("the model", stuck.append)
    go = threading.Event()
    with pytest.raises(Overrun):
        await thread.call(go.wait, 0.05)
    assert stuck == ["the model has been in one call for longer than its time limit, and can't be interrupted"]
    go.set()
    thread.close()


async def test_a_wait_for_others_does_not_count() -> None:
    thread = LimitedThread("a script", print)
    found = await asyncio.gather(*(thread.call(lambda: time.sleep(0.05), 5) for _ in range(4)))
    assert len(found) == 4
    thread.close()


async def test_who_goes_away_does_not_disturb_the_next_call() -> None:
    thread = LimitedThread("a script", print)
    began, go = threading.Event(), threading.Event()

    def held() -> None:
        began.set()
        go.wait()

    first = asyncio.create_task(thread.call(held, 60))
    await asyncio.to_thread(began.wait)
    second = asyncio.create_task(thread.call(lambda: 8, 60))
    first.cancel()
    go.set()
    assert await second == 8
    with pytest.raises(asyncio.CancelledError):
        await first
    thread.close()


async def test_a_pool_makes_so_many_calls_at_a_time() -> None:
    pool = LimitedPool("a script", 2, print)
    both = threading.Barrier(2)
    assert sorted(await asyncio.gather(*(pool.call(both.wait, 60) for _ in range(2)))) == [0, 1]
    pool.close()
