"""A warden: one small process per attempt of a task. It starts the command, sees to its limits, ends its whole tree,
and writes down what became of it. It outlives the agent, and needs neither it nor Kafka.

What it writes into the attempt's control folder (JSON, by rename, so a reader sees all or nothing):

- ``task.json``: the agent's note of the task, and the warden's own pid: the claim that this attempt was started;
- ``started.json``: pid and start of the command's process, leader of its own session;
- ``exit.json``: how it ended, once nothing of its tree is left and its output is written. Room for it is taken at the
  start: nobody else knows how the task ended, and the disk may be full by then. While the output waits for a full disk,
  ``exit.json.new`` says it already;
- ``stdout``, ``stderr``: what it printed, up to a limit, if anything; ``cut.json`` counts the bytes beyond it (see
  `printing`).

The control folder is not the task's own folder, which is elsewhere (`work`, its working directory, and `secrets`): what
a task does there can't reach these files by accident.

The agent asks for an end with ``stop.json`` (`grace`, `reason`) and SIGTERM. SIGTERM without that file is ignored: a
task can send it, too, and its exit status would be lost. None of this is synced to the disk: it has to outlive
processes, not the machine, whose next boot finds no process anyway.

What is promised here is promised in ``native/launcher.c`` too; the tests hold both to it.

Runs in a fork of the launcher; imports only the smallest of the standard library. Must not know the language.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from events.process import notes
from services.resources.agent import proctree
from services.resources.agent.printing import Printing

TASK, STARTED, EXIT, STOP, CUT = "task.json", "started.json", "exit.json", "stop.json", "cut.json"
STDOUT, STDERR, WORK, SECRETS = "stdout", "stderr", "work", "secrets"

OPEN_FILES = 65_536
"""Soft limit of a task's open files, as far as the hard limit allows."""
KILL_FIRST, KILL_MOST = 0.01, 1.0
"""Seconds between two rounds of SIGKILL, doubling: a tree may grow while it is felled."""
FULL_DISK_PAUSE = 0.2
"""Seconds until the note of an end is tried again."""
EXIT_BYTES, MESSAGE_BYTES = 4096, 3584
"""Room for the note of an end, and for the message in it, as JSON."""
_FOREVER = 3600.0
_PRIVATE = 0o077

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 4, 15, 36
_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
# What Python ignores, a command expects at its default.
_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


_tasks_umask = -1


def keep_private() -> None:
    """Only this user can read what is written from here on; tasks get the umask that there was. No other process of
    this user can look into this one and its forks, which hold tasks' secrets. Call it once."""
    global _tasks_umask
    _tasks_umask = os.umask(_PRIVATE)
    _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class SpawnFailed(Exception):
    """The command can't be started; the text names it and says why."""


def write_json(path: str, data: Any) -> None:
    """Write a note that is there whole or not at all. Raises OSError."""
    notes.write(path, json.dumps(data).encode())


