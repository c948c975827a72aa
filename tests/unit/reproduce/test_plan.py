"""Given what was captured of a run and a machine, the plan says what is restored, and what is lacking and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.language.experiments.capture import (
    CapturedCode,
    CapturedGPU,
    CapturedMachine,
    CapturedPackages,
    CapturedProgram,
    CapturePart,
    LeftOut,
    RunCapture,
)
from events.language.jobs.spec import JobArray, JobMetadata, JobSpec
from events.language.objects import ObjectRef
from forgelog.reproduce.plan import Here, Plan, command_of, differing, for_pip, planned, versions

RUN = {"run_id": "r1", "experiment_id": "e1", "name": "first"}
CODE = CapturedCode(
    commit="1" * 40, folder="/home/ada/digits", changes=ObjectRef(digest="2" * 64, size=1_234), changed_files=2
)
PROGRAM = CapturedProgram(
    argv=("/home/ada/.venv/bin/python", "/home/ada/digits/train.py", "--api-key", "***"),
    settings={"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "3"},
)
CAPTURE = RunCapture(
    code=CODE,
    program=PROGRAM,
    packages=CapturedPackages(python="3.12.1"),
    machine=CapturedMachine(gpus=(CapturedGPU(name="H200"), CapturedGPU(name="H200"))),
    seeds={"PYTHONHASHSEED": 3, "numpy": 7},
    left_out=(LeftOut(part=CapturePart.CODE, what=".env", why="by its name it may have secrets"),),
)
HERE = Here(
    source="/home/ada/digits",
    interpreter="/usr/bin/python3",
    python="3.12.1",
    installed={"numpy": "2.0", "Scikit_Learn": "1.7"},
    for_venv="/usr/bin/python3.12",
    gpus=("H200", "H200"),
    variables={"FORGELOG_ARGUMENT_API_KEY": "k"},
)
LINES = "numpy==2.0\nscikit-learn==1.7\n"


def plan(capture: RunCapture = CAPTURE, here: Here = HERE, **more: Any) -> Plan:
    return planned(RUN, capture, more.pop("inputs", ()), here, packages=LINES, **more)


def lacking(found: Plan) -> list[str]:
    return [f"{step.part}: {step.text}" for step in found.steps if step.state == "lacking"]


def test_all_of_a_run() -> None:
    inputs = [{"name": "mnist", "digest": "d1", "source": "s3://data/mnist"}]
    found = plan(inputs=inputs)
    assert found.obstacles == []
    assert found.argv[-1] == "k"
    assert found.settings == {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "3"}
    assert [(step.part, step.state.value, step.text) for step in found.steps] == [
        ("code", "restored", f"commit {'1' * 12} from /home/ada/digits"),
        ("changes", "restored", "a patch of 2 files, 1,234 bytes"),
        ("changes", "lacking", ".env: by its name it may have secrets"),
        ("packages", "restored", "all 2 are here in these versions"),
        ("command", "restored", "/home/ada/.venv/bin/python /home/ada/digits/train.py --api-key k"),
        ("variables", "restored", "OMP_NUM_THREADS=2, PYTHONHASHSEED=3"),
        ("seed", "restored", "PYTHONHASHSEED=3"),
        ("seed", "by the program", "numpy=7"),
        ("dataset", "by the program", "mnist@d1, from s3://data/mnist"),
    ]


@pytest.mark.parametrize(
    ("capture", "here", "obstacles"),
    [
        (
            {},
            {"variables": {}},
            ["command: --api-key was hidden, for it may be a secret; set FORGELOG_ARGUMENT_API_KEY to it"],
        ),
        ({}, {"source": "", "no_source": "commit 1 can't be had"}, ["code: commit 1 can't be had"]),
        (
            {"code": None, "left_out": (LeftOut(part=CapturePart.CODE, why="/tmp is in no git repository"),)},
            {},
            ["code: /tmp is in no git repository"],
        ),
        ({"program": None}, {}, ["command: it was not captured"]),
        (
            {"program": CapturedProgram(argv=("python", "-m", "ipykernel_launcher"))},
            {},
            ["command: it was a notebook, whose cells are not captured"],
        ),
        (
            {"left_out": (LeftOut(part=CapturePart.PROGRAM, what="arguments", why="only the first 2 of 3 fit"),)},
            {},
            ["command: only the first 2 of 3 fit"],
        ),
    ],
)
def test_what_makes_it_impossible(capture: dict[str, Any], here: dict[str, Any], obstacles: list[str]) -> None:

    assert plan(CAPTURE.model_copy(update=capture), replace(HERE, **here)).obstacles == obstacles


def test_a_repository_without_a_commit_needs_no_source() -> None:
    capture = CAPTURE.model_copy(update={"code": CODE.model_copy(update={"commit": ""})})
    assert plan(capture, Here(variables=HERE.variables)).obstacles == []


def test_what_this_machine_has_otherwise() -> None:
    here = Here(
        source="/x",
        interpreter="/usr/bin/python3",
        python="3.11.7",
        installed={"numpy": "2.1"},
        gpus=("A100",),
        variables=HERE.variables,
    )
    assert lacking(plan(here=here)) == [
        "changes: .env: by its name it may have secrets",
        "python: 3.12.1 then, 3.11.7 here; --venv makes an environment",
        "packages: 2 differ: numpy 2.0 then, 2.1 here; scikit-learn 1.7 is not here; --venv restores them",
        "GPUs: 2 x H200 then, 1 x A100 here",
    ]


def test_an_environment_needs_a_python_of_the_version() -> None:
    assert plan(venv=True).obstacles == []
    without = Here(source="/x", variables=HERE.variables)
    assert plan(here=without, venv=True).obstacles == [
        "packages: it ran with Python 3.12.1, and there is no python3.12 on PATH"
    ]


def test_a_run_that_captured_nothing_is_its_job() -> None:
    spec = JobSpec(metadata=JobMetadata(name="train"), command="python3", args=("train.py",))
    assert plan(RunCapture()).obstacles == ["code: it was not captured", "command: it was not captured"]
    found = plan(RunCapture(), job=spec, by_job=True)
    assert found.obstacles == []
    assert ("job", "the same spec: python3 train.py") in {(step.part, step.text) for step in found.steps}
    assert plan(by_job=True).obstacles == ["job: the run was no job of the platform; leave --job out"]
    array = spec.model_copy(update={"array": JobArray(size=2)})
    assert plan(job=array, by_job=True).obstacles == ["job: it was one task of an array; leave --job out"]


def test_uploaded_code_is_that_of_then() -> None:
    found = plan(RunCapture(program=PROGRAM), bundle=("3" * 64, 9))
    assert found.steps[0].text == f"the folder that was uploaded for its job ({'3' * 12})"
    assert found.obstacles == []


def test_the_command_leads_into_the_restored_folder() -> None:
    argv = (
        "/home/ada/.venv/bin/python3.12",
        "/home/ada/digits/train.py",
        "--out=/home/ada/digits/out",
        "/home/ada/digits2",
    )
    assert command_of(argv, "/home/ada/digits", "/tmp/again/code", "/usr/bin/python3") == [
        "/usr/bin/python3",
        "/tmp/again/code/train.py",
        "--out=/tmp/again/code/out",
        "/home/ada/digits2",
    ]
    assert command_of(("sh", "train.sh"), "/home/ada/digits", "/tmp/again", "/usr/bin/python3") == ["sh", "train.sh"]


def test_python_and_the_programs_beside_it_may_be_in_the_repository() -> None:
    argv = ("/home/ada/digits/.venv/bin/python", "/home/ada/digits/.venv/bin/torchrun", "train.py")
    for here in ("/home/ada/digits/.venv/bin/", "/home/ada/digits/again/venv/bin/"):
        found = command_of(argv, "/home/ada/digits", "/home/ada/digits/again/code", f"{here}python")
        assert found == [f"{here}python", f"{here}torchrun", "train.py"]


def test_packages_from_files_come_from_there_or_from_the_restored_code() -> None:
    lines = (
        "a==1\n-e file:///home/ada/digits/lib%20one  # lib==2\nf @ file:///wheels/f.whl  # f==4\n"
        "g @ file:///gone/g  # g==1\nh @ git+https://example.org/h@abc\n"
    )
    there = replace(HERE, absent=frozenset(("/gone/g",)))
    found = planned(RUN, CAPTURE, (), there, packages=lines, venv=True)
    assert [step.text for step in found.steps if step.part == "packages"] == [
        "5 in a new environment of Python 3.12",
        "lib from the restored code",
        "f comes from /wheels/f.whl, as that is now",
        "g came from /gone/g, which is not here",
    ]
    assert found.obstacles == ["packages: g came from /gone/g, which is not here"]
    assert for_pip(lines, "/home/ada/digits", "/tmp/again/code") == lines.replace(
        "/home/ada/digits/lib%20one", "/tmp/again/code/lib%20one"
    )


def test_packages_are_compared_by_version() -> None:
    lines = "a==1\nB.c==2\nd @ git+https://example.org/d@abc\n-e file:///src/e # e==3\nf @ file:///f.whl # f==4\n"
    then = versions(lines)
    assert then == {"a": "1", "b-c": "2", "d": "git+https://example.org/d@abc", "e": "3", "f": "4"}
    here = {"a": "1", "b_c": "2.1", "d": "0.1", "e": "3", "z": "9"}
    assert differing(then, here) == ["b-c 2 then, 2.1 here", "f 4 is not here"]


def test_a_working_directory_that_is_gone() -> None:
    program = PROGRAM.model_copy(update={"working_directory": "/scratch/7"})
    found = plan(CAPTURE.model_copy(update={"program": program}), replace(HERE, no_folder=True))
    assert "working directory: /scratch/7 is not here; it runs in the restored folder" in lacking(found)
