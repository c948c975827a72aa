"""Sends what a session of a run has in the spool, and takes away what the platform has.

1. The journal, in order: each command has its id since it was written, so one that is sent again is done once.
2. The points, once the run is there: several batches are under way at once, and how far the platform has them is noted
   in order. A point that is sent again is the same point.
3. The end of the run, when all points that were there before it are sent.
4. A session whose processes are gone is finished: the run's tag counts what was dropped, a run whose program said no
   end is killed (unless a job's events tell its end), and the folder is removed.

What a program wrote may be anything: no link is followed, only commands on its own run are sent. Knows the platform
only as `Platform`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import time
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from forgelog.capture import Captured
from forgelog.errors import Busy, ForgelogError, NotFound, Refused, Timeout, Unavailable
from forgelog.tracking.capturing import kept
from forgelog.tracking.flight import Flight
from forgelog.tracking.points import Batch
from forgelog.tracking.segments import Reader
from forgelog.tracking.spool import ALIVE, FILES, JOURNAL, POINTS, SENDING, About, State, hold

COMMANDS = frozenset({"CreateRun", "ResumeRun", "LogRunData", "LogInputs", "RenameRun", "EndRun"})
DROPPED_TAG = "forgelog.dropped_points"
IN_FLIGHT = 4
"""Batches of points that are under way at once: the platform stores some while the next ones are read."""
MOST_PROBLEMS = 20
MOST_LINE = 2 << 20

_LATER = ("unauthenticated", "permission_denied", "not_found")
"""Refusals that another time, or another key, may mend."""


class Platform(Protocol):
    """What sessions are sent to. Each method raises a ForgelogError."""

    async def command(self, kind: str, body: dict[str, Any], id: str) -> None:
        """Publish a command on a run, and wait for its outcome."""

    async def points(self, batch: Batch) -> None:
        """Returns when the log has them."""

    async def capture(self, run_id: str, captured: Captured) -> None:
        """Keep what its program runs."""

    async def files(self, run_id: str, source: Path, folder: str, *, named: bool) -> None:
        """Log a folder's files, or a file."""


class Later(Exception):
    """It can't be sent now. Says why."""


@dataclass(slots=True)
class Sent:
    """What a pass has done."""

    points: int = 0
    commands: int = 0
    over: bool = False
    """Whether nothing of the session is left."""


