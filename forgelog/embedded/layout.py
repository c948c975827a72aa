"""A platform's folder: which files are in it, and what they say. Must not start or stop anything.

platform.json     what runs now: written by the supervisor, read by `status`, `down`, clients
wanted.json       what should run: written by `up` and `down`, read by the supervisor
ports.json        ports of the services, kept so that addresses stay the same
kcat.conf         for programs that publish commands and read events: the broker, and who they are there
supervisor.lock   held (flock) by the one supervisor
keys/             secrets, a file each; see `events.process.keys`
objects/          bytes that are too large for events; see `events.objects`
spool/            what programs log to runs until it is sent; see `forgelog.tracking.spool`
sockets/          by which the gateway calls services; see `events.queries.local`
kafka/ postgres/ agents/<node>/ logs/<child>.log
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from events.process.copied import is_copied, place_of
from events.process.identity import Identity
from events.process.keys import FOLDER as KEYS
from events.process.listening import user_name
from forgelog.embedded.process import EmbeddedError, write_atomically

Source = Literal["given", "docker", "embedded"]


@dataclass(frozen=True, slots=True)
class Server:
    """Where the broker or the database comes from. Remembered: another source would look like lost data."""

    source: Source
    address: str = ""
    """Of a given one, or of the one in Docker; an embedded one finds its own."""
    config: str = ""
    """Of such a broker: the file that says how to get in; empty: it asks nobody who they are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    kafka: Server
    postgres: Server
    services: bool = True
    agents: int = 1
    keep_jobs: bool = False
    """On the way down: leave the processes of jobs running."""


@dataclass(slots=True)
class ChildState:
    name: str
    kind: str
    state: str
    """starting, ready, running (alive; it has no health check), not_ready, held (on purpose; `problem` says why),
    restarting, stopping, stopped."""
    pid: int = 0
    started: str = ""
    """See `Identity`; empty when there is no process."""
    restarts: int = 0
    last_exit: str = ""
    problem: str = ""
    address: str = ""
    log: str = ""
    slow: bool = False
    """What `problem` says is only that it does not answer in time."""

    @property
    def up(self) -> bool:
        return self.state in ("ready", "running")

    @property
    def identity(self) -> Identity | None:
        return Identity(self.pid, self.started) if self.pid else None


@dataclass(slots=True)
class PlatformState:
    supervisor: Identity
    kafka: str = ""
    postgres: str = ""
    gateway: str = ""
    """The front door's ``host:port``; empty with servers only."""
    children: list[ChildState] = field(default_factory=list)
    kafka_config: str = ""
    """The file with which the platform's own processes get into the broker; see `events.log.access`."""

    @property
    def servers(self) -> dict[str, Any]:
        """The settings of who uses broker and database as the platform's own processes do."""
        config = Path(self.kafka_config) if self.kafka_config else None
        return {"kafka": self.kafka, "kafka_config": config, "postgres": self.postgres}


TASKS = ("scratch", "code", "ended", "trash")
"""Folders of an agent's in which tasks write, with a umask of their user's."""

_CHOOSE = "--data or FORGELOG_DATA"

