"""A deployment's own scripts: how they are read, and what becomes of what they raise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forgelog.serve.limited import LimitedPool
from forgelog.serve.problems import Fault, NotServable, ServingError
from forgelog.serve.schema import TensorSchema
from forgelog.serve.scripts import Script, read


def script(body: str, name: str = "preprocess") -> Script:
    found = read(f"import numpy as np\ndef {name}(tensors, parameters):\n    {body}\n", name, "INPUTS")
    assert found is not None
    return found


async def run(one: Script, limit: float = 60, **tensors: Any) -> Any:
    pool = LimitedPool("a script", 1, print)
    try:
        return await one.run(pool, limit, tensors, {"scale": 2})
    finally:
        pool.close()


async def test_a_script_makes_tensors_of_tensors() -> None:
    made = await run(script("return {'x': tensors['x'] * parameters['scale']}"), x=np.array([1, 2]))
    assert made["x"].tolist() == [2, 4]


def test_a_script_may_say_what_requests_have() -> None:
    found = read(
        "INPUTS = [{'name': 'text', 'type': 'string', 'shape': [-1]}]\ndef preprocess(i, p): return i",
        "preprocess",
        "INPUTS",
    )
    assert found is not None
    assert found.tensors == (TensorSchema("text", "BYTES", (-1,)),)


@pytest.mark.parametrize(
    ("body", "fault", "words"),
    [
        ("raise ValueError('no picture')", Fault.INVALID, "preprocess refuses the request: no picture"),
        ("return tensors['y']", Fault.MODEL_FAILED, "preprocess failed: KeyError: 'y'"),
        ("return 7", Fault.MODEL_FAILED, "preprocess gave int; it should give a dict of numpy arrays by name"),
        ("raise SystemExit(3)", Fault.MODEL_FAILED, "preprocess failed: RuntimeError: SystemExit: 3"),
    ],
)
async def test_what_a_script_raises_is_its_requests_error(body: str, fault: Fault, words: str) -> None:
    with pytest.raises(ServingError) as error:
        await run(script(body), x=np.array([1]))
    assert (error.value.fault, words in error.value.message) == (fault, True)


async def test_a_script_over_its_time_is_too_late() -> None:
    with pytest.raises(ServingError, match=r"longer than its limit of 0.05 s") as error:
        await run(script("exec('while True: pass')"), limit=0.05, x=np.array([1]))
    assert error.value.fault is Fault.TOO_LATE


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def preprocess(:", "line 1 of the script with preprocess"),
        ("x = 1", "defines no preprocess"),
        ("import nothing_at_all", "ModuleNotFoundError"),
        ("INPUTS = 7\ndef preprocess(i, p): return i", "INPUTS should be a list"),
        ("INPUTS = [{'name': 'x', 'type': 'complex128'}]\ndef preprocess(i, p): return i", "requests can't have"),
    ],
)
def test_a_script_that_can_not_be_used_says_why(source: str, words: str) -> None:
    with pytest.raises(NotServable, match=words):
        read(source, "preprocess", "INPUTS")


def test_no_script_is_none() -> None:
    assert read(" \n", "preprocess", "INPUTS") is None
