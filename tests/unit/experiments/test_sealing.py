"""Given a run that has ended, its points are sealed once for each end, by the platform alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np

from events.language.common import PLATFORM_ACTOR, ErrorCode
from events.language.experiments import CreateRun, DeleteRun, EndRun, ResumeRun, RunEnd
from events.language.experiments.points import SeriesName
from events.language.experiments.sealing import RunPointsSealed, SealedPoints, SealPoints
from events.streams.arrived import Arrived
from events.streams.columns import columns
from services.experiments.points.reading import StoredSeries
from services.experiments.points.sealed import summary
from services.experiments.points.tally import tally
from tests.unit.experiments.desk import Desk, refusal

POINTS = SealedPoints(series=1, points=3, digest="1" * 64, arrived_to=datetime(2026, 5, 9, tzinfo=UTC))


def seal(end: int, **more: Any) -> SealPoints:
    return SealPoints(run_id="r1", end_number=end, sealed=POINTS.model_copy(update=more))


def ended() -> Desk:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    desk.send(EndRun(run_id="r1"))
    return desk


def test_an_end_is_sealed_once() -> None:
    desk = ended()
    assert desk.send(seal(1), actor=PLATFORM_ACTOR) == [RunPointsSealed(run_id="r1", end_number=1, sealed=POINTS)]
    assert desk.send(seal(1, points=4), actor=PLATFORM_ACTOR) == []


def test_a_run_that_goes_on_is_sealed_at_its_next_end() -> None:
    desk = ended()
    desk.send(ResumeRun(run_id="r1"))
    assert desk.send(seal(1), actor=PLATFORM_ACTOR) == []
    desk.send(EndRun(run_id="r1"))
    assert desk.send(seal(1), actor=PLATFORM_ACTOR) == []
    assert len(desk.send(seal(2), actor=PLATFORM_ACTOR)) == 1


def test_a_corrected_end_is_the_same_one_and_a_deleted_run_is_sealed_too() -> None:
    desk = ended()
    desk.send(EndRun(run_id="r1", status=RunEnd.FAILED, reason="no"))
    desk.send(DeleteRun(run_id="r1"))
    assert len(desk.send(seal(1), actor=PLATFORM_ACTOR)) == 1


def test_nobody_else_seals() -> None:
    assert refusal(ended(), seal(1)).code is ErrorCode.PERMISSION_DENIED


def test_the_summary_has_every_series_and_words_for_what_is_no_number() -> None:
    nan, infinity = float("nan"), float("inf")
    series, tallies = [], {}
    for number, (key, values) in enumerate({"acc": [0.5, 0.25], "loss": [nan, nan], "top": [1.0, infinity]}.items()):
        found = tally(Arrived(columns([0, 1], [5, 6], values), np.array([7, 8])))
        series.append(StoredSeries(number, "r1", SeriesName(key, "", "test"), found))
        tallies[number] = found
    told = json.loads(summary(series, tallies))["series"]
    assert [(each["key"], each["value"], each["min"], each["max"], each["count"]) for each in told] == [
        ("acc", 0.25, 0.25, 0.5, 2),
        ("loss", "NaN", None, None, 2),
        ("top", "Infinity", 1.0, "Infinity", 2),
    ]
    assert told[0] == {
        "key": "acc", "model_id": "", "dataset": "test", "count": 2, "nans": 0, "first_step": 0, "step": 1, "time": 6,
        "value": 0.25, "min": 0.25, "min_step": 1, "max": 0.5, "max_step": 0,
    }  # fmt: skip