class Draining:
    """A session that is being sent by this process, and by no other."""

    def __init__(
        self, folder: Path, *, only_own_files: bool = False, capturing: asyncio.Future[None] | None = None
    ) -> None:
        """`only_own_files`: send no file that lies outside of the spool. `capturing`: done when what the program runs
        is in the spool; its points do not wait for it, and its end does. Raises Later when another process sends it;
        OSError, ValueError when it is none."""
        self.folder = folder
        self.about = About.read(folder)
        self._only_own_files = only_own_files
        self._capturing = capturing
        lock = hold(folder / SENDING, fcntl.LOCK_EX)
        if lock is None:
            raise Later("another process sends it")
        self._lock = lock
        self.state = State.read(folder)
        self._readers: dict[str, Reader] = {}
        self._ended = self._has_ended()

    @staticmethod
    def is_left(folder: Path) -> bool:
        """Whether the programs that logged to a session are gone. Raises OSError."""
        lock = hold(folder / ALIVE, fcntl.LOCK_EX)
        if lock is not None:
            os.close(lock)
        return lock is not None

    def note_away(self, why: str) -> None:
        """The platform can't be reached."""
        self.state.away, self.state.tried_at = why, time.time()
        self._save()

    def close(self) -> None:
        """Leave the rest to others."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def once(self, platform: Platform) -> Sent:
        """Send what is there. Raises Later."""
        sent = Sent()
        before = self.state.journal, dict(self.state.segments), [*self.state.problems], self.state.away
        # Held until all is done: then nobody begins to log to it.
        dead = hold(self.folder / ALIVE, fcntl.LOCK_EX)
        try:
            await self._send(platform, sent)
            if dead is not None:
                await self._capture(platform, last=True)
                await self._finish(platform, sent)
        except (Unavailable, Busy, Timeout) as error:
            self.state.away = str(error)
            raise Later(str(error)) from None
        except Later as error:
            self.state.away = str(error)
            raise
        else:
            if sent.points or sent.commands:
                self.state.away = ""
        finally:
            if dead is not None:
                os.close(dead)
            self.state.tried_at = time.time()
            after = self.state.journal, self.state.segments, self.state.problems, self.state.away
            if not sent.over and (before != after or self.state.away):
                self._save()
        return sent

    async def _send(self, platform: Platform, sent: Sent) -> None:
        for kind, id, body, end in self._lines():
            if kind == "EndRun":
                await self._points(platform, sent)
                await self._capture(platform, last=True)
            if kind != "closed":
                await self._entry(platform, kind, id, body)
                sent.commands += 1
            self._ended = self._ended or kind == "EndRun"
            self.state.journal = end
            self._save()
        if self.state.journal:
            await self._points(platform, sent)
            await self._capture(platform)

    async def _capture(self, platform: Platform, *, last: bool = False) -> None:
        """Send what the program runs, once it was captured. `last`: wait for that. Raises OSError, ValueError where it
        could not be kept."""
        if self.state.captured or not self.state.journal:
            return
        if self._capturing is not None:
            if not (last or self._capturing.done()):
                return
            await self._capturing
        if (found := kept(self.folder)) is None:
            return
        await self._refusing("its capture", platform.capture(self.about.run_id, found))
        self.state.captured = True
        self._save()

    async def _refusing(self, what: str, sending: Awaitable[None]) -> None:
        """Send something that may be refused. Raises Later."""
        try:
            await sending
        except Refused as error:
            if isinstance(error, Busy):
                raise
            if error.code in _LATER:
                raise Later(str(error)) from None
            self._problem(f"{what} was refused: {error}")
        except (Unavailable, Timeout):
            raise
        except NotFound as error:
            raise Later(str(error)) from None
        except ForgelogError as error:
            self._problem(f"{what} can't be sent: {error}")

    async def _entry(self, platform: Platform, kind: str, id: str, body: dict[str, Any]) -> None:
        if kind == "artifacts":
            await self._refusing("files", self._files(platform, body))
        elif kind not in COMMANDS:
            self._problem(f"the journal has a line of an unknown kind ({kind[:60]}), which is left out")
        elif kind == "EndRun" and self.state.not_admitted:
            return  # it has ended, with a better reason
        else:
            command = platform.command(kind, {**body, "run_id": self.about.run_id}, id)
            await self._refusing(kind, self._creating(command) if kind == "CreateRun" else command)

    async def _creating(self, command: Awaitable[None]) -> None:
        """Without the run nothing else can be sent."""
        try:
            await command
        except Refused as error:
            if error.code == "already_exists":
                return  # an answer was lost, longer ago than ids are remembered
            if error.code == "failed_precondition":
                self.state.not_admitted = True  # no experiment takes it; the run is there
            elif not isinstance(error, Busy) and error.code not in _LATER:
                raise Later(f"the run was refused: {error}") from None
            raise

    async def _files(self, platform: Platform, body: dict[str, Any]) -> None:
        run = self.about.run_id
        if place := body.get("place"):
            source = self.folder / FILES / os.path.basename(str(place))
            if not source.is_dir() or source.is_symlink():
                return  # they were sent already
            if any(each.is_symlink() for each in source.rglob("*")):
                self._problem("files with links among them are left out")
                return
            await platform.files(run, source, "", named=False)
            shutil.rmtree(source, ignore_errors=True)
        elif self._only_own_files:
            self._problem(f"{body.get('source')} is not sent: it lies outside of the spool")
        else:
            folder = str(body.get("folder") or "")
            await platform.files(run, Path(str(body["source"])), folder.strip("."), named=bool(body.get("named")))

    def _lines(self) -> Iterator[tuple[str, str, dict[str, Any], int]]:
        """The journal's further lines: kind, id, body, and the place behind each."""
        with open(self.folder / JOURNAL, "rb") as journal:
            journal.seek(at := self.state.journal)
            for line in iter(lambda: journal.readline(MOST_LINE), b""):
                at += len(line)
                if not line.endswith(b"\n"):
                    return  # it is being written, or was cut
                if line == b"\n":
                    continue
                with suppress(ValueError, KeyError, TypeError):
                    found = json.loads(line)
                    body = {**found["body"]}
                    yield str(found["kind"]), str(found["id"]), body, at

    def _has_ended(self) -> bool:
        """Whether what was sent of the journal has the run's end."""
        with open(self.folder / JOURNAL, "rb") as journal:
            lines = journal.read(self.state.journal).splitlines()
        return any(b'"kind":"EndRun"' in line[:40] for line in lines)

    # Points

    async def _points(self, platform: Platform, sent: Sent) -> None:
        flight = Flight(IN_FLIGHT)
        begun: list[str] = []
        try:
            for name in sorted(each.name for each in self.folder.glob(f"{POINTS}*")):
                try:
                    reader = self._reader(name)
                except (OSError, ValueError):
                    continue  # it was made just now, and is nothing yet; or it is none
                begun.append(name)
                await self._segment(platform, name, reader, sent, flight)
            await flight.land()
        except BaseException:
            await flight.cancel()
            for name in begun:
                self._read_again(name)
            raise

    async def _segment(self, platform: Platform, name: str, reader: Reader, sent: Sent, flight: Flight) -> None:
        while (batch := Batch.read(self.about.run_id, reader)).count:
            heard = partial(self._sent, name, reader.at, batch.count, sent)
            await flight.begin(partial(platform.points, batch), heard)
        if reader.ended:
            await flight.begin(None, partial(self._gone, name, reader))

    def _sent(self, name: str, at: int, count: int, sent: Sent, done: asyncio.Future[None]) -> None:
        """A batch has come there, and all before it. Raises what says that it is to be sent again."""
        try:
            done.result()
            sent.points += count
        except NotFound as error:
            raise Later(str(error)) from None
        except Refused as error:
            if isinstance(error, Busy):
                raise
            if error.code in _LATER:
                raise Later(str(error)) from None
            self.state.refused += count
            self._problem(f"points were refused: {error}")
        self.state.segments[name] = at
        self._save()

    def _gone(self, name: str, reader: Reader, _: asyncio.Future[None]) -> None:
        """The platform has all of a segment, to which nothing will be added."""
        self.state.dropped += reader.dropped
        reader.close()
        del self._readers[name]
        (self.folder / name).unlink(missing_ok=True)
        self.state.segments.pop(name, None)

    def _reader(self, name: str) -> Reader:
        reader = self._readers.get(name)
        if reader is None:
            reader = self._readers[name] = Reader(self.folder / name)
            reader.skip_to(self.state.segments.get(name, 0))
        return reader

    def _read_again(self, name: str) -> None:
        """What was read of it was not sent."""
        if (reader := self._readers.pop(name, None)) is not None:
            reader.close()

    # The end

    async def _finish(self, platform: Platform, sent: Sent) -> None:
        dropped = self.state.dropped + sum(each.dropped for each in self._readers.values())
        if dropped:
            body = {"tags": {DROPPED_TAG: str(dropped)}}
            await self._entry(platform, "LogRunData", f"{self.folder.name}-dropped-{dropped}", body)
        if not self._ended and not self.about.in_job and self.state.journal:
            end = {"status": "killed", "reason": "its program was gone, and had not said how it ended"}
            await self._entry(platform, "EndRun", f"{self.folder.name}-end", end)
        gone = self.folder.with_name(f".{self.folder.name}")
        self.folder.rename(gone)
        self.close()
        shutil.rmtree(gone, ignore_errors=True)
        sent.over = True

    def _problem(self, text: str) -> None:
        if text not in self.state.problems and len(self.state.problems) < MOST_PROBLEMS:
            self.state.problems.append(text[:2_000])

    def _save(self) -> None:
        with suppress(OSError):  # a full disk: then something may be sent again
            self.state.write(self.folder)
