"""No value of a secret is in what stages say or print, however it was given to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.pipelines.work import WorkerSpec
from forgelog.worker.failing import failure_of
from forgelog.worker.masking import Stream, masked, secrets
from forgelog.worker.printing import Printing
from forgelog.worker.starting import WORKER

SECRET = "hunter2-hunter3"


def worker_spec() -> str:
    spec = WorkerSpec(pipeline_id="sales", worker="pipe.sales.w1", pipeline_version=1, secret_variables=("SHOP_KEY",))
    return spec.to_json().decode()


def test_a_failure_has_no_value_of_a_secret_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKER, worker_spec())
    monkeypatch.setenv("SHOP_KEY", f'{{"user": "shop", "password": "{SECRET}"}}')
    monkeypatch.setenv("SHOP_URL", "https://shop.example")
    problem = failure_of(ValueError(f"https://shop.example said no to {SECRET}"))["problem"]
    assert problem == "ValueError: https://shop.example said no to ***"


def test_what_is_no_environment_of_a_worker_has_no_secret_variables() -> None:
    assert secrets({WORKER: "no JSON", "SHOP_KEY": SECRET}) == []
    assert secrets({WORKER: "[1]", "SHOP_KEY": SECRET}) == []


@given(st.lists(st.sampled_from(["hun", "ter2-", SECRET, "-hunter3", "h", "\n", "*", "bc"]), max_size=30))
def test_a_secret_in_pieces_is_masked_and_nothing_else_is_lost(pieces: list[str]) -> None:
    stream = Stream([SECRET])
    told = b"".join([*(stream.take(piece.encode()) for piece in pieces), stream.end()]).decode()
    assert told == masked("".join(pieces), [SECRET])


def test_what_a_stage_prints_has_no_secret_and_its_range_is_that_of_what_is_kept(tmp_path: Path) -> None:
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    printing = Printing(file, most=1 << 10, secrets=[SECRET])
    printing.begin()
    printing.take(b"key: " + SECRET[:5].encode())
    printing.take(SECRET[5:].encode() + b"\nhunt")
    at = printing.end()
    os.close(file)
    assert (tmp_path / "log").read_bytes() == b"key: ***\nhunt"
    assert (at.first, at.end) == (0, len(b"key: ***\nhunt"))
