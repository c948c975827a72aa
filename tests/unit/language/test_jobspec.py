"""What a job's description accepts and refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from events.language.common import MAX_ARRAY_TASKS
from events.language.jobs.spec import PRIORITY_WEIGHT, JobPriority, JobSpec, JobStatus
from events.language.resources import total
from events.language.task_ranges import count_tasks, format_ranges, parse_ranges, tasks_in


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({"metadata": {"name": "a"}, "command": "true", **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        spec(**changes)
    return str(error.value)


@pytest.mark.parametrize("name", ["train", "Zug №5", "训练", "é" * 200, "👩‍🔬 lab"])
def test_names_of_any_script_are_taken(name: str) -> None:
    assert spec(metadata={"name": name}).metadata.name == name


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\x00b", "a\x7f", "\ud800", "x" * 201])
def test_empty_unprintable_and_endless_names_are_refused(name: str) -> None:
    assert "metadata.name" in refusal(metadata={"name": name})


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, 0, 1e30])
def test_amounts_that_make_no_sense_are_refused(amount: float) -> None:
    assert "resources.cpus" in refusal(resources={"cpus": amount})
    assert "resources.memory_bytes" in refusal(resources={"memory_bytes": amount})


def test_an_array_has_at_most_ten_thousand_tasks() -> None:
    assert spec(array={"size": MAX_ARRAY_TASKS}).array is not None
    assert "array.size" in refusal(array={"size": 100_000})


def test_a_misspelt_field_is_refused() -> None:
    assert "resources.cpu\n" in refusal(resources={"cpu": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resources": {"gpu_type": "H200"}}, "ask for at least one GPU"),
        ({"resources": {"gpus": 1, "gpu_requirements": {"mig_profile": "1g.10gb"}}}, "go together"),
        ({"distributed": {"world_size": 4, "rank": 4}}, "ranks count from 0"),
        ({"distributed": {"world_size": 4, "max_world_size": 8}}, "need elastic: true"),
        ({"distributed": {"world_size": 4, "elastic": True, "min_world_size": 5}}, "between min and max"),
        ({"checkpointing": {"resume_strategy": "specific"}}, "resume_from"),
        ({"security": {"run_as_non_root": True, "run_as_user": 0}}, "give another user"),
        ({"security": {"capabilities_add": ["ALL"], "capabilities_drop": ["ALL"]}}, "both added and dropped"),
        ({"security": {"run_as_user": 1}, "environment": {"user": "ada"}}, "give one of them"),
        ({"environment": {"volumes": [{"target": "/x", "source": "data"}]}}, "absolute path on the node"),
        (
            {"scheduling": {"timing": {"earliest_start": "2026-01-02T00:00Z", "deadline": "2026-01-01T00:00Z"}}},
            "deadline is not after earliest_start",
        ),
        (
            {"scheduling": {"timing": {"blackout_windows": [{"start": "08:00", "end": "08:00"}]}}},
            "start 00:00, end 24:00",
        ),
        ({"monitoring": {"alerts": [{"name": "hot", "metric": "gpu", "threshold": 90, "channels": ["me"]}]}}, "add it"),
        ({"monitoring": {"alerts": [{"name": "hot", "metric": "gpu"}]}}, "threshold is needed"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_with_what_to_do(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_there_are_twelve_states_and_seven_priorities_from_0_to_1000() -> None:
    assert len(JobStatus) == 12
    assert [PRIORITY_WEIGHT[priority] for priority in JobPriority] == sorted(PRIORITY_WEIGHT.values())
    assert (PRIORITY_WEIGHT[JobPriority.SCAVENGER], PRIORITY_WEIGHT[JobPriority.CRITICAL]) == (0, 1000)
    assert len(PRIORITY_WEIGHT) == 7


@given(st.sets(st.integers(0, MAX_ARRAY_TASKS - 1), min_size=1, max_size=200))
def test_task_ranges_name_exactly_the_tasks_they_were_made_of(tasks: set[int]) -> None:
    text = format_ranges(tasks)
    assert set(tasks_in(text)) == tasks
    assert count_tasks(text) == len(tasks)
    assert format_ranges(tasks_in(text)) == text


def test_ranges_are_merged_and_sorted() -> None:
    assert parse_ranges("7,0-3,2-5") == ((0, 5), (7, 7))
    with pytest.raises(ValueError, match="runs backwards"):
        parse_ranges("3-1")
    with pytest.raises(ValueError, match="write for example '0-3,7'"):
        parse_ranges("all")


def test_a_jobs_total_is_its_tasks_requests_together() -> None:
    resources = spec(resources={"cpus": 0.5, "memory_bytes": 1 << 30, "gpus": 2}).resources
    assert total(resources, 4).model_dump(include={"cpus", "memory_bytes", "gpus"}) == {
        "cpus": 2.0,
        "memory_bytes": 4 << 30,
        "gpus": 8,
    }