def prepare(spare: str) -> None:
    """What a warden can do before it has a task: its control folder `spare`, above all, since new files are what costs
    most in a start. Also touches what it will need then: the memory of a fork is shared until it is written to."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # idle, it goes with the launcher
    _prctl(_PR_SET_NAME, b"forgelog-warden", 0, 0, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    json.loads(json.dumps({"ticks": _my_ticks(), "text": ["", None, 0.5]}))
    find("true", os.defpath)
    with contextlib.suppress(OSError):  # said when there is a task to say it of
        _furnish(spare)


def _furnish(spare: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(spare, 0o700)
    for name in (TASK, STARTED):
        os.close(os.open(notes.kept(f"{spare}/{name}"), os.O_WRONLY | os.O_CREAT, 0o600))
    notes.take_room(f"{spare}/{EXIT}", EXIT_BYTES)


def watch_over(spec: dict[str, Any], spare: str, say: Callable[[dict[str, Any]], None]) -> None:
    """The whole life of one attempt. `say` tells the agent, once, that it began (or can't: ``error``)."""
    _prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)  # from here on, nothing but the task's end ends it
    folder: str = spec["folder"]
    try:
        if not os.path.exists(notes.kept(f"{spare}/{EXIT}")):
            _furnish(spare)
        os.rename(spare, folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            say({"key": spec["key"], "claimed": True})  # somebody started this attempt already; once is enough
        else:
            say({"key": spec["key"], "error": f"the task's control folder {folder} can't be made: {error.strerror}"})
        return
    control = notes.Folder(folder)
    control.open()
    warden = {"warden": os.getpid(), "warden_ticks": _my_ticks()}
    try:
        control.write(TASK, json.dumps({**spec["record"], **warden}).encode())
    except OSError as error:
        say({"key": spec["key"], "error": f"the task's control folder {folder} can't be made: {error.strerror}"})
        return
    try:
        printing = Printing(control, (STDOUT, STDERR), CUT, spec["output_bytes"])
        pid = _start(printing, spec)
    except SpawnFailed as failure:
        _remove_secrets(spec["task_folder"])
        _publish_exit(control, _exit_note(reason="spawn_failed", message=str(failure)))
        say({"key": spec["key"], **warden})
        return
    started_at = time.time()
    process = proctree.look(pid)
    started = {"pid": pid, "ticks": process.ticks if process else 0, "started_at": started_at}
    say({"key": spec["key"], **warden, **started})
    with contextlib.suppress(OSError):  # the agent was told
        control.write(STARTED, json.dumps(started).encode())
    os.chdir("/")
    Warden(control, spec["task_folder"], pid, spec["grace"], spec["max_runtime"], printing).watch()


def signal_descriptor(numbers: Iterable[int]) -> int:
    """A descriptor that tells of these signals, which must be blocked (signalfd(2))."""
    wanted = ctypes.create_string_buffer(128)  # a sigset_t
    _libc.sigemptyset(wanted)
    for number in numbers:
        _libc.sigaddset(wanted, int(number))
    fd: int = _libc.signalfd(-1, wanted, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd


def _my_ticks() -> int:
    me = proctree.look(os.getpid())
    return me.ticks if me is not None else 0


def _start(printing: Printing, spec: dict[str, Any]) -> int:
    """The command's pid. The warden takes on what the command is to inherit: folder and limits."""
    command: str = spec["command"]
    own: str = spec["task_folder"]
    try:
        os.mkdir(own, 0o700)
        os.mkdir(f"{own}/{WORK}", 0o700)
    except OSError as error:
        raise SpawnFailed(f"{command!r}: the task's folder {own} can't be made: {error.strerror}") from None
    try:
        if spec["secrets"]:
            os.mkdir(f"{own}/{SECRETS}", 0o700)
            for name, value in spec["secrets"].items():
                fd = os.open(f"{own}/{SECRETS}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
                os.write(fd, value.encode("utf-8", "surrogateescape"))
                os.close(fd)
    except OSError as error:
        raise SpawnFailed(f"{command!r}: the task's folder {own} can't take its secrets: {error.strerror}") from None
    if spec.get("refused"):
        raise SpawnFailed(spec["refused"])
    wanted = spec["cwd"] or f"{own}/{WORK}"
    try:
        os.chdir(wanted)
    except OSError as error:
        raise SpawnFailed(f"{command!r}: working_directory {wanted!r} can't be entered: {error.strerror}") from None
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    env: dict[str, str] = spec["env"]
    try:
        out, err = printing.open()
    except OSError as error:
        raise SpawnFailed(f"{command!r}: its output can't be taken: {error.strerror}") from None
    if _tasks_umask >= 0:
        os.umask(_tasks_umask)
    try:
        return os.posix_spawn(
            find(command, env.get("PATH", os.defpath)),
            [command, *spec["args"]],
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, err, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SpawnFailed(f"{command!r} can't be started: {why}") from None
    finally:
        os.umask(_PRIVATE)


def find(command: str, path: str) -> str:
    """The program that a command names, looked up in the task's own PATH. Raises SpawnFailed."""
    if "/" in command:
        return command
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder or ".", command)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise SpawnFailed(f"{command!r} is not found; PATH on this node is {path!r}")


def _limit(kind: int, soft: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(kind, (most, 0 if kind == resource.RLIMIT_CORE else hard))


class Warden:
    """Waits for one command, and ends its tree when told to, at its runtime limit, or when it leaves something over."""

    def __init__(
        self,
        control: notes.Folder,
        task_folder: str,
        pid: int,
        grace: float,
        max_runtime: float | None,
        printing: Printing,
    ) -> None:
        self._control = control
        self._printing = printing
        self._task_folder = task_folder
        self._pid = pid
        self._grace = grace
        self._limit_at = time.monotonic() + max_runtime if max_runtime else None
        self._max_runtime = max_runtime
        self._status: int | None = None
        """Wait status of the command's process, once it has ended."""
        self._reason = "exited"
        self._message = ""
        self._kill_at: float | None = None
        """When SIGKILL is due; set once an end was begun."""
        self._pause = KILL_FIRST

    def watch(self) -> None:
        signals = signal_descriptor(_SIGNALS)
        while self._reap():
            now = time.monotonic()
            if self._limit_at is not None and now >= self._limit_at:
                self._limit_at = None
                self._message = f"still ran after {self._max_runtime:g} s, its max_runtime_seconds"
                self._end("timeout", self._grace)
            if self._status is not None and self._kill_at is None:
                self._end(self._reason, self._grace)  # it left processes behind
            wait = _FOREVER if self._limit_at is None else self._limit_at - now
            if self._kill_at is not None:
                if now >= self._kill_at:
                    self._signal(signal.SIGKILL)
                    self._kill_at = now + self._pause
                    self._pause = min(self._pause * 2, KILL_MOST)
                wait = min(wait, self._kill_at - now)
            if self._printing.wait(signals, max(0.0, wait)) in (signal.SIGTERM, signal.SIGINT):
                self._told_to_stop()
        self._note_exit()

    def _reap(self) -> bool:
        """Reap ended processes. False if no child is left: orphans of the tree become children of the warden."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status

    def _told_to_stop(self) -> None:
        try:
            request = json.loads(self._read_wish())
            reason, message, grace = str(request["reason"]), str(request["message"]), float(request["grace"])
        except FileNotFoundError:
            return  # not the agent's wish
        except (OSError, ValueError, TypeError, KeyError):
            reason, message, grace = "stopped", "its stop request could not be read", self._grace
        self._message = message
        self._end(reason, grace if grace >= 0 else 0.0)

    def _read_wish(self) -> bytes:
        try:
            return self._control.read(STOP)
        except FileNotFoundError:  # an agent that was started since then knows the folder by its path
            return notes.read(f"{self._control.path}/{STOP}")

    def _end(self, reason: str, grace: float) -> None:
        """TERM now and KILL after the grace. A second, more urgent wish shortens the grace."""
        if self._status is None and self._reason == "exited":
            self._reason = reason
        kill_at = time.monotonic() + grace
        if self._kill_at is None:
            self._kill_at = kill_at
            if grace > 0:
                self._signal(signal.SIGTERM)
        else:
            self._kill_at = min(self._kill_at, kill_at)

    def _signal(self, number: int) -> None:
        for process in proctree.descendants(os.getpid(), proctree.by_parent(proctree.table())):
            proctree.send(process, number)  # what it could not reach, the next round finds if it is still there

    def _note_exit(self) -> None:
        status = self._status
        code = os.waitstatus_to_exitcode(status) if status is not None else None
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        note = _exit_note(
            reason=self._reason if code is not None else "untracked",
            message=self._message if self._reason != "exited" else "",
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            cpu_seconds=used.ru_utime + used.ru_stime,
            max_rss_bytes=used.ru_maxrss << 10,
        )
        _remove_secrets(self._task_folder)
        self._printing.end(lambda: _keep_exit(self._control, note))
        _publish_exit(self._control, note)


def _remove_secrets(task_folder: str) -> None:
    """Secrets go with their task. What it put in their place is left: the agent removes the whole folder later."""
    try:
        with notes.entered(task_folder) as folder:
            fd = os.open(SECRETS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return  # it had none, or took them away itself
    try:
        for name in os.listdir(fd):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)
    except OSError:
        return
    finally:
        os.close(fd)


def _exit_note(*, reason: str, message: str, **more: Any) -> bytes:
    note = {"ended_at": time.time(), "reason": reason, "message": _fitting(message), **more}
    return json.dumps(note).encode()


def _fitting(message: str) -> str:
    """As much of the message as there is room for."""
    while (size := len(json.dumps(message))) > MESSAGE_BYTES:
        message = message[: len(message) * MESSAGE_BYTES // size]
    return message


def _keep_exit(control: notes.Folder, note: bytes) -> None:
    """Have the end on the disk before it is published, in case this process is killed meanwhile."""
    with contextlib.suppress(OSError):  # the task took the room away: it is published, once there is some
        control.keep(EXIT, note)


def _publish_exit(control: notes.Folder, note: bytes) -> None:
    """Note the end. If the disk is full all the same it is tried again: nobody else knows how the task ended."""
    while True:
        try:
            control.write(EXIT, note)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # the agent finds no note of the end, and says so
            time.sleep(FULL_DISK_PAUSE)
        else:
            return
