"""What came of a run, and what its process used: said once, told by the process's end, priced by the settings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from events.language.common import ErrorCode
from events.language.experiments import (
    Artifact,
    CreateRun,
    LinkedProcessEnded,
    LogArtifacts,
    Process,
    RemoveArtifacts,
    RunProcessEnded,
)
from events.language.experiments.results import BestCheckpointSet, SetBestCheckpoint
from events.language.jobs import JobExited, TaskExit, TaskUsage
from events.language.objects import ObjectRef
from services.experiments.costs import Prices
from tests.unit.experiments.desk import Desk, refusal

LATER = datetime(2026, 5, 9, 13, tzinfo=UTC)


def test_the_best_checkpoint_is_a_file_or_a_folder_of_the_run() -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    file = ObjectRef(digest="1" * 64, size=3)
    desk.send(LogArtifacts(run_id="r1", artifacts=(Artifact(path="epochs/3/weights.pt", file=file),)))
    for path in ("epochs/3/weights.pt", "epochs/3"):
        best = SetBestCheckpoint(run_id="r1", path=path)
        assert desk.send(best) == [BestCheckpointSet(run_id="r1", path=path)]
        assert desk.send(best) == []
    lacking = refusal(desk, SetBestCheckpoint(run_id="r1", path="epochs/4"))
    assert (lacking.code, lacking.errors[0].field) == (ErrorCode.NOT_FOUND, "path")
    assert lacking.errors[0].hint == "log it first; forgelog runs artifacts shows what it has"


def test_a_best_checkpoint_that_is_removed_is_it_no_more() -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    file = ObjectRef(digest="1" * 64, size=3)
    for path in ("a/1.pt", "a/2.pt"):
        desk.send(LogArtifacts(run_id="r1", artifacts=(Artifact(path=path, file=file),)))
    desk.send(SetBestCheckpoint(run_id="r1", path="a"))
    assert BestCheckpointSet(run_id="r1") not in desk.send(RemoveArtifacts(run_id="r1", paths=("a/1.pt",)))
    assert BestCheckpointSet(run_id="r1") in desk.send(RemoveArtifacts(run_id="r1", paths=("a/2.pt",)))
    assert desk.send(SetBestCheckpoint(run_id="r1")) == []


def test_the_end_of_its_process_tells_what_it_used() -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1", process=Process(job_id="j1")))
    usage = TaskUsage(cpu_seconds=7.5, wall_seconds=10.0, gpu_seconds=20.0)
    exit = TaskExit(task=0, attempt=1, exit_code=0, ended_at=LATER, usage=usage)
    events = desk.hear(JobExited(job_id="j1", node_id="n0", tasks=(exit,)))
    linked, ended = (
        next(each for each in events if isinstance(each, kind)) for kind in (LinkedProcessEnded, RunProcessEnded)
    )
    for event in (linked, ended):
        assert (event.cpu_seconds, event.wall_seconds, event.gpu_seconds) == (7.5, 10.0, 20.0)


@pytest.mark.parametrize(
    ("prices", "cost"), [(Prices(0.0, 0.0), None), (Prices(0.1, 0.0), 0.2), (Prices(0.1, 3.0), 12.2)]
)
def test_hours_are_priced(prices: Prices, cost: float | None) -> None:
    found = prices.of({"cpu_seconds": 7_200.0, "gpu_seconds": 14_400.0})
    assert found == (None if cost is None else pytest.approx(cost))
