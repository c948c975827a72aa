"""Words of a command line that libraries refuse with an error of their own: the user is told which, and why."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from forgelog.cli.unusable import said_of
from forgelog_pb.jobs.v1 import types_pb2 as types

HUGE = str(1 << 70)
HALF = "\udcff"


def test_a_number_that_no_message_holds_is_named_with_its_option() -> None:
    with pytest.raises(ValueError) as of_protobuf:
        Int32Value(value=3_000_000_000)
    with pytest.raises(TypeError) as of_json:
        orjson.dumps(1 << 70)
    words = ["logs", "7", "--attempt", "3000000000"]
    assert said_of(of_protobuf.value, words) == "--attempt: 3000000000 is out of range; write a smaller number"
    assert said_of(of_protobuf.value, ["logs", "--attempt", "4"]) == ""
    assert said_of(of_json.value, ["create", "5", f"--seed={HUGE}"]).startswith(f"--seed: {HUGE} is out of range")
    assert said_of(of_json.value, ["issue", "--ttl", f"{HUGE}h"]).startswith(f"--ttl: {HUGE}h is out of range")
    assert said_of(of_json.value, ["create", f"-{HUGE}"]).startswith(f"-{HUGE} is out of range")


def test_a_number_that_has_no_end_is_named_with_its_option() -> None:
    with pytest.raises(ValueError, match="NaN") as caught:
        int(float("nan"))
    assert said_of(caught.value, ["plan", "--days", "nan"]) == "--days: nan is no finite number; write a finite number"


def test_a_word_that_is_no_utf_8_is_named_with_its_option() -> None:
    with pytest.raises(UnicodeEncodeError) as of_protobuf:
        StringValue(value=HALF)
    with pytest.raises(TypeError) as of_json:
        orjson.dumps(HALF)
    with pytest.raises(SystemError) as of_enum:
        types.JobStatus.DESCRIPTOR.values_by_name.get(HALF)
    for caught in (of_protobuf, of_json, of_enum):
        said = said_of(caught.value, ["ps", "a", "--status", f"x{HALF}"])
        assert said == "--status: 'x\\udcff' is no UTF-8; write it in UTF-8"
        assert said_of(caught.value, ["ps", "--status", "x"]) == ""


def test_other_errors_are_about_no_word() -> None:
    assert said_of(KeyError("x"), ["logs", HUGE, HALF]) == ""


FAILING = """
import sys

import forgelog.cli

def fails(_):
    raise ValueError(f"Value out of range: {sys.argv[-1]}")

forgelog.cli.make_app = fails
forgelog.cli.main()
"""
"""A process of its own: `main` sets the umask."""


def test_the_command_line_tells_it() -> None:
    words = ["logs", "job", "--attempt", HUGE]
    done = subprocess.run([sys.executable, "-c", FAILING, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: --attempt: {HUGE} is out of range; write a smaller number\n"
