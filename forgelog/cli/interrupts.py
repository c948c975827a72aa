"""Ctrl-C at the terminal while a job is submitted and watched."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import typer

from forgelog.cli.render import note

if TYPE_CHECKING:
    from forgelog.client.jobs import AsyncJob


class Interrupts:
    """Handles Ctrl-C: the first one cancels the job (`keep`: stops watching only), the second one exits at once."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._count = 0
        self._job: AsyncJob | None = None
        self._work: asyncio.Future[Any] | None = None
        self._cancels: list[asyncio.Task[Any]] = []

    def __enter__(self) -> Interrupts:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def during(self, submitting: Coroutine[Any, Any, list[AsyncJob]]) -> list[AsyncJob]:
        """Submit. An interrupt takes effect once the id of the job to cancel is known."""
        self._work = asyncio.ensure_future(submitting)
        try:
            found: list[AsyncJob] = await self._work
        except asyncio.CancelledError:
            raise typer.Exit(130) from None
        return found

    async def watching(self, job: AsyncJob, until_end: Coroutine[Any, Any, int]) -> int:
        """The job's exit code; 130 if the user stopped watching."""
        self._job, self._work = job, asyncio.ensure_future(until_end)
        if self._count:
            self._act(job, self._work)
        try:
            code: int = await self._work
        except asyncio.CancelledError:
            code = 130
        await asyncio.gather(*self._cancels)
        return code

    def _interrupted(self) -> None:
        self._count += 1
        if self._job is not None and self._work is not None:
            self._act(self._job, self._work)
        elif self._count > 1 and self._work is not None:
            note("left while the job was being submitted; 'forgelog ps' shows whether it was")
            self._work.cancel()
        else:
            note("interrupted once the job is submitted; once more leaves at once")

    def _act(self, job: AsyncJob, work: asyncio.Future[Any]) -> None:
        if self._keep or self._count > 1:
            note(f"job {job.id} goes on; 'forgelog logs -f {job.id}' follows it again")
            work.cancel()
        else:
            note("cancelling; once more leaves at once")
            self._cancels.append(asyncio.ensure_future(job.cancel(reason="interrupted at the terminal")))
