"""One child process: how it is started, recognised again after we were restarted ourselves, and ended.

A process is known by its pid *and* its start time, so a reused pid is never taken for it. Children have their own
sessions and write to files, not pipes, so they outlive the process that started them. Must not know what the processes
are for.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from events.process.identity import Identity
from events.process.listening import stranger
from forgelog.errors import ForgelogError

POLL = 0.05
"""Seconds between two looks at a condition that nothing reports by itself."""


STEP_SECONDS = 600.0
"""How long a program may take that prepares something once: a busy machine takes minutes for seconds' work."""


class EmbeddedError(ForgelogError):
    """A part of the embedded platform can't start or stop; the text says which, why, and what to do."""


class Slow(EmbeddedError):
    """A child that lives has not answered in time. Another time it may."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How to start one child."""

    name: str
    argv: Sequence[str]
    log: Path
    """stdout and stderr are appended to it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment we run in ourselves."""
    cwd: Path | None = None
    user: int | None = None
    """Numeric user (and group) to run as; only root can ask for it."""
    stop: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    """Seconds between the stop signal and SIGKILL."""


def find_running(spec: Spec) -> Identity | None:
    """A living process that was started from exactly this spec: same command line, same additions to its environment.

    Needs no notes of the one who started it, so nothing is missed that was started in its last moment.
    """
    argv, env = list(spec.argv), dict(spec.env)
    for process in psutil.process_iter():
        try:
            if process.cmdline() != argv or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            if all(environment.get(key) == value for key, value in env.items()):
                return Identity.of(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile, or another user's: not ours
    return None


_DROP = """
import os, sys
user, argv = int(sys.argv[1]), sys.argv[2:]
os.setgroups([])
os.setgid(user)
os.setuid(user)
try:
    os.execv(argv[0], argv)
except OSError as error:
    sys.exit(f"{argv[0]} can't be started: {error.strerror}")
"""


def as_user(argv: Sequence[str], user: int | None) -> list[str]:
    """The command, run as that user and group; only root can ask for another one.

    Not by Popen's own `user`: that makes Python fork, where it uses vfork else, and a fork of a process with gRPC's
    threads may die before it is the program (beside a busy server 247 of 3,000 did, by SIGSEGV and SIGABRT).
    """
    if user is None:
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _DROP, str(user), *argv]


class Child:
    """A running (or ended) process made from a spec, started by us or by a predecessor of ours."""

    def __init__(self, spec: Spec, identity: Identity, popen: subprocess.Popen[bytes] | None) -> None:
        self.spec = spec
        self.identity = identity
        self._popen = popen

    @classmethod
    def start(cls, spec: Spec) -> Child:
        """Raises EmbeddedError when the program can't be executed."""
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:  # append mode: the log can be truncated under the writer
            try:
                popen = subprocess.Popen(
                    as_user(spec.argv, spec.user),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **spec.env},
                    cwd=spec.cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise EmbeddedError(f"{spec.name} can't be started: {spec.argv[0]}: {error.strerror}") from error
        return cls(spec, Identity.of(popen.pid), popen)

    @classmethod
    def adopt(cls, spec: Spec) -> Child | None:
        """Take over a process that a predecessor of ours started from the same spec; None when there is none."""
        identity = find_running(spec)
        return cls(spec, identity, None) if identity else None

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def adopted(self) -> bool:
        return self._popen is None

    @property
    def running(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None
        return self.identity.alive

    @property
    def exit(self) -> str:
        """How it ended: ``exit 1``, ``SIGKILL``, or ``unknown`` for an adopted process (its parent got the status)."""
        if self._popen is None:
            return "unknown"
        code = self._popen.poll()
        return "" if code is None else exit_of(code)

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it still is that process."""
        if not self.running:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return  # it ended between the two lines: what we wanted

    async def ended(self, every: float) -> None:
        """Until it has ended: told by the system where it can, else looked at `every` so many seconds."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, an old one, or it has ended already
            await until(lambda: not self.running, float("inf"), every)
            return
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, over.set)
        try:
            if self.running:  # else the descriptor may be of another process that was given the pid
                await over.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        await until(lambda: not self.running, float("inf"), every)

    async def wait(self, seconds: float) -> bool:
        """True once it has ended, False when it still runs after `seconds`."""
        return await until(lambda: not self.running, seconds)

    async def stop(self) -> None:
        """The stop signal, the grace, then SIGKILL. Raises EmbeddedError when even that doesn't end it."""
        self.send(self.spec.stop)
        if not await self.wait(self.spec.grace):
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL at once. Raises EmbeddedError when even that doesn't end it."""
        self.send(signal.SIGKILL)
        if not await self.wait(10.0):
            raise EmbeddedError(f"{self.spec.name} (pid {self.pid}) does not end even after SIGKILL; look at its state")


def exit_of(code: int) -> str:
    """How a process ended, from its return code: ``exit 1``, ``SIGKILL``."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def run_through(what: str, argv: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that ends by itself; `more` is for `subprocess.run`. Raises EmbeddedError when it takes longer than
    STEP_SECONDS: it is ended then."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=STEP_SECONDS, **more)
    except subprocess.TimeoutExpired:
        raise EmbeddedError(f"{what} took longer than {STEP_SECONDS:.0f} s, and was ended") from None


async def end(name: str, identity: Identity, *, number: signal.Signals = signal.SIGINT, grace: float = 40.0) -> None:
    """End a process that is known by its identity only: a signal (SIGINT is Postgres' fast stop), then SIGKILL."""
    await Child(Spec(name, [], Path(os.devnull), stop=number, grace=grace), identity, None).stop()


async def until(condition: Callable[[], bool], seconds: float, every: float = POLL) -> bool:
    """Poll a condition until it holds or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every)
    return True


async def wait_ready(child: Child, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait until `ready()` says yes. Raises EmbeddedError with the end of the log if the child ends or takes longer."""
    deadline = time.monotonic() + seconds
    while not await ready():
        if not child.running:
            raise EmbeddedError(f"{child.spec.name} ended while starting ({child.exit}). {log_tail(child.spec.log)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"{child.spec.name} was not ready after {seconds:.0f} s (pid {child.pid}). {log_tail(child.spec.log)}"
            )
        await asyncio.sleep(POLL)


def last_line(problem: str) -> str:
    """Of what a process wrote before it ended, as `log_tail` gives it; empty for nothing."""
    return problem.splitlines()[-1].strip() if problem else ""


def log_tail(log: Path, lines: int = 12) -> str:
    """The end of a log, for an error's text. A line that comes again and again, at each start, counts once."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16_384))
            read = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return f"It wrote no log ({log})."
    last = [line for line, _ in itertools.groupby(read)][-lines:]
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in last)])


def answers(address: tuple[str, int], seconds: float = 0.5) -> bool:
    """Whether anything accepts connections there."""
    try:
        with socket.create_connection(address, timeout=seconds):
            return True
    except OSError:
        return False


def refuse_strangers(address: tuple[str, int], ours: Sequence[int] = ()) -> None:
    """Raises EmbeddedError when another user's program listens there: no password and no key is for that. `ours`: users
    beside our own that the program may run as."""
    if user := stranger(*address, ours):
        raise EmbeddedError(
            f"a program of {user} has taken its port, {address[1]}: end that, or `forgelog down` and `forgelog up` "
            f"take another"
        )


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Readers see the old content or the new, also after a crash."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.unlink(missing_ok=True)  # of a process that had our pid, with a mode of its own
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            if os.geteuid() == 0:  # it may end another user's platform, which stays that user's
                with suppress(FileNotFoundError):
                    before = path.lstat()
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
