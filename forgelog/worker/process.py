"""An executor, as its worker sees it: a process that does the work of stages, one at a time. Knows no platform."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from forgelog.worker import processes
from forgelog.worker.framing import MOST_BYTES, Message, pack, receive
from forgelog.worker.printing import Pipe, Printing

START_SECONDS = 120.0
"""How long an executor may take to load its libraries."""
LOOK_EVERY = 0.1
"""Seconds between two looks at a stage's memory."""

COMMAND = (sys.executable, "-P", "-m", "forgelog.worker.child")

Answer = Callable[[Message], Awaitable[Message]]
"""Answers what the work asks meanwhile (a message with ``ask``)."""


class Gone(Exception):
    """The executor has ended in the middle of its work. Says how."""


class NotStarted(Exception):
    """There is no executor: says why."""


class Child:
    """A child process, in a session of its own."""

    known: ClassVar[set[int]] = set()
    """Pids of those that were not awaited."""

    def __init__(self, command: Sequence[str], output: int, socket: int, environment: Mapping[str, str] | None) -> None:
        """Raises OSError."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[socket],
            start_new_session=True,
            env=None if environment is None else dict(environment),
        )
        self.pid = self._process.pid
        self.known.add(self.pid)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = asyncio.create_task(self._wait())

    async def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        return await asyncio.shield(self._waiting)

    async def _wait(self) -> int:
        try:
            file = os.pidfd_open(self.pid)
        except (OSError, AttributeError):  # no Linux, or an old one
            await asyncio.to_thread(self._process.wait)
        else:
            loop = asyncio.get_running_loop()
            loop.add_reader(file, self._note_end)
            try:
                await self._ended
            finally:
                loop.remove_reader(file)
                os.close(file)
        code = self._process.wait()
        # Only now: a pid that was not awaited is nobody else's.
        self.known.discard(self.pid)
        return code

    def _note_end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class Executor:
    """A process that has loaded its libraries, and waits for work or does some."""

    def __init__(
        self,
        process: Child,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pipe: Pipe,
        limit: int,
    ) -> None:
        self._process, self._reader, self._writer, self._pipe = process, reader, writer, pipe
        self.limit = limit
        """Bytes that it may hold, with the processes that it starts."""
        self.spoilt = ""
        """Why it must do no other work; empty while it may."""
        self.over = 0
        """Bytes that it held when it was ended because they are too many."""
        self.peak = 0
        """Most bytes that it was seen to hold in the work that it does."""

    @classmethod
    async def start(
        cls,
        printing: Printing,
        limit: int,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> Executor:
        """`limit`: bytes that it may hold, with the processes that it starts. Raises NotStarted."""
        ours, theirs = socket.socketpair()
        pipe = Pipe(printing)
        try:
            process = Child([*command, str(theirs.fileno())], pipe.writing, theirs.fileno(), environment)
        except OSError as error:
            ours.close()
            pipe.started()
            pipe.close()
            raise NotStarted(f"{command[0]} can't be started: {error.strerror}") from None
        finally:
            theirs.close()
        pipe.started()
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_BYTES)
        except BaseException:
            processes.end(process.pid)
            await process.wait()
            pipe.close()
            raise
        executor = cls(process, reader, writer, pipe, limit)
        try:
            await executor._ready()
        except BaseException:
            await executor.end()
            raise
        return executor

    async def _ready(self) -> None:
        """Wait until it has loaded its libraries. Raises NotStarted."""
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await self._next()
        except TimeoutError:
            raise NotStarted(f"the executor was not ready after {START_SECONDS:g} s") from None
        except Gone as error:
            raise NotStarted(str(error)) from None
        if problem := ready.get("problem"):
            raise NotStarted(str(problem))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def perform(self, work: Message, answer: Answer) -> Message:
        """Do work and return what it came to. All that it printed has been taken then, and no process that it started
        is left. Raises Gone."""
        self.peak = 0
        watching = asyncio.create_task(self._watch_memory())
        try:
            self._writer.write(pack({**work, "limit": self.limit}))
            while True:
                message = await self._next()
                if "ask" not in message:
                    break
                self._writer.write(pack(await answer(message)))
            self.spoilt = message.get("spoilt", "")
            if left := processes.end_below(self.pid):
                self.spoilt = f"the stage left {left} process{'es' if left > 1 else ''}, which were ended"
            self._pipe.drain()
            return message
        finally:
            watching.cancel()

    def kill(self) -> None:
        """End it in the middle of its work: `perform` raises Gone."""
        self.spoilt = self.spoilt or "it was stopped"
        processes.end(self.pid)

    async def stop(self) -> None:
        """End it in the middle of its work, and wait until it has ended."""
        self.kill()
        await self._process.wait()

    async def end(self) -> None:
        """End it and all processes below it. All that they printed has been taken then."""
        processes.end(self.pid)
        await self._process.wait()
        self._writer.close()
        self._pipe.drain()
        self._pipe.close()

    async def _next(self) -> Message:
        """Its next message. Raises Gone. Its end is seen by the process itself: a process that it has forked may hold
        its socket open."""
        reading = asyncio.ensure_future(receive(self._reader))
        ending = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and (message := reading.result()) is not None:
                return message
            if not ending.done():  # it has closed the socket, or wrote what is no message
                processes.end(self.pid)
            code = await ending
        finally:
            for task in (reading, ending):
                task.cancel()
        self.spoilt = self.spoilt or "it has ended"
        self._pipe.drain()
        raise Gone(f"its process was ended by signal {-code}" if code < 0 else f"its process ended with code {code}")

    async def _watch_memory(self) -> None:
        """End it when it holds too much."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            held = processes.memory_of((self.pid, *processes.descendants(self.pid)), self.limit)
            self.peak = max(self.peak, held)
            if held > self.limit:
                self.over = held
                processes.end(self.pid)
                return


class Spares:
    """The executor of a worker, and the one that replaces it, which is started ahead."""

    def __init__(self, start: Callable[[], Awaitable[Executor]]) -> None:
        self._start = start
        self._current: Executor | None = None
        self._next: asyncio.Task[Executor] | None = None
        self.replaced = 0
        """How many executors were replaced."""

    async def take(self) -> Executor:
        """An executor for the next work. Raises NotStarted."""
        if self._current is not None and self._current.spoilt:
            current, self._current = self._current, None
            await current.end()
            end_adopted()
            self.replaced += 1
        if self._current is None:
            if self._next is None or _has_failed(self._next):
                self._next = self._begin()
            # It stays the next one until it is here: its taker may be cancelled in the moment in which it has started.
            self._current = await self._next
            self._next = None
        if self._next is None:
            self._next = self._begin()
        return self._current

    def _begin(self) -> asyncio.Task[Executor]:
        async def start() -> Executor:
            return await self._start()

        return asyncio.create_task(start())

    async def close(self) -> None:
        """End them."""
        if self._next is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, NotStarted):
                await (await self._next).end()
        if self._current is not None:
            await self._current.end()


def _has_failed(starting: asyncio.Task[Executor]) -> bool:
    return starting.done() and (starting.cancelled() or starting.exception() is not None)


def end_adopted() -> int:
    """End the processes that this one has adopted of executors that are gone; how many."""
    ended = 0
    while pids := [pid for pid in processes.children(os.getpid()) if pid not in Child.known]:
        for pid in pids:
            processes.end(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            ended += 1
    return ended
