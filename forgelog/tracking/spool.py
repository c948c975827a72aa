"""The spool: a folder in which runs are kept until the platform has them. Knows no platform.

Each session of a run (a program that logs to it) has a folder of its own there:

run.json         which run it is, and which platform is meant: written once
journal          what was said of the run beside points, in order: a line of JSON each
points-PID-N     points; see `segments`. A process that logs has segments of its own, so forked ones do too
files/N/         files that were logged, by their paths in the run
captured/        what the program runs; see `capturing`
alive            held (flock, shared) by the processes that log
sending          held (flock) by the one process that sends
state.json       how far that has come

All of it is its user's alone. A session whose `alive` nobody holds changes no more.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from events.process.folders import find_data_folder
from forgelog.errors import ForgelogError, InvalidInput
from forgelog.tracking.segments import Writer
from forgelog.units import parse_bytes

FOLDER, LIMIT = "FORGELOG_SPOOL", "FORGELOG_SPOOL_LIMIT"
DEFAULT_LIMIT = 1 << 30
"""Bytes of a spool."""
NAME = "spool"
"""Of the folder, in a platform's data folder."""

RUN, JOURNAL, POINTS, FILES, CAPTURED, ALIVE, SENDING, STATE = (
    "run.json", "journal", "points-", "files", "captured", "alive", "sending", "state.json"
)  # fmt: skip
VERSION = 1
MOST_NOTE = 1 << 20
"""Bytes of a note that are read."""

_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Destination:
    """Which platform is meant. One of a data folder may have another address each time."""

    gateway: str = ""
    """``host:port``"""
    data: str = ""
    """Its data folder, if no address was said."""

    def __str__(self) -> str:
        return self.gateway or f"the data folder {self.data}"


@dataclass(frozen=True, slots=True)
class About:
    """What `run.json` says of a session."""

    run_id: str
    destination: Destination
    project: str = ""
    """Empty: the platform's default."""
    in_job: bool = False
    """Whether the run is a process that the platform runs, so the platform learns how that ended."""
    pid: int = 0
    """The process that began it."""
    program: dict[str, Any] | None = None
    """What is to be captured of it: `argv`, `folder`, `seeds`."""
    version: int = VERSION

    @staticmethod
    def read(folder: Path) -> About:
        """Raises OSError; ValueError for what makes no sense."""
        data = json.loads(read_plain(folder / RUN))
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ValueError(f"{folder / RUN} is of another version of Forgelog")
        try:
            made = About(**{**data, "destination": Destination(**data["destination"])})
        except (KeyError, TypeError):
            raise ValueError(f"{folder / RUN} is damaged") from None
        program = made.program
        if program is not None and (not isinstance(program, dict) or {*program} != {"argv", "folder", "seeds"}):
            raise ValueError(f"{folder / RUN} is damaged")
        if not all(isinstance(text, str) for text in (made.run_id, made.project)):
            raise ValueError(f"{folder / RUN} is damaged")
        return made


@dataclass(slots=True)
class State:
    """How far the sending of a session has come."""

    journal: int = 0
    """Bytes of it that the platform has."""
    segments: dict[str, int] = field(default_factory=dict)
    """Name → bytes that the platform has."""
    dropped: int = 0
    """Points that found no room, of segments that are gone."""
    refused: int = 0
    """Points that the platform refused."""
    captured: bool = False
    """Whether the platform has what the program runs."""
    not_admitted: bool = False
    """Whether no experiment takes the run: it has failed, and says why."""
    problems: list[str] = field(default_factory=list)
    """What the platform refused, in words, each once."""
    away: str = ""
    """Why it can't be reached; empty when it can."""
    tried_at: float = 0.0
    """When it was spoken with last (POSIX seconds)."""

    @staticmethod
    def read(folder: Path) -> State:
        """What is there; from the beginning if nothing is, or nothing that makes sense: sending again does no harm."""
        with suppress(OSError, ValueError, TypeError):
            return State(**json.loads(read_plain(folder / STATE)))
        return State()

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        scratch = folder / f".{STATE}"
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600), "w") as file:
            json.dump(asdict(self), file)
        scratch.replace(folder / STATE)


