"""Processes of this checkout that need not import what they are made of: one process did, and forks for each of them.

The tests start hundreds of commands, services and agents, and imports are most of the start of each. `running` starts
the process that forks, `start` asks it for one, and `tests/warm_python.py` stands for ``python`` at a command line.
Where no such process runs, the real interpreter is started, and where variables differ that are read when it starts
(`AT_START`). How programs start by themselves is seen in the tests of embedded platforms, of the wheel and the image.

A request is a length of four bytes, which the descriptors of the three standard streams go with, and then `marshal` of
the words after ``python``, the variables and the folder. Its answers are the process id (0: start it yourself) and, at
the end, the exit code as `subprocess` gives it: four bytes each. Who is gone before the end takes its process along.

Must not import the platform outside of the process that forks.
"""

from __future__ import annotations

import atexit
import gc
import io
import marshal
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

VARIABLE = "WARM_PYTHON"
"""Where the socket of the process that forks is."""
NUMBER = struct.Struct("i")
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "TZ", "GRPC_", "OTEL_", "FORGELOG_CONTEXTS", "FORGELOG_FAULTS")
"""How the names of variables begin that are read when the interpreter starts, or when modules are imported."""
SET_LATER = {"PYTHONUNBUFFERED", "GRPC_VERBOSITY", "OTEL_RESOURCE_ATTRIBUTES"}
"""Of these, what `Program` sees to, and what is read when the first channel or span is made: Forgelog's client and
MLflow's set such variables in the process that they run in, so some workers have them."""
ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-IS", str(ROOT / "tests/warm_python.py"))
"""Stands for ``python`` where a process of this checkout is started by its words."""
FORGELOG = (*PYTHON, str(Path(sys.executable).parent / "forgelog"))
"""The command line of this checkout."""
START_SECONDS = 300.0
"""Within which it is there on a machine however busy."""


# Who asks


@contextmanager
def running() -> Iterator[Path]:
    """The socket of a process that forks. Ends it at the end, and leaves what it started alone."""
    with tempfile.TemporaryDirectory(prefix="forgelog-warm-") as folder:
        path = Path(folder) / "socket"
        # its standard input is how it learns that nobody asks any more
        with subprocess.Popen([sys.executable, "-P", __file__, str(path)], cwd=ROOT, stdin=subprocess.PIPE) as process:
            until = time.monotonic() + START_SECONDS
            while not path.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"the process that forks for tests did not start: {process.poll()}")
                time.sleep(0.02)
            yield path


