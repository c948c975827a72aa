"""The executor's process: loads the libraries, then does work as it is told, until its worker is gone.

``python -P -m forgelog.worker.child FILE``; FILE is the descriptor of a socket. The user's code runs here, so
nothing here is needed by the next stage: the worker replaces a process that a stage has spoilt.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from forgelog.worker import processes
from forgelog.worker.failing import failure_of
from forgelog.worker.framing import Channel, Message

LIBRARIES: tuple[str, ...] = ("duckdb", "pyarrow", "pyarrow.parquet", "forgelog.worker.stage")

MOST_KEPT = 0.5
"""Part of what it may hold that an executor may still hold when a stage has ended. One that holds more is replaced: the
user's code keeps it."""


def main() -> int:
    processes.die_with_parent()
    processes.adopt_orphans()
    channel = Channel(int(sys.argv[1]))
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
    except ImportError as error:
        channel.send({"problem": f"{error}; install the libraries of pipelines: pip install 'forgelog[pipelines]'"})
        return 1
    sys.path.insert(0, os.getcwd())  # the user's code; behind the libraries, which a file of it may be called like
    folder, environment = os.getcwd(), dict(os.environ)
    channel.send({"ready": os.getpid()})
    while (work := channel.receive()) is not None:
        threads = set(threading.enumerate())
        done = perform(work, channel)
        channel.send({**done, "spoilt": _spoilt(work, threads)})
        with suppress(OSError):
            os.chdir(folder)
        _restore(environment)
    return 0


def perform(work: Message, channel: Channel) -> Message:
    """Do work; what it came to. Whatever the user's code raises becomes a failure."""
    from forgelog.worker.stage import perform as do

    def ask(question: Message) -> Any:
        channel.send(question)
        answer = channel.receive()
        if answer is None:
            os._exit(1)  # the worker is gone
        if problem := answer.get("problem"):
            raise LookupError(problem)
        return answer["answer"]

    try:
        done: Message = do(work, ask)
    except BaseException as error:  # noqa: BLE001 - anybody's code, which may even call sys.exit
        done = {"failed": failure_of(error)}
    sys.stdout.flush()
    sys.stderr.flush()
    return done


def _spoilt(work: Message, threads: set[threading.Thread]) -> str:
    """Why this process must do no other work; empty if it may."""
    _reap()
    left = [thread for thread in threading.enumerate() if thread not in threads and thread.is_alive()]
    if left:
        return f"the stage left {len(left)} thread{'s' if len(left) > 1 else ''} ({left[0].name})"
    if (limit := work.get("limit", 0)) and (held := processes.memory_of([os.getpid()], limit)) > limit * MOST_KEPT:
        return f"{held >> 20} MiB are held after the stage has ended"
    return ""


def _reap() -> None:
    """Await descendants that have ended: what is left then still runs."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _restore(environment: dict[str, str]) -> None:
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)


if __name__ == "__main__":
    raise SystemExit(main())
