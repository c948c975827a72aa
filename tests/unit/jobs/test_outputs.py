"""Files that a job keeps: each attempt's are told once, whenever they come, and what an event names is no garbage."""

from __future__ import annotations

from typing import Any

from events.language.common import ErrorCode
from events.language.jobs import JobOutputsKept, ReportJobOutputs, TaskOutputs
from events.language.jobs.spec import JobArray
from events.language.objects import ObjectRef
from events.projections.references import REFERENCES
from services.jobs.outputs_rows import OUTPUTS
from tests.unit.jobs.desk import Desk, exited, refusal, requeue, said, started, submit
from tests.unit.jobs.test_projections import Memory

MANIFEST = ObjectRef(digest="4f" * 32, size=120)


def kept(task: int = 0, attempt: int = 1, **more: Any) -> TaskOutputs:
    return TaskOutputs(
        task=task, attempt=attempt, **{"manifest": MANIFEST, "files": 2, "total_bytes": 7, "message": "", **more}
    )


def report(*tasks: TaskOutputs) -> ReportJobOutputs:
    return ReportJobOutputs(job_id="job", node_id="n1", tasks=tasks)


def ended(**parts: Any) -> Desk:
    desk = Desk()
    desk.command(submit(keep=["results/**"], **parts))
    desk.command(started())
    desk.command(exited(code=1))
    return desk


def test_outputs_are_told_once_also_after_the_jobs_end() -> None:
    desk = ended()
    assert desk.command(report(kept())) == [JobOutputsKept(job_id="job", node_id="n1", tasks=(kept(),))]
    assert desk.command(report(kept())) == []
    assert desk.command(report(kept(manifest=ObjectRef(digest="00" * 32, size=1)))) == []
    for job in (desk.replayed(), desk.stored()):
        assert job.outputs == {(0, 1)}


def test_each_attempt_has_its_own_and_an_earlier_ones_may_come_later() -> None:
    desk = ended()
    desk.command(requeue())
    desk.command(started(attempt=2))
    desk.command(exited(attempt=2))
    assert said(desk.command(report(kept(attempt=2)))) == ["JobOutputsKept"]
    assert said(desk.command(report(kept(attempt=1), kept(attempt=2), kept(attempt=1)))) == ["JobOutputsKept"]
    assert desk.stored().outputs == {(0, 1), (0, 2)}


def test_of_an_array_those_that_are_new_are_told() -> None:
    desk = ended(array=JobArray(size=3))
    desk.command(report(kept(1)))
    (event,) = desk.command(report(kept(0), kept(1), kept(2)))
    assert isinstance(event, JobOutputsKept)
    assert [each.task for each in event.tasks] == [0, 2]
    assert desk.stored().outputs == {(0, 1), (1, 1), (2, 1)}


def test_an_attempt_that_never_was_and_a_job_that_keeps_nothing_are_refused() -> None:
    desk = ended()
    assert "no attempt 2 of task 0" in refusal(desk, report(kept(attempt=2))).message
    assert "no attempt 1 of task 1" in refusal(desk, report(kept(1))).message
    desk = Desk()
    assert refusal(desk, report(kept())).code is ErrorCode.NOT_FOUND
    desk.command(submit())
    assert "was submitted without keep" in refusal(desk, report(kept())).message


def test_the_tables_say_which_there_are_and_name_their_manifests() -> None:
    desk, memory = ended(), Memory()
    why = "no file fits results/**"
    desk.command(report(kept(left_out=1, message="one is a pipe")))
    desk.command(requeue())
    desk.command(report(kept(attempt=2, manifest=None, files=0, total_bytes=0, message=why)))
    memory.fold(desk)
    first, second = (memory.rows[OUTPUTS.name, ("job", 0, attempt)] for attempt in (1, 2))
    assert (first["digest"], first["files"], first["total_bytes"]) == (MANIFEST.digest, 2, 7)
    assert (first["left_out"], first["message"]) == (1, "one is a pipe")
    assert (second["digest"], second["files"], second["message"]) == (None, 0, why)
    named = memory.rows[REFERENCES.name, ("job", MANIFEST.digest)]
    assert (named["size"], named["bundle"]) == (MANIFEST.size, True)