def read_plain(path: Path, most: int = MOST_NOTE) -> bytes:
    """What is in a plain file. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | _PLAIN), "rb") as file:
        return file.read(most)


class Spool:
    """A folder of sessions."""

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.path = path
        self.limit = limit

    @classmethod
    def find(cls) -> Spool:
        """The spool that the environment names, else that of the data folder. Raises InvalidInput."""
        given = os.environ.get(FOLDER)
        path = Path(given).expanduser().absolute() if given else find_data_folder()[0] / NAME
        limit = DEFAULT_LIMIT
        if text := os.environ.get(LIMIT):
            try:
                limit = parse_bytes(text)
            except ValueError as error:
                raise InvalidInput(f"{LIMIT}: {error}") from None
        return cls(path, limit)

    def make(self) -> None:
        """Have the folder there, its user's alone. Raises InvalidInput."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
        except OSError as error:
            problem = f"the spool {self.path} can't be made: {error.strerror or error}"
            raise InvalidInput(f"{problem}; name another folder by {FOLDER}") from None
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS:
            problem = f"others may enter the spool {self.path}"
            raise InvalidInput(f"{problem}; chmod 700 it, or name another folder by {FOLDER}")

    def sessions(self) -> list[Path]:
        """The folders of the sessions, the oldest first."""
        try:
            found = [(each.stat(follow_symlinks=False).st_mtime, Path(each)) for each in os.scandir(self.path)
                     if each.is_dir(follow_symlinks=False) and not each.name.startswith(".")]  # fmt: skip
        except OSError:
            return []
        return [path for _, path in sorted(found)]

    def used(self) -> int:
        """Bytes of all files in it."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def has_room(self, size: int) -> bool:
        return self.used() + size <= self.limit

    def begin(self, about: About) -> Session:
        """A new session. Raises ForgelogError if there is no room on the disk."""
        folder = self.path / f"{about.run_id}-{secrets.token_hex(4)}"
        scratch = self.path / f".{folder.name}"
        try:
            scratch.mkdir(mode=0o700)
            for name, content in ((ALIVE, ""), (SENDING, ""), (JOURNAL, ""), (RUN, json.dumps(asdict(about)))):
                with os.fdopen(os.open(scratch / name, os.O_WRONLY | os.O_CREAT | _PLAIN, 0o600), "w") as file:
                    file.write(content)
            alive = hold(scratch / ALIVE, fcntl.LOCK_SH)
            scratch.rename(folder)  # whole, and held, or not there
        except OSError as error:
            raise ForgelogError(f"the spool {self.path} takes no run: {error.strerror or error}") from None
        assert alive is not None, "nobody else knows it yet"
        return Session(self, folder, about, alive)


class Session:
    """A session, as a process that logs has it."""

    def __init__(self, spool: Spool, folder: Path, about: About, alive: int) -> None:
        self.spool = spool
        self.folder = folder
        self.about = about
        self._alive = alive
        self._journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | _PLAIN)
        self._segments = 0

    @classmethod
    def join(cls, spool: Spool, folder: Path) -> Session:
        """The session of another process. Raises ForgelogError when it is over."""
        try:
            alive = hold(folder / ALIVE, fcntl.LOCK_SH, wait=True)
            assert alive is not None, "it was waited for"
            return cls(spool, folder, About.read(folder), alive)
        except (OSError, ValueError) as error:
            raise ForgelogError(f"the session {folder.name} of a run is over: {error}") from None

    def note(self, kind: str, body: dict[str, Any], id: str = "") -> None:
        """Add a line to the journal. Raises OSError."""
        line = json.dumps({"kind": kind, "id": id, "body": body}, separators=(",", ":"))
        # A line before it that was cut by a kill must not take this one with it.
        os.write(self._journal, f"\n{line}\n".encode())

    def written(self) -> int:
        """Bytes of the journal."""
        return os.fstat(self._journal).st_size

    def segment(self, size: int | None = None) -> Writer | None:
        """A new segment of this process; None if the spool has no room. `size`: whether there is room or not. Raises
        OSError, as where the disk is full."""
        if size is None and not self.spool.has_room(Writer.SIZE):
            return None
        self._segments += 1
        return Writer(self.folder / f"{POINTS}{os.getpid()}-{self._segments:06d}", size or Writer.SIZE)

    def place(self) -> Path:
        """A new folder for files. Raises OSError."""
        above = self.folder / FILES
        above.mkdir(mode=0o700, exist_ok=True)
        made = above / secrets.token_hex(8)
        made.mkdir(mode=0o700)
        return made

    def forked(self) -> None:
        """This is another process now: its segments are its own."""
        self._segments = 0

    def close(self) -> None:
        """Log no more."""
        for file in (self._journal, self._alive):
            if file >= 0:
                os.close(file)
        self._journal = self._alive = -1


def hold(path: Path, how: int, *, wait: bool = False) -> int | None:
    """A descriptor that holds a lock, until it is closed in all processes that have it; None where another one holds
    it. Raises OSError, also when the file is gone by then."""
    file = os.open(path, os.O_RDWR | _PLAIN)
    try:
        fcntl.flock(file, how | (0 if wait else fcntl.LOCK_NB))
        there = os.stat(path, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(file)):
            raise FileNotFoundError(2, "is gone", str(path))
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file
