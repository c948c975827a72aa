"""What executors of a worker's own Spark get, and where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.language.pipelines.checks import spec_errors
from events.language.pipelines.pipeline import PipelineSpec
from forgelog.pipelines.engine.spark.executors import make_home, shares
from forgelog.pipelines.problems import StageError

STAGE = {"id": "add", "executors": 3}


def test_cpus_and_memory_are_divided() -> None:
    divided = shares(3, 8, 4 << 30)
    assert divided.master == "local-cluster[3,2,1024]"
    assert divided.settings["spark.driver.memory"] == divided.settings["spark.executor.memory"] == "1024m"
    assert shares(4, 2, 5 * 512 << 20).master == "local-cluster[4,1,512]"


def test_too_little_memory_says_how_much_is_needed() -> None:
    with pytest.raises(StageError, match="is 3: with their driver they need 2048 MiB, and Spark has 1024 here"):
        shares(3, 8, 1 << 30)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, "is 3, and the engine is duckdb, which has none"),
        (
            {"engine": "spark", "spark": {"remote": "sc://far:15002", "folder": "/shared"}},
            "is 3, and stages run on the server sc://far:15002, which has its own",
        ),
    ],
    ids=["duckdb", "connect"],
)
def test_executors_are_refused_where_there_are_none(more: dict[str, Any], problem: str) -> None:
    (error,) = spec_errors(PipelineSpec.model_validate({"stages": [STAGE], **more}))
    assert (error.field, error.problem) == ("spec.stages[0].executors", problem)


def test_executors_are_taken_by_a_spark_of_the_workers_own() -> None:
    assert spec_errors(PipelineSpec.model_validate({"stages": [STAGE], "engine": "spark"})) == []


def test_a_home_has_what_the_installed_one_has_and_settings_of_its_own(tmp_path: Path) -> None:
    installed = tmp_path / "pyspark"
    for name in ("bin", "jars", "conf", "work"):
        (installed / name).mkdir(parents=True)
    home = make_home(installed, tmp_path)
    assert sorted(each.name for each in home.iterdir()) == ["bin", "conf", "jars"]
    assert (home / "bin").resolve() == installed / "bin"
    (settings,) = (home / "conf").iterdir()
    assert (settings.stat().st_mode & 0o777, (home / "conf").stat().st_mode & 0o777) == (0o600, 0o700)
    name, secret = settings.read_text().split()
    assert (name, len(secret)) == ("spark.authenticate.secret", 64)
    assert not list((installed / "conf").iterdir())
