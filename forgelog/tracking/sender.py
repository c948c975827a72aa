"""The process beside a program that trains: sends what its runs keep in the spool.

    python -m forgelog.tracking.sender SPOOL --follow PID    for the program PID, which holds our standard input
    python -m forgelog.tracking.sender SPOOL --once          for a node's agent: what a task has left

A program's: looks each half second, and at once when a byte comes. It sends the sessions of its program, and those that
ended programs have left for the same platform. When the program is gone it sends the rest, for at most `LINGER` seconds
while the platform is away; in a job it leaves that to the node's agent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from forgelog.errors import ForgelogError
from forgelog.tracking import capturing
from forgelog.tracking.around import JOB
from forgelog.tracking.draining import Draining, Later
from forgelog.tracking.platform import Connected
from forgelog.tracking.spool import About, Destination, Spool
from forgelog.tracking.syncing import sync
from forgelog.where import meant

IDLE = 0.5
"""Seconds between two looks."""
LINGER = 60.0
"""Seconds for which a platform that is away is tried after the program's end."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


class Following:
    """Sends for a program until that is gone."""

    def __init__(self, spool: Spool, destination: Destination, pid: int) -> None:
        self._spool = spool
        self._destination = destination
        self._pid = pid
        self._woken = asyncio.Event()
        self._gone = asyncio.Event()
        """The program has ended."""
        self._ours: dict[str, Draining] = {}
        self._skipped: set[str] = set()
        """Sessions that are none of ours."""
        self._connected: dict[str, Connected] = {}
        self._capturing: dict[str, asyncio.Future[None]] = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        os.set_blocking(0, False)
        loop.add_reader(0, self._read)
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_end)
        await self._follow()
        if self._capturing:
            await asyncio.wait(self._capturing.values())  # others send what is in the spool

    async def _follow(self) -> None:
        pause, gone_at = FIRST_PAUSE, 0.0
        while True:
            self._woken.clear()
            gone = self._gone.is_set()
            busy, away = await self._pass(gone)
            if gone and (not (self._ours or away) or os.environ.get(JOB)):
                return
            if gone:
                gone_at = gone_at or time.monotonic()
                if time.monotonic() - gone_at > LINGER:
                    return
            if busy and not away:
                pause = FIRST_PAUSE
                continue
            wait, pause = (pause, min(pause * 2, LONGEST_PAUSE)) if away else (IDLE, FIRST_PAUSE)
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _pass(self, gone: bool) -> tuple[bool, bool]:
        """Send what is there: whether there was something, and whether the platform is away."""
        busy = away = False
        await self._find(gone)
        for name, draining in [*self._ours.items()]:
            project = draining.about.project
            try:
                if project not in self._connected:
                    self._connected[project] = Connected(project)
                sent = await draining.once(self._connected[project])
                busy = busy or bool(sent.points or sent.commands)
                if sent.over:
                    del self._ours[name]
                    self._capturing.pop(name, None)
            except (Later, ForgelogError) as error:
                away = True
                draining.note_away(str(error))
                draining.close()  # meanwhile another process may try, which knows more
                del self._ours[name]
                await self._disconnect(project)
            except (OSError, ValueError):  # its folder is gone, or its disk is full
                draining.close()
                del self._ours[name]
                self._skipped.add(name)
        return busy, away

    async def _find(self, gone: bool) -> None:
        """Take the sessions that are this program's, and those that nobody logs to any more."""
        for folder in self._spool.sessions():
            if folder.name in self._ours or folder.name in self._skipped:
                continue
            try:
                about = About.read(folder)
                if about.destination != self._destination:
                    self._skipped.add(folder.name)
                elif about.pid == self._pid:
                    self._ours[folder.name] = Draining(folder, capturing=self._capture(folder, about))
                elif not gone and Draining.is_left(folder):
                    self._ours[folder.name] = Draining(folder)
            except Later:
                pass  # another process is at it
            except (OSError, ValueError):
                self._skipped.add(folder.name)

    def _capture(self, folder: Path, about: About) -> asyncio.Future[None]:
        """Capture what its program runs, once, while points are sent."""
        if folder.name not in self._capturing:
            keeping = asyncio.ensure_future(asyncio.to_thread(capturing.keep, folder, about))
            keeping.add_done_callback(lambda done: done.cancelled() or done.exception())  # the one who waits tells it
            self._capturing[folder.name] = keeping
        return self._capturing[folder.name]

    async def _disconnect(self, project: str) -> None:
        """The platform may be found elsewhere next time."""
        if (connected := self._connected.pop(project, None)) is not None:
            await connected.close()

    def _read(self) -> None:
        try:
            data = os.read(0, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._woken.set()
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            self._gone.set()

    def _asked_to_end(self) -> None:
        """As the program may be: while that lives, it has something to say at its end."""
        if self._gone.is_set():
            os._exit(0)  # what was not sent is in the spool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m forgelog.tracking.sender")
    parser.add_argument("spool", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--follow", type=int, metavar="PID")
    how.add_argument("--once", action="store_true")
    given = parser.parse_args()
    os.umask(0o077)
    spool = Spool(given.spool)
    try:
        destination = Destination(*meant())
    except ForgelogError as error:
        sys.exit(str(error))
    if given.once:
        sys.exit(asyncio.run(once(spool, destination)))
    asyncio.run(Following(spool, destination, given.follow).run())
    os._exit(0)  # nothing is left to be said, and a job waits for all of its processes


async def once(spool: Spool, destination: Destination) -> int:
    """Exit code: 75 (EX_TEMPFAIL) if another time may do better, else 0. Standard output says what is left, or
    refused."""
    done = await sync(spool, destination, own_files=True)
    for text in (*done.problems, *(f"{name}: {why}" for name, why in (done.left | done.foreign).items())):
        sys.stdout.write(text + "\n")
    return 75 if done.left else 0


if __name__ == "__main__":
    main()
