"""A task's message, read by the compiled launcher and by the one in Python: both get the same of it, and both refuse
one that is cut, with any counts in it."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.resources.agent import task_message

CUT = "a task's message is cut"
LONGER = "a task's message is longer than its parts"
SPEC: dict[str, Any] = {
    "key": "a-0-1",
    "folder": "/tasks/a-0-1",
    "task_folder": "/scratch/a-0-1",
    "record": {"note": "kept"},
    "command": "sh",
    "args": ["-c", "echo ü"],
    "env": {"PATH": "/bin", "EMPTY": ""},
    "secrets": {"key": "value\n", "other": ""},
    "refused": "",
    "cwd": "",
    "grace": 5.0,
    "max_runtime": 60.0,
    "output_bytes": 1000,
}
MESSAGE = task_message.encode(SPEC)
FEWEST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Each example starts a program."""

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def by_python(message: bytes) -> dict[str, Any] | str:
    """What it says, or why it is refused."""
    try:
        return task_message.decode(message)
    except ValueError as error:
        return str(error)


def by_program(driver: Path, message: bytes) -> list[bytes] | str:
    """Its texts, or why it is refused."""
    done = subprocess.run([driver, "read"], input=message, capture_output=True, check=False)
    if done.returncode:
        return done.stderr.decode().removeprefix("launcher: ").removesuffix(": Bad message\n")
    assert not done.stderr, done.stderr.decode()
    return done.stdout.split(b"\0")[:-1]


def shown(spec: dict[str, Any]) -> list[bytes]:
    """The texts of a message as `driver.c` prints them."""
    command, cwd, path = spec["command"], spec["cwd"], spec["env"]["PATH"]
    head = [json.dumps(spec["key"]), spec["folder"], spec["task_folder"], json.dumps(spec["record"]), command]
    head += [repr(command), spec["refused"], cwd, repr(cwd), path, repr(path)]
    secrets = [text for item in spec["secrets"].items() for text in item]
    variables = [f"{name}={value}" for name, value in spec["env"].items()]
    return [text.encode() for text in [*head, "--", *spec["args"], "--", *variables, "--", *secrets]]


@FEWEST
@given(
    st.fixed_dictionaries(
        {
            "args": st.lists(TEXTS, max_size=5),
            "secrets": st.dictionaries(TEXTS, TEXTS, max_size=5),
            "command": TEXTS,
            "cwd": TEXTS,
        }
    )
)
def test_both_read_what_was_written(driver: Path, given: dict[str, Any]) -> None:
    spec = {**SPEC, **given}
    message = task_message.encode(spec)
    assert by_python(message) == spec
    assert by_program(driver, message) == shown(spec)


@FEWEST
@given(st.integers(0, len(MESSAGE) - 1))
def test_both_refuse_a_message_that_is_cut_anywhere(driver: Path, length: int) -> None:
    assert by_python(MESSAGE[:length]) == by_program(driver, MESSAGE[:length]) == CUT


@FEWEST
@given(st.binary(min_size=1, max_size=20))
def test_both_refuse_a_message_with_something_behind_it(driver: Path, more: bytes) -> None:
    assert by_python(MESSAGE + more) == by_program(driver, MESSAGE + more) == LONGER


@pytest.mark.parametrize("count", [0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, 0x7FFFFFFF, 3])
@pytest.mark.parametrize("items", ["args", "env", "secrets"])
def test_both_refuse_a_count_that_the_message_has_no_room_for(driver: Path, items: str, count: int) -> None:
    """A count is told from the message before memory is taken for it: one more than the largest of its kind is none."""
    given = {"args": ["x"] * 2, "env": {"PATH": "/bin", "A": "x"}, "secrets": {"a": "x", "b": "x"}}
    message = task_message.encode({**SPEC, "secrets": {}, "args": [], "env": {"PATH": "/bin"}, items: given[items]})
    lists = {"args": 0, "env": 1, "secrets": 2}
    at = places_of_counts(message)[lists[items]]
    wrong = message[:at] + struct.pack("=I", count) + message[at + 4 :]
    if items != "secrets":  # what comes behind is taken for texts
        wrong = wrong[: len(wrong) - 4]
    assert by_python(wrong) == by_program(driver, wrong) == CUT


def places_of_counts(message: bytes) -> list[int]:
    """Where the three lists' numbers of items are."""

    def behind(at: int, texts: int) -> int:
        for _ in range(texts):
            at += 5 + struct.unpack_from("=I", message, at)[0]
        return at

    places = [behind(0, 14)]
    for _ in range(2):
        places.append(behind(places[-1] + 4, struct.unpack_from("=I", message, places[-1])[0]))
    return places


def test_many_secrets_behind_a_wrong_count_are_written_nowhere(driver: Path) -> None:
    """As many as a message takes: memory for 2^32 of them would be none, by a sum that wraps round."""
    secrets = {f"{number}": "x" for number in range(3000)}
    message = task_message.encode({**SPEC, "secrets": secrets})
    at = places_of_counts(message)[2]
    assert by_program(driver, message[:at] + b"\xff\xff\xff\xff" + message[at + 4 :]) == CUT


@pytest.mark.parametrize("text", range(14))
def test_both_refuse_a_text_without_its_end(driver: Path, text: int) -> None:
    at = 0
    for _ in range(text + 1):
        at += 5 + struct.unpack_from("=I", MESSAGE, at)[0]
    wrong = MESSAGE[: at - 1] + b"x" + MESSAGE[at:]
    assert by_python(wrong) == by_program(driver, wrong) == CUT