_MADE = ("agents", "kafka", "logs")
_OURS = frozenset({*_MADE, KEYS, "postgres", "audit.key", "docker.env", "ports.json", "spool", "supervisor.lock"})
"""What may be in a folder before it has a ``wanted.json``, after a start that was broken off."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Folder:
    """The files of one platform."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make it, or take rights from others that an earlier version or somebody else gave them. Raises
        EmbeddedError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._see_ours()
            if self.path.stat().st_mode & _OTHERS:
                self._close()
            for name in _MADE:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            if isinstance(error, PermissionError) and self.path.is_dir():
                raise self._of_another() from None
            raise EmbeddedError(
                f"the data folder {self.path} can't be made: {error.strerror}; choose another with {_CHOOSE}"
            ) from error

    def _see_ours(self) -> None:
        """Root may write where it likes; what it wrote, its owner could use no more."""
        with suppress(FileNotFoundError):
            owner = (self.path / "wanted.json").lstat().st_uid
            if owner != os.geteuid():
                raise EmbeddedError(
                    f"{self.path} is a platform of {user_name(owner)}'s: start it as that user, or choose another "
                    f"folder with {_CHOOSE}"
                )

    def _close(self) -> None:
        found = {each.name for each in self.path.iterdir()} - {"lost+found"}
        if "wanted.json" not in found and not found <= _OURS:  # somebody named a folder that is for other things too
            raise EmbeddedError(
                f"others may enter the folder {self.path}, and it holds other things than a platform's; choose one "
                f"of its own with {_CHOOSE}, or close it: chmod 700 {self.path}"
            )
        self.path.chmod(0o700)
        tighten(self.path)

    def read_wanted(self) -> Wanted | None:
        content = self._read("wanted.json")
        if content is None:
            return None
        content["kafka"], content["postgres"] = Server(**content["kafka"]), Server(**content["postgres"])
        return Wanted(**content)

    def write_wanted(self, wanted: Wanted) -> None:
        write_atomically(self.path / "wanted.json", json.dumps(asdict(wanted), indent=1) + "\n", mode=0o600)

    def read_state(self) -> PlatformState | None:
        """In a copy of a running platform's folder nothing runs: it says what its original does."""
        content = self._read("platform.json")
        if content is None:
            return None
        place = content.pop("place", None)  # an earlier version wrote none
        content["supervisor"] = Identity(**content["supervisor"])
        content["children"] = [ChildState(**child) for child in content["children"]]
        state = PlatformState(**content)
        return _ended(state) if place is not None and is_copied(place, self.path) else state

    def write_state(self, state: PlatformState) -> None:
        content = {**asdict(state), "place": place_of(self.path)}
        write_atomically(self.path / "platform.json", json.dumps(content, indent=1) + "\n", mode=0o600)

    def read_ports(self) -> dict[str, int]:
        return self._read("ports.json") or {}

    def write_ports(self, ports: dict[str, int]) -> None:
        write_atomically(self.path / "ports.json", json.dumps(ports) + "\n", mode=0o600)

    def _of_another(self) -> EmbeddedError:
        return EmbeddedError(
            f"the data folder {self.path} is another user's; choose one of your own with {_CHOOSE}, or ask a platform "
            f"by its address with --gateway or FORGELOG_GATEWAY, and its key in a file that FORGELOG_TOKEN_FILE names"
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            with path.open() as file:
                # Anybody can make a .forgelog in a folder that all may write in. (Root reads whose it likes.)
                if os.geteuid() not in (0, os.fstat(file.fileno()).st_uid):
                    raise self._of_another()
                content: dict[str, Any] = json.loads(file.read())
        except FileNotFoundError:
            return None
        except PermissionError:
            raise self._of_another() from None
        except OSError as error:
            raise EmbeddedError(
                f"{path} can't be read: {error.strerror}; choose another folder with {_CHOOSE}"
            ) from None
        except ValueError as error:
            raise EmbeddedError(
                f"{path} is not what Forgelog wrote ({error}); remove it and run `forgelog up`"
            ) from error
        return content


def _ended(state: PlatformState) -> PlatformState:
    """What it would say after the platform's end."""
    children = [replace(child, state="stopped", pid=0, started="") for child in state.children]
    return replace(state, supervisor=Identity(state.supervisor.pid, ""), gateway="", children=children)


def tighten(folder: Path) -> None:
    """Take what others may do with the files and folders below `folder`, but for those that are a task's own. What is
    another user's stays as it is; `doctor --security` names it."""
    for path, folders, names, descriptor in os.fwalk(folder):
        inside = Path(path).relative_to(folder).parts
        if inside[:1] == ("agents",) and len(inside) == 2:
            folders[:] = [name for name in folders if name not in TASKS]
        for name in (*folders, *names):
            with suppress(PermissionError, FileNotFoundError):
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if mode & _OTHERS and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                    os.chmod(name, stat.S_IMODE(mode) & ~_OTHERS, dir_fd=descriptor)


class Lock:
    """The right to be the folder's one supervisor; the system takes it back when the holder ends, however it ends."""

    TAKEN = os.EX_TEMPFAIL
    """Exit code of a supervisor that does not get it."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / "supervisor.lock"
        self._file: int | None = None

    def acquire(self) -> bool:
        """False when another process holds it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
