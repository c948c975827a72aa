"""A stage that is done for each of something: what its tasks are, and the work of a range of them.

A task is the stage with the parameters ``task`` (its number, from 0 on) and ``item``. Each has a DuckDB of its own.
What the tasks of a range hand on is one output, in their order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from events.language.objects import ObjectRef
from events.language.pipelines.stages import MAX_TASKS, too_many_tasks
from forgelog.pipelines import io
from forgelog.pipelines.engine import lock, open_connection
from forgelog.pipelines.engine.literals import literal
from forgelog.pipelines.engine.running import execute
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError
from forgelog.worker.counting import Counting
from forgelog.worker.failing import failure_of
from forgelog.worker.framing import Message
from forgelog.worker.handing_on import hand_on
from forgelog.worker.inputs import attach, by_files
from forgelog.worker.job import StageJob
from forgelog.worker.making import checked, does_nothing, origins, transformed
from forgelog.worker.origins import Origins

_INLINE = 1_024
"""Most bytes of a range's rows that its report holds; none of a range of one task."""


def plan(job: StageJob) -> Message:
    """How many tasks there are, and what they are for where only a look at the data tells. Raises StageError."""
    each = job.stage.for_each
    assert each is not None
    if not each.input:
        return {"count": each.known}
    source = job.stage.inputs[each.input].source
    if source is not None and by_files(source):
        try:
            urls = [file.url for file in io.resolve(source, job.context()).files]
        except StageError as error:
            raise error.below(f"inputs.{each.input}") from None
        return {"count": _count(len(urls)), "items": _put(job, urls)}
    with _attached(job, each.input) as connection:
        ((rows,),) = execute(connection, f"SELECT count(*) FROM {quoted(each.input)}")
    return {"count": _count(rows)}


def run_tasks(job: StageJob, first: int, last: int, items: ObjectRef | None) -> Message:
    """The work of tasks `first` to `last`. One that fails does not keep the others from their work."""
    each = job.stage.for_each
    assert each is not None
    texts = _get(job, items) if items is not None else each.items
    done = _Range(job, last - first + 1)
    for task in range(first, last + 1):
        if does_nothing(job):
            continue
        with tempfile.TemporaryDirectory(dir=job.scratch, ignore_cleanup_errors=True) as folder:
            own = replace(job, task=task, item=texts[task] if texts else None, scratch=Path(folder))
            try:
                done.add(task, own)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - anybody's code
                done.failed.append(task)
                done.failure = done.failure or {**failure_of(error), "field": f"task {task}: {_field(error)}"[:500]}
    return done.said()


class _Range:
    """What came of the tasks so far."""

    def __init__(self, job: StageJob, tasks: int) -> None:
        self._job, self._tasks = job, tasks
        self._files: list[Path] = []
        self.failed: list[int] = []
        self.failure: Message = {}
        self._outcomes: list[Any] = []
        self._bytes = self._rows = self._rejected = 0
        self._origins: Origins | None = None

    def add(self, task: int, job: StageJob) -> None:
        """Do a task. Raises what its work raises."""
        path = self._job.scratch / f"task-{task}.parquet"
        with transformed(job) as (connection, inputs, ran):
            found = checked(connection, ran, job.stage.rules)
            self._outcomes += [outcome.model_dump(mode="json") for outcome in found.outcomes]
            self._bytes += inputs.bytes
            self._rejected += inputs.rejected + found.quarantined
            if (error := found.error()) is not None:
                self._rows += inputs.rows
                raise error
            if self._origins is None:  # those of the other tasks are the same
                self._origins = origins(inputs, ran)
            inner = job.scratch / "task.parquet"
            target = literal(str(inner))
            execute(connection, f"COPY (SELECT * FROM {quoted(found.clean)}) TO {target} (FORMAT parquet)")
            inner.rename(path)
            self._rows += inputs.rows
        self._files.append(path)

    def said(self) -> Message:
        metrics: dict[str, int] = {"rows_read": self._rows, "bytes_read": self._bytes, "rejected_rows": self._rejected}
        said: Message = {"metrics": metrics, "outcomes": self._outcomes[:400], "failed_tasks": self.failed}
        if self.failure:
            said["failed"] = self.failure
        said["output"] = {}
        if self._files:
            output, size = self._together()
            assert self._origins is not None, "a task has made a file"
            output = output.model_copy(update=self._origins.handed_on())
            metrics |= {"rows_written": output.rows, "bytes_written": size}
            said["output"] = output.model_dump(mode="json")
        return said

    def _together(self) -> Any:
        job = self._job
        with _opened(job) as connection:
            files = ", ".join(literal(str(path)) for path in self._files)
            query = f"SELECT * FROM read_parquet([{files}], union_by_name := true)"
            execute(connection, f"CREATE VIEW together AS {query}")
            lock(connection)
            # Ranges may be thousands, and one order names all of them.
            most = _INLINE if self._tasks > 1 else 0
            return hand_on(connection, "together", job.scratch, job.objects, most_inline=most)


@contextmanager
def _opened(job: StageJob) -> Iterator[Any]:
    connection = Counting(open_connection(job.memory, max(1, int(job.worker.cpus)), job.scratch))
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _attached(job: StageJob, name: str) -> Iterator[Any]:
    """A connection that has one of the inputs."""
    alone = job.stage.model_copy(update={"inputs": {name: job.stage.inputs[name]}})
    with _opened(job) as connection:
        attach(connection, replace(job, stage=alone))
        lock(connection)
        yield connection


def _count(count: int) -> int:
    if count > MAX_TASKS:
        raise StageError("for_each.input", *too_many_tasks(count))
    return count


def _put(job: StageJob, texts: list[str]) -> Message | None:
    if not texts:
        return None
    body = orjson.dumps(texts)
    ref = ObjectRef(digest=blake3(body).hexdigest(), size=len(body))
    job.objects().put(ref, lambda: BytesIO(body))
    return ref.model_dump()


def _get(job: StageJob, ref: ObjectRef) -> list[str]:
    path = job.scratch / "items.json"
    job.objects().get(ref, lambda: path.open("wb"))
    found: list[str] = orjson.loads(path.read_bytes())
    return found


def _field(error: BaseException) -> str:
    return str(getattr(error, "field", "")) or type(error).__name__
