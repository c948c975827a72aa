"""A publication in a process of its own that is killed, or stopped, before its n-th step."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink
from forgelog.pipelines.io import IoContext
from forgelog.pipelines.io.publishing import publish
from forgelog.pipelines.problems import StageError

_CONTEXT = multiprocessing.get_context("forkserver")
# Not pyarrow, nor what loads it: its threads would be missing in a child, and a lock that one holds stays held.
_CONTEXT.set_forkserver_preload(
    [
        "tests.unit.pipelines.dying",
        "forgelog.pipelines.io.tables",
        "forgelog.pipelines.io.merging",
        "duckdb",
        "obstore",
    ]
)

SURVIVED, REFUSED = 0, 3


def start(
    sink: DataSink,
    manifest: CommitManifest,
    version: int,
    context: IoContext,
    secrets: Mapping[str, str],
    steps: Callable[[], list[tuple[Any, str]]],
    at: int,
    with_signal: int,
) -> BaseProcess:
    """Publishes in a new process, which gets a signal before its step number `at`. `steps` names what counts as one."""
    given = (sink, manifest, version, context.scratch, context.datasets_url, dict(secrets), steps, at, with_signal)
    process = _CONTEXT.Process(target=_publish, args=given, daemon=True)
    process.start()
    return process


def _publish(
    sink: DataSink,
    manifest: CommitManifest,
    version: int,
    scratch: Path,
    datasets_url: str,
    secrets: dict[str, str],
    steps: Callable[[], list[tuple[Any, str]]],
    at: int,
    with_signal: int,
) -> None:
    left = [at]

    def counted(original: Any, *given: Any, **named: Any) -> Any:
        if left[0] == 0:
            os.kill(os.getpid(), with_signal)
        left[0] -= 1
        return original(*given, **named)

    for owner, name in steps():
        original = getattr(owner, name)
        if isinstance(owner, type):
            setattr(
                owner, name, lambda self, *given, _original=original, **named: counted(_original, self, *given, **named)
            )
        else:
            setattr(owner, name, partial(counted, original))
    own = scratch / f"child-{os.getpid()}"
    own.mkdir()
    try:
        publish(sink, manifest, version, IoContext(scratch=own, datasets_url=datasets_url, secrets=secrets.__getitem__))
    except StageError as error:
        print(error)
        os._exit(REFUSED)
    os._exit(SURVIVED)


def local_steps() -> list[tuple[Any, str]]:
    """Whatever changes a folder of the file system."""
    from forgelog.pipelines.io import exchanging
    from forgelog.pipelines.io.local import LocalFolder

    return [
        *((LocalFolder, name) for name in ("create", "upload", "move", "remove", "remove_folder")),
        (exchanging, "_exchange"),
        (exchanging.os, "rename"),
        (exchanging.shutil, "rmtree"),
    ]


def store_steps() -> list[tuple[Any, str]]:
    """Whatever changes a store."""
    from forgelog.pipelines.io.stores import StoreFolder

    return [(StoreFolder, name) for name in ("create", "upload", "move", "remove", "remove_folder")]


def sqlite_steps() -> list[tuple[Any, str]]:
    from forgelog.pipelines.io.database_dialects import _Sqlite

    return [(_Sqlite, "run"), (_Sqlite, "commit")]


def duckdb_steps() -> list[tuple[Any, str]]:
    from forgelog.pipelines.io.database_dialects import _Duck

    return [(_Duck, "run"), (_Duck, "commit")]


def delta_steps() -> list[tuple[Any, str]]:
    from forgelog.pipelines.io.delta_sink import DeltaPlace

    return [(DeltaPlace, "_commit"), (DeltaPlace, "discard")]


def postgres_steps() -> list[tuple[Any, str]]:
    from forgelog.pipelines.io.database_dialects import _Postgres

    return [(_Postgres, "run"), (_Postgres, "commit")]


def topic_steps() -> list[tuple[Any, str]]:
    """The second step is the first record."""
    from aiokafka import AIOKafkaProducer

    from forgelog.pipelines.io.spooled import Spool

    calls = ("start", "send", "send_offsets_to_transaction", "commit_transaction")
    return [*((AIOKafkaProducer, name) for name in calls), (Spool, "remove")]


def ended(process: BaseProcess) -> int:
    """The exit code of a process that ends by itself; a kill's is negative."""
    process.join(60)
    assert process.exitcode is not None, "the publication did not end"
    return process.exitcode


@contextmanager
def stopped(process: BaseProcess) -> Iterator[bool]:
    """Waits until a process has stopped itself, and wakes it at the end. False: it ended before."""
    assert process.pid is not None
    # the fork server is its parent: /proc tells, waitpid can't
    state = ""
    while process.is_alive():
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            break
        process.join(0.005)
    yield state == "T" and process.is_alive()
    if process.is_alive():
        os.kill(process.pid, signal.SIGCONT)
