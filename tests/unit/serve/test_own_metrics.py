"""A model's own metrics are told while it can tell them, and nobody waits for one that can't."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from forgelog.serve.own_metrics import OwnMetrics, read


async def test_they_are_told_as_they_are_now() -> None:
    values = iter([{"queue": 3, "share": np.float32(0.5)}, {"queue": 4}])
    subject = OwnMetrics(lambda: next(values))
    assert [await subject.told(), await subject.told()] == [{"queue": 3.0, "share": 0.5}, {"queue": 4.0}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1], "gave list; it should give a dict of numbers by name"),
        ({"queue": "long"}, "gave a value that is no number"),
        ({"queue": float("nan")}, "gave queue: "),
        ({"a queue": 1}, "gave a queue"),
        ({f"m{n}": n for n in range(33)}, "gave a dict: "),
    ],
)
def test_what_is_none_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(given)


async def test_what_is_wrong_is_written_down_once(caplog: pytest.LogCaptureFixture) -> None:
    values: list[Callable[[], Any]] = [lambda: 1 / 0, lambda: 1 / 0, lambda: {"queue": 1}, lambda: None]
    subject = OwnMetrics(lambda: values.pop(0)())
    with caplog.at_level(logging.WARNING):
        assert [await subject.told() for _ in range(4)] == [{}, {}, {"queue": 1.0}, {}]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("forgelog.")] == [
        "the model's metrics() failed: ZeroDivisionError: division by zero",
        "the model's metrics() gave NoneType; it should give a dict of numbers by name",
    ]


async def test_one_that_hangs_is_asked_once_and_heard_when_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    free, calls = threading.Event(), []

    def ask() -> dict[str, int]:
        calls.append(1)
        free.wait(60)
        return {"queue": len(calls)}

    subject = OwnMetrics(ask, patience=0.05)
    assert [await subject.told(), await subject.told()] == [{}, {}]
    assert len(calls) == 1
    assert "takes longer than 0.05 s" in caplog.text
    free.set()
    patient = OwnMetrics(ask, patience=60)
    patient._asking = subject._asking
    assert await patient.told() == {"queue": 1.0}
