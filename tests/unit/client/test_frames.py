"""Answers as frames: a column for each field and each key, with pandas and with polars; without them, what to do."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime

import pytest

from forgelog.client.frames import Curves, Rows
from forgelog.client.plain import Answer
from forgelog.errors import InvalidInput

BEGAN = datetime(2026, 5, 9, 3, 12, 0, 5, tzinfo=UTC)
RUNS = Rows(
    [
        Answer(run_id="r1", params={"lr": "0.1", "a/b é": "x"}, metrics={"loss": 0.5}, started_at=BEGAN, ended_at=None),
        Answer(run_id="r2", params={"depth": "3"}, metrics={"loss": math.nan}, started_at=BEGAN, ended_at=BEGAN),
    ]
)
CURVES = Curves(
    [
        Answer(run_id="r1", key="loss", model_id="", dataset="", steps=[1, 2], times=[0, 1], values=[0.5, math.inf]),
        Answer(run_id="r2", key="loss", model_id="", dataset="t", steps=[7], times=[1778296320005], values=[math.nan]),
    ]
)


def test_the_columns_of_a_field_stand_together_and_have_nothing_where_a_row_lacks_them() -> None:
    assert RUNS.columns() == {
        "run_id": ["r1", "r2"],
        "params.lr": ["0.1", None],
        "params.a/b é": ["x", None],
        "params.depth": [None, "3"],
        "metrics.loss": [0.5, pytest.approx(math.nan, nan_ok=True)],
        "started_at": [BEGAN, BEGAN],
        "ended_at": [None, BEGAN],
    }


def test_rows_are_frames_of_pandas() -> None:
    frame = RUNS.to_pandas()
    assert list(frame.columns) == list(RUNS.columns())
    assert (frame["params.lr"][0], frame["params.depth"][1], frame["started_at"][0]) == ("0.1", "3", BEGAN)
    assert str(frame["started_at"].dtype).endswith("UTC]")
    assert frame["metrics.loss"].isna().tolist() == [False, True]


def test_rows_are_frames_of_polars() -> None:
    frame = RUNS.to_polars()
    assert frame.columns == list(RUNS.columns())
    assert frame["params.depth"].to_list() == [None, "3"]
    assert frame["ended_at"].to_list() == [None, BEGAN]
    assert frame["metrics.loss"].is_nan().to_list() == [False, True]


def test_a_frame_of_curves_has_a_row_for_each_point() -> None:
    pandas, polars = CURVES.to_pandas(), CURVES.to_polars()
    assert list(pandas.columns) == polars.columns == ["run_id", "key", "model_id", "dataset", "step", "time", "value"]
    assert pandas["run_id"].tolist() == polars["run_id"].to_list() == ["r1", "r1", "r2"]
    assert polars["step"].to_list() == [1, 2, 7]
    assert polars["time"].to_list()[2] == datetime(2026, 5, 9, 3, 12, 0, 5000, tzinfo=UTC)
    assert (pandas["value"][1], math.isnan(pandas["value"][2])) == (math.inf, True)


def test_an_empty_answer_is_an_empty_frame() -> None:
    assert Rows[Answer]().to_pandas().empty
    assert Rows[Answer]().to_polars().is_empty()
    assert Curves().to_polars().shape == (0, 7)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_without_the_library_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInput, match=rf"{name} is not installed; pip install 'forgelog\[{name}\]'"):
        getattr(RUNS, f"to_{name}")()