class Forked:
    """A process that another one forked, spoken to as one of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        (self.pid,) = NUMBER.unpack(_exactly(connection, NUMBER.size))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                (self.returncode,) = NUMBER.unpack(_exactly(self._connection, NUMBER.size))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = Forked | subprocess.Popen[bytes]


def start(words: Sequence[str], environment: Mapping[str, str], folder: Path, output: IO[bytes]) -> Process:
    """Start ``python`` with these words; `output` is for both of its streams. Warm if that can be."""
    if path := os.environ.get(VARIABLE):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        request = marshal.dumps((list(words), dict(environment), str(folder)))
        with open(os.devnull, "rb") as nothing:
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            socket.send_fds(connection, [NUMBER.pack(len(request))], streams)
        connection.sendall(request)
        if (forked := Forked(connection)).pid:
            return forked
        connection.close()
    return subprocess.Popen([sys.executable, *words], env=environment, stdout=output, stderr=output, cwd=folder)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise AssertionError("the process that forks for tests has ended")
        found += piece
    return found


# The process that forks


def preload() -> None:
    """Import what commands, services and agents are made of."""
    from events.hosting import service_of
    from events.language.contexts import contexts
    from events.language.registry import command_types, event_types
    from forgelog.cli.commands import MODULES

    command_types(), event_types()
    for module in MODULES:
        import_module(f"forgelog.cli.{module}")
    for name in (
        "events.service",
        "forgelog.client",
        "services.gateway.server",
        "services.gateway.routes",
        "services.resources.agent.agent",
    ):
        import_module(name)
    for name in contexts():
        service_of(name)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(AT_START) and name not in SET_LATER}


class Program:
    """What a forked process is to run."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: str, streams: Sequence[int]) -> None:
        self._words, self._environment, self._folder, self._streams = words, environment, folder, streams

    def run(self) -> None:
        """Become it: its streams, its folder, its variables, its words."""
        for number, stream in enumerate(self._streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self._folder)
        os.environ.clear()
        os.environ.update(self._environment)
        os.environ.pop(VARIABLE, None)  # what it starts is its own
        signal.signal(signal.SIGINT, signal.default_int_handler)
        at_once = bool(self._environment.get("PYTHONUNBUFFERED"))
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = _text(1, at_once=at_once)
        sys.stderr = _text(2, at_once=at_once, errors="backslashreplace", line_buffering=True)
        if self._words[0] == "-m":
            sys.argv = self._words[1:]
            sys.path.insert(0, self._folder)
            runpy.run_module(self._words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(self._words)
            sys.path.insert(0, str(Path(self._words[0]).parent))
            runpy.run_path(self._words[0], run_name="__main__")


def _text(descriptor: int, *, at_once: bool, errors: str = "strict", line_buffering: bool = False) -> io.TextIOWrapper:
    """A standard stream as the interpreter makes it."""
    if at_once:
        raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115
        return io.TextIOWrapper(raw, errors=errors, write_through=True)
    line_buffering = line_buffering or os.isatty(descriptor)
    buffered = open(descriptor, "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(buffered, errors=errors, line_buffering=line_buffering)


class Forking:
    """Forks for everybody who asks at a socket, until its standard input ends."""

    def __init__(self, path: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path + ".new")
        self._listening.listen(64)
        os.rename(path + ".new", path)
        self._events = selectors.DefaultSelector()
        self._events.register(0, selectors.EVENT_READ, None)
        self._events.register(self._listening, selectors.EVENT_READ, self._asked)
        self._asking: dict[int, tuple[socket.socket, int]] = {}
        """Process id → who asked for it, and the process's descriptor."""

    def serve(self) -> Program | None:
        """In a forked process what it is to run; None at the end."""
        while True:
            for key, _ in self._events.select():
                if key.data is None:
                    return None
                program: Program | None = key.data()
                if program is not None:
                    return program

    def _asked(self) -> Program | None:
        connection, _ = self._listening.accept()
        size, streams, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
        if len(streams) != 3:  # it was gone before it asked
            connection.close()
            return None
        words, environment, folder = marshal.loads(_exactly(connection, *NUMBER.unpack(size)))
        pid = os.fork() if _at_start(environment) == _at_start(os.environ) else None
        if pid == 0:
            self._forget(connection)
            return Program(words, environment, folder, streams)
        for stream in streams:
            os.close(stream)
        connection.sendall(NUMBER.pack(pid or 0))
        if pid is None:
            connection.close()
            return None
        process = os.pidfd_open(pid)
        self._asking[pid] = connection, process
        self._events.register(process, selectors.EVENT_READ, lambda: self._ended(pid))
        self._events.register(connection, selectors.EVENT_READ, lambda: self._gone(pid))
        return None

    def _ended(self, pid: int) -> None:
        """Tell who asked for it."""
        connection, process = self._asking.pop(pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._events.unregister(process)
        os.close(process)
        if connection in self._events.get_map():
            self._events.unregister(connection)
            with suppress(BrokenPipeError, ConnectionResetError):  # it went at this moment
                connection.sendall(NUMBER.pack(code))
        connection.close()

    def _gone(self, pid: int) -> None:
        if pid in self._asking:  # else both went at once
            connection, process = self._asking[pid]
            self._events.unregister(connection)
            signal.pidfd_send_signal(process, signal.SIGKILL)

    def _forget(self, connection: socket.socket) -> None:
        """Close, in a forked process, what is the forking one's."""
        self._events.close()
        self._listening.close()
        connection.close()
        for each, process in self._asking.values():
            each.close()
            os.close(process)


def to_its_end(program: Program) -> NoReturn:
    """Run it and end as the interpreter does, but for taking all that was imported apart, which is most of an end."""
    code, interrupted = 0, False
    try:
        program.run()
    except SystemExit as end:
        if isinstance(end.code, int):
            code = end.code
        elif end.code is not None:
            print(end.code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001
        sys.excepthook(type(error), error, error.__traceback__)
        code, interrupted = 1, isinstance(error, KeyboardInterrupt)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:  # whoever read it has gone
        code = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def main(path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C the others learn, too
    preload()
    gc.collect()
    gc.freeze()
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise AssertionError(f"what is imported has begun {threads - 1} threads, which no forked process would have")
    if (program := Forking(path).serve()) is not None:
        to_its_end(program)


if __name__ == "__main__":
    main(sys.argv[1])
