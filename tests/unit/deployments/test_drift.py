"""What replicas counted by the bins of a training set is drift by column, or too little to say so."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from events.language.deployments.drift import ColumnCounts, DriftVerdict, TrainedColumn, TrainingData
from events.language.deployments.events import RevisionCreated
from events.language.deployments.models import DeploymentSpec
from events.language.deployments.traffic_records import Requests
from services.deployments.alerts.drift import LEAST_SHARE, column_drift, drift, highest, summed
from services.deployments.resolving import questions
from services.deployments.trained import MOST_BYTES, training_data
from services.deployments.windows.drifting import drift_of
from services.deployments.windows.measuring import Asked, Prices, measured
from tests.unit.deployments.desk import version

V = DriftVerdict
AGE = TrainedColumn(name="age", edges=(20.0, 40.0, 60.0), counts=(250, 250, 250, 250), missing=0)
KIND = TrainedColumn(name="kind", kinds=("cat", "dog"), counts=(500, 400, 50), missing=50)
DATA = TrainingData(dataset="pets/3", columns=(AGE, KIND))


def test_a_known_table_has_its_index() -> None:
    # Shares .25 each against .4, .3, .2, .1: (.15 ln 1.6 + .05 ln 1.2 + (-.05) ln .8 + (-.15) ln .4)
    found = column_drift(AGE, [400, 300, 200, 100])
    expected = 0.15 * math.log(1.6) + 0.05 * math.log(1.2) - 0.05 * math.log(0.8) - 0.15 * math.log(0.4)
    assert found.index == pytest.approx(expected) == pytest.approx(0.2282, abs=1e-4)
    assert (found.verdict, found.values, found.missing) == (V.DRIFTED, 1000, None)
    assert found.bins == ("up to 20", "up to 40", "up to 60", "above 60")
    assert (found.expected, found.observed) == ((0.25,) * 4, (0.4, 0.3, 0.2, 0.1))


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ([250, 250, 250, 250], V.STABLE),
        ([330, 300, 210, 160], V.STABLE),
        ([370, 280, 220, 130], V.MODERATE),
        ([1000, 0, 0, 0], V.DRIFTED),
        ([50, 50, 50, 49], V.TOO_FEW),
        ([199, 0, 0, 0], V.TOO_FEW),
        (None, V.NOT_COUNTED),
        ([500, 500], V.NOT_COUNTED),  # of other bins
    ],
)
def test_a_verdict_follows_from_the_index(counts: list[int] | None, verdict: DriftVerdict) -> None:
    found = column_drift(AGE, counts)
    assert found.verdict is verdict
    assert (found.index is None) == (verdict in (V.TOO_FEW, V.NOT_COUNTED))


def test_texts_have_a_bin_each_and_missing_ones_another() -> None:
    found = column_drift(KIND, [0, 800, 100, 100])
    assert found.bins == ("cat", "dog", "others", "missing")
    assert (found.expected, found.missing) == ((0.5, 0.4, 0.05, 0.05), 0.1)
    wanted = (LEAST_SHARE - 0.5) * math.log(LEAST_SHARE / 0.5) + 0.4 * math.log(2) + 2 * 0.05 * math.log(2)
    assert found.index == pytest.approx(wanted)


def test_missing_values_are_compared_only_where_requests_may_have_them() -> None:
    assert column_drift(KIND, [500, 400, 50]).index == pytest.approx(0)
    assert column_drift(KIND, [500, 400, 50, 50]).index == pytest.approx(0)
    without = column_drift(KIND, [500, 400, 50, 0]).index
    assert without is not None
    assert without > 0.2


def test_many_bins_need_more_values_and_a_small_training_set_says_nothing() -> None:
    many = TrainedColumn(name="n", kinds=tuple(f"k{n}" for n in range(50)), counts=(100,) * 51)
    assert column_drift(many, [20] * 51).verdict is V.STABLE
    assert column_drift(many, [19] * 51).verdict is V.TOO_FEW
    small = AGE.model_copy(update={"counts": (49, 50, 50, 50)})
    assert column_drift(small, [0, 0, 0, 9000]).verdict is V.TOO_FEW


def test_reports_add_up_also_where_some_know_of_missing_values() -> None:
    parts = [(ColumnCounts(column=1, counts=(1, 2, 3)),), (ColumnCounts(column=1, counts=(1, 0, 0, 4)),), ()]
    assert summed(parts) == {1: [2, 2, 3, 4]}


def test_the_highest_index_is_told_with_its_column() -> None:
    counted = {0: [300, 250, 250, 200], 1: [0, 900, 50, 50]}
    assert [each.column for each in drift(DATA, counted)] == ["kind", "age"]
    found = highest(DATA, counted)
    assert found is not None
    assert (found[1], found[0] > 1) == ("kind", True)
    assert highest(DATA, {0: [1, 1, 1, 1]}) is None
    assert highest(None, counted) is None


def test_the_training_data_are_columns_with_counts_and_those_of_the_model_come_first() -> None:
    of = {
        "a": {"count": 90, "nulls": 10, "edges": [1.0], "bins": [40, 50]},
        "text": {"count": 100, "frequent": {"dog": 30, "cat": 60}},
        "id": {"count": 100, "distinct": 100},
        "z": {"count": 100, "edges": [1.0, 2.0], "bins": [50, 50, 0]},
    }
    found = training_data({"name": "pets", "number": 3, "statistics": of}, ["z"])
    assert found is not None
    assert (found.dataset, [each.name for each in found.columns]) == ("pets/3", ["z", "a", "text"])
    assert (found.columns[2].kinds, found.columns[2].counts) == (("cat", "dog"), (60, 30, 10))
    assert training_data({"name": "pets", "number": 3, "statistics": {"id": of["id"]}}, []) is None
    wide = {
        f"c{n:04}": {"count": 9, "edges": [n + 0.123456 for n in range(40)], "bins": [9, *[0] * 40]} for n in range(900)
    }
    large = training_data({"name": "pets", "number": 3, "statistics": wide}, ["c0899", "c0899"])
    assert large is not None
    assert large.columns[0].name == "c0899"
    assert len(large.to_json()) < MOST_BYTES + 2_000


def test_the_training_data_is_asked_for_unless_nothing_is_to_be_compared() -> None:
    def asked(**spec: Any) -> tuple[bool, str]:
        whole = DeploymentSpec.model_validate({"model": {"name": "digits"}} | spec)
        (question,) = questions(RevisionCreated(deployment_id="digits", revision=1, spec=whole), "local/default")
        return question.request.training, question.request.training_dataset

    assert asked() == (True, "")
    assert asked(serving={"monitoring": {"drift": {"dataset": "pets/3"}}}) == (True, "pets/3")
    assert asked(serving={"monitoring": {"drift": {"enabled": False, "dataset": "pets/3"}}}) == (False, "")
    assert asked(command="serve") == (False, "")


def window(number: int, *columns: tuple[int, list[int]], revision: int = 2) -> dict[str, Any]:
    usage: dict[str, Any] = {
        f"{name}_{what}": 0 for name in ("cpu", "memory", "gpu") for what in ("percent", "reports")
    }
    usage["inputs"] = [{"column": column, "counts": counts} for column, counts in columns]
    requests = Requests().model_dump(mode="json")
    return {"revision": revision, "minute": number, "requests": requests, "usage": usage}


def test_windows_tell_the_highest_drift_of_their_time() -> None:
    asked = Asked("digits", 0, 180, 60)
    minutes = [
        window(0, (0, [300, 0, 0, 0])),
        window(1, (0, [50, 50, 50, 40])),
        window(2, (0, [99, 99, 99, 99]), revision=3),
    ]
    found = measured(asked, minutes, [], Prices(), {2: DATA})
    assert [each["drift_column"] for each in found] == ["", "", "age"]
    assert found[2]["drift"] > 1
    (whole,) = measured(Asked("digits", 0, 180, 180), minutes, [], Prices(), {2: DATA})
    assert (whole["drift_column"], whole["drift"] < found[2]["drift"]) == ("age", True)


def test_what_is_told_of_a_revision_or_why_there_is_nothing() -> None:
    asked = Asked("digits", 0, 60, 60)
    spec = DeploymentSpec(model={"name": "digits"})
    model = version(3).model_copy(update={"training": DATA})
    row = SimpleNamespace(spec=spec.model_dump(mode="json"), model=model.model_dump(mode="json")).__dict__
    found = drift_of(asked, 2, row, [window(0, (0, [100, 0, 0, 100])), window(0, (0, [99, 99, 99, 99]), revision=1)])
    assert (found.dataset, found.reason, found.revision) == ("pets/3", "", 2)
    assert [(each.column, each.values, each.verdict) for each in found.columns] == [
        ("age", 200, V.DRIFTED),
        ("kind", 0, V.NOT_COUNTED),
    ]
    assert drift_of(asked, 0, None, []).reason == "no revision is in place"
    without = {**row, "model": version(3).model_dump(mode="json")}
    assert "no training data of digits/3 is known" in drift_of(asked, 2, without, []).reason
    off = {"model": {"name": "digits"}, "serving": {"monitoring": {"drift": {"enabled": False}}}}
    assert drift_of(asked, 2, {**row, "spec": off}, []).reason == "serving.monitoring.drift.enabled is false"
