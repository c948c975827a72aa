"""Given a run, when it is told what it runs, then that is so once, and a part that is left out stays."""

from __future__ import annotations

from events.language.common import ErrorCode
from events.language.experiments import CreateRun, DeleteRun, EndRun
from events.language.experiments.capture import (
    CapturedCode,
    CapturedMachine,
    CapturedPackages,
    CapturedProgram,
    CapturePart,
    CaptureRun,
    LeftOut,
    RunCapture,
    RunCaptured,
)
from events.language.objects import ObjectRef
from tests.unit.experiments.desk import Desk, refusal

CODE = CapturedCode(commit="1" * 40, changes=ObjectRef(digest="2" * 64, size=3))
SUBMITTED = RunCapture(
    code=CODE,
    program=CapturedProgram(argv=("python", "train.py")),
    seeds={"PYTHONHASHSEED": 1, "numpy": 2},
    left_out=(LeftOut(part=CapturePart.CODE, what=".env", why="it may have secrets"),),
)
ON_THE_NODE = RunCapture(
    program=CapturedProgram(argv=("/usr/bin/python", "train.py")),
    machine=CapturedMachine(host="node-1"),
    seeds={"numpy": 3},
    left_out=(
        LeftOut(part=CapturePart.CODE, why="it is in no git repository"),
        LeftOut(part=CapturePart.PACKAGES, why="none"),
    ),
)


def begun() -> Desk:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    return desk


def test_what_a_run_runs_is_told_once() -> None:
    desk = begun()
    assert desk.send(CaptureRun(run_id="r1", capture=SUBMITTED)) == [RunCaptured(run_id="r1", capture=SUBMITTED)]
    assert desk.send(CaptureRun(run_id="r1", capture=SUBMITTED)) == []
    assert desk.send(CaptureRun(run_id="r1", capture=ON_THE_NODE)) == [RunCaptured(run_id="r1", capture=ON_THE_NODE)]


def test_a_run_that_has_ended_takes_it_and_a_deleted_one_does_not() -> None:
    desk = begun()
    desk.send(EndRun(run_id="r1"))
    assert len(desk.send(CaptureRun(run_id="r1", capture=SUBMITTED))) == 1
    desk.send(DeleteRun(run_id="r1"))
    assert refusal(desk, CaptureRun(run_id="r1", capture=ON_THE_NODE)).code is ErrorCode.FAILED_PRECONDITION
    assert refusal(desk, CaptureRun(run_id="r2", capture=SUBMITTED)).code is ErrorCode.NOT_FOUND


def test_the_parts_that_a_later_capture_does_not_have_stay() -> None:
    both = ON_THE_NODE.over(SUBMITTED)
    assert (both.code, both.program, both.machine) == (CODE, ON_THE_NODE.program, ON_THE_NODE.machine)
    assert both.seeds == {"PYTHONHASHSEED": 1, "numpy": 3}
    assert [(each.part, each.what) for each in both.left_out] == [("packages", ""), ("code", ".env")]


def test_the_objects_that_it_names() -> None:
    lock = ObjectRef(digest="3" * 64, size=4)
    assert RunCapture(code=CODE, packages=CapturedPackages(lock=lock)).objects() == (CODE.changes, lock)
    assert RunCapture().objects() == ()
