"""The work of one attempt of a stage, in its executor.

The phase `run`:

1. Resolve each input: which files, which version, which rows of the stage before.
2. Make it a relation of a DuckDB of the stage's own, and hold its rules against it.
3. Lock the DuckDB: it can read and write nothing else from here on.
4. Compile the transformations and run them.
5. Hold the stage's rules against the result.
6. Write the rows aside that passed, and those that did not, under the attempt's name; or, without a sink, hand them on.

`publish` makes public what was written aside, once the version is decided. `resolve` looks at the inputs: what the key
of the stage's rows is, and what it is done for each of. Nothing that others can see has changed before `publish`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from events.language.objects import ObjectRef
from events.language.pipelines.enums import StageCache
from events.process import faults
from forgelog.pipelines import io
from forgelog.worker.caching import cache_key
from forgelog.worker.framing import Message
from forgelog.worker.inputs import identities
from forgelog.worker.job import Ask, StageJob
from forgelog.worker.making import quarantine_of, run
from forgelog.worker.manifests import whole
from forgelog.worker.processes import Peak
from forgelog.worker.tasks import plan, run_tasks


def perform(work: Message, ask: Ask) -> Message:
    """What came of the work: one of ``output``, ``prepared``, ``published``, ``resolved`` and ``failed``; and
    ``metrics``. Raises StageError, and what the user's code raises."""
    began, peak = time.process_time(), Peak()
    peak.begin()
    root = Path(work["scratch"])
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder:
        job = StageJob.of(work, Path(folder), ask)
        done = _done(job, work)
    metrics = done.setdefault("metrics", {})
    metrics |= {"cpu_seconds": time.process_time() - began, "peak_memory_bytes": peak.bytes()}
    return done


def _done(job: StageJob, work: Message) -> Message:
    if job.phase == "publish":
        return _publish(job)
    if job.phase == "resolve":
        return _resolve(job)
    if (first := work.get("first_task")) is None:
        return run(job)
    last = work["last_task"] if work.get("last_task") is not None else first
    items = work.get("items")
    return run_tasks(job, first, last, ObjectRef.model_validate(items) if items else None)


def _publish(job: StageJob) -> Message:
    assert job.stage.sink is not None
    assert job.manifest is not None
    context = job.context()
    manifest = whole(job.manifest, job.scratch, job.objects)
    quarantine = whole(job.quarantine, job.scratch, job.objects) if job.quarantine is not None else None
    faults.point(faults.BEFORE_PUBLICATION)
    try:
        published = io.publish(job.stage.sink, manifest, job.dataset_version, context)
    except io.Superseded as error:
        written = [(job.stage.sink, manifest)]
        if quarantine is not None:
            written.append((quarantine_of(job.stage.sink, manifest.base), quarantine))
        io.discard_all(written, context)  # a newer version stays newer
        return {"published": {"location": error.location, "superseded": True}}
    if quarantine is not None:
        beside = quarantine_of(job.stage.sink, manifest.base)
        io.publish(beside, quarantine, job.dataset_version, context)
    faults.point(faults.AFTER_PUBLICATION)
    return {
        "published": {
            "location": published.location,
            "already": published.already,
        },
        "metrics": {"rows_written": published.rows, "bytes_written": published.bytes},
    }


def _resolve(job: StageJob) -> Message:
    """A stage with an input whose identity nothing can tell has no key: it is done each time."""
    resolved: Message = {}
    if job.stage.cache is StageCache.CONTENT and (known := identities(job)) is not None:
        engine = job.worker.model_dump(mode="json", include={"engine", "spark"})
        resolved["cache_key"] = cache_key(job.stage, job.texts, known, job.interval, engine=engine)
    if job.stage.for_each is not None:
        resolved |= plan(job)
    return {"resolved": resolved}
