"""Work that runs together: one that ends in a way that was not asked for ends them all, and says so."""

from __future__ import annotations

import asyncio

import pytest

from events.process.tasks import end_all, run_beside, run_together


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def nothing() -> None:
    pass


async def failing() -> None:
    raise ValueError("broken")


async def cancelled_from_within() -> None:
    other = asyncio.create_task(forever())
    await end_all([other])
    await other


async def test_what_fails_ends_all_and_is_raised() -> None:
    with pytest.raises(ValueError, match="broken"):
        await run_together(forever(), nothing(), failing())


async def test_what_somebody_else_cancelled_is_a_failure_too() -> None:
    with pytest.raises(RuntimeError, match="cancelled_from_within"):
        await run_together(forever(), nothing(), cancelled_from_within())


async def test_all_that_end_by_themselves_are_waited_for() -> None:
    await run_together(nothing(), nothing())


async def test_what_runs_beside_ends_with_the_main_work() -> None:
    await run_beside(nothing(), forever(), nothing())
    with pytest.raises(ValueError, match="broken"):
        await run_beside(forever(), failing())
    with pytest.raises(RuntimeError, match="cancelled_from_within"):
        await run_beside(forever(), cancelled_from_within())


async def test_a_cancellation_ends_all_and_is_no_failure() -> None:
    together = asyncio.create_task(run_together(forever(), forever()))
    await asyncio.sleep(0)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
