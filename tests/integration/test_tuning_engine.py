"""The platform searches: its engine proposes values, programs take trials up and tell them, on a real platform."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import psutil

from events.language.experiments import TrialProposed, TrialStarted
from events.language.jobs import JobCancelled
from forgelog import AsyncClient
from tests import PATIENCE
from tests.access import environment
from tests.integration.cluster import Cluster

ROOT = Path(__file__).parents[2]

SPACE = [
    {"name": "x", "kind": "float", "low": -5, "high": 5},
    {"name": "kind", "kind": "categorical", "choices": ['"near"', '"far"']},
    {"name": "depth", "kind": "int", "low": 1, "high": 4, "when": {"name": "kind", "values": ['"far"']}},
]


async def ended(client: AsyncClient, id: str) -> Any:
    async with asyncio.timeout(PATIENCE), aclosing(client.tunings.watch([id])) as rows:
        async for row in rows:
            if row.status not in ("running", "paused"):
                return row
    raise AssertionError("a watch has no end")


def engine(platform: Cluster) -> psutil.Process | None:
    """The process that searches, once there is one."""
    for child in platform.process("experiments").children():
        if "services.experiments.engine" in child.cmdline():
            return child
    return None


async def work(client: AsyncClient, id: str) -> list[int]:
    """Take trials up and tell them until there are none; their numbers."""
    done = []
    async with asyncio.timeout(PATIENCE):
        while (trial := await client.tunings.take(id)) is not None:
            chosen: Any = trial.params
            assert ("depth" in chosen) == (chosen["kind"] == "far")
            await client.tunings.report(id, trial.number, 1, abs(chosen["x"]), attempt=trial.attempt)
            value = (chosen["x"] - 2) ** 2 + chosen.get("depth", 0)
            await client.tunings.tell(id, trial.number, value, attempt=trial.attempt)
            done.append(trial.number)
    return done


async def test_workers_side_by_side_take_each_proposal_once_and_it_can_be_chosen_again(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    id = await client.tunings.create(
        "sought", limits={"trials": 16, "parallel": 3}, plan={"algorithm": "tpe", "seed": 7, "space": SPACE}
    )
    numbers = await asyncio.gather(*(work(client, id) for _ in range(3)))
    assert sorted(number for each in numbers for number in each) == list(range(16))
    row = await ended(client, id)
    assert (row.status, row.trials, row.completed) == ("completed", 16, 16)
    trials = await client.tunings.trials(id)
    assert row.best_trial == min(trials, key=lambda trial: float(trial.objective_values[0])).number

    def verified(*more: str) -> Any:
        told = {**environment(platform.settings), "FORGELOG_PREFIX": platform.settings.prefix}
        return platform.command(tmp_path, "tune", "verify", "sought", *more, more=told)

    same = await verified()
    assert (same.returncode, same.stdout) == (0, "16 of 16 proposals are equal\n"), same.stderr
    other = await verified("--seed", "8")
    assert other.returncode == 1
    assert "trial 0: x=" in other.stdout

    best = await platform.command(tmp_path, "tune", "best", id, "-n", "1", "-o", "json")
    assert [trial["number"] for trial in orjson.loads(best.stdout)] == [row.best_trial], best.stderr
    mattered = await client.tunings.importances(id)
    assert set(mattered) == {"x", "kind", "depth"}
    one = await client.tunings.trial(id, 3)
    shown = await platform.command(tmp_path, "tune", "trial", id, "3")
    assert f"{one.intermediate[1]:.6g}" in shown.stdout, shown.stderr

    plan: Any = {"algorithm": "tpe", "seed": 7, "space": SPACE[:1], "warm_start": [id]}
    warm = await client.tunings.create("warm", limits={"trials": 1}, plan=plan)
    assert (await client.tunings.take(warm)) is not None
    assert (await client.tunings.get(warm)).adopted == 16


async def test_an_engine_that_is_killed_is_followed_by_another_and_nothing_is_proposed_twice(
    platform: Cluster, client: AsyncClient
) -> None:
    plan = {"algorithm": "random", "space": SPACE}
    id = await client.tunings.create("killed", limits={"trials": 6}, plan=plan)
    first = await client.tunings.take(id)
    assert first is not None
    running = engine(platform)
    assert running is not None
    running.kill()
    await client.tunings.tell(id, first.number, 1.0)
    assert await work(client, id) == [1, 2, 3, 4, 5]
    assert (await ended(client, id)).completed == 6
    proposed = platform.all(TrialProposed, lambda event: event.tuning_id == id)
    assert sorted(event.number for event in proposed) == list(range(6))


async def test_a_grid_by_the_command_line(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    made = await platform.command(
        tmp_path, "tune", "create", "grid", "--algorithm", "grid", "-p", "lr=0.1,0.2", "-p", "n=1..2"
    )
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    found = []
    for number in range(4):
        taken = await platform.command(tmp_path, "tune", "take", (id, "grid", id[:-1], id)[number])
        assert taken.returncode == 0, taken.stderr
        found.append(orjson.loads(taken.stdout)["params"])
        await client.tunings.tell(id, number, float(number))
    assert found == [{"lr": 0.1, "n": 1}, {"lr": 0.1, "n": 2}, {"lr": 0.2, "n": 1}, {"lr": 0.2, "n": 2}]
    assert (await platform.command(tmp_path, "tune", "take", "grid")).returncode == 3
    stopped = await platform.command(tmp_path, "tune", "show", "grid")
    assert stopped.stdout.startswith(id), stopped.stderr
    refused = await platform.command(tmp_path, "tune", "create", "none", "--algorithm", "grid", "-p", "x=0.0..1.0")
    assert refused.returncode != 0
    assert "'x' has no step, so its grid has no end" in refused.stderr


PROGRAM = """
import os, sys
from forgelog import Client

with Client() as client:
    trial = client.tunings.current()
    x = trial.params["x"]
    assert str(x) == os.environ["FORGELOG_PARAM_x"]
    client.tunings.report(trial.tuning_id, trial.number, 1, x, attempt=trial.attempt)
    if trial.number == 1:
        sys.exit(3)
    if trial.number == 2:
        client.tunings.tell(trial.tuning_id, trial.number, status="pruned", attempt=trial.attempt)
        import time
        time.sleep(600)
    client.tunings.tell(trial.tuning_id, trial.number, x * x, attempt=trial.attempt)
"""


async def test_trials_are_jobs_and_end_with_them(platform: Cluster, client: AsyncClient) -> None:
    experiment = await client.experiments.create("trials", search_space={"dimensions": SPACE[:1]})
    id = await client.tunings.create(
        "jobs",
        limits={"trials": 4, "parallel": 2},
        plan={"algorithm": "random"},
        experiment="trials",
        job={
            "name": "trial",
            "command": [sys.executable, "-c", PROGRAM],
            "environment": {"variables": {"PYTHONPATH": str(ROOT)}},
        },
    )
    row = await ended(client, id)
    assert (row.status, row.completed, row.pruned, row.failed) == ("completed", 2, 1, 1)
    trials = await client.tunings.trials(id)
    assert [trial.status for trial in trials] == ["completed", "failed", "pruned", "completed"]
    assert trials[1].reason.startswith("its job ended, and had told no value")
    await platform.event(JobCancelled, lambda event: event.job_id == trials[2].job_id)
    assert [row.tuning_id for row in await client.tunings.list(experiment=experiment)] == [id]
    assert (row.experiment, row.plan.space[0].name) == ("trials", SPACE[0]["name"])
    job = await client.jobs.get(trials[0].job_id)
    assert job.spec.environment.variables["FORGELOG_EXPERIMENT"] == "trials"


LOGGING = """
import os, time
import forgelog

number = int(os.environ["FORGELOG_TRIAL"])
with forgelog.run("tuned", capture=False) as run:
    if number < 2:
        for step in range(1, 5):
            run.log(loss=number + 1 / step, step=step)
    if number == 1:
        time.sleep(600)
"""


async def test_the_value_of_a_trial_is_what_its_job_logs_and_a_bad_one_is_stopped(
    platform: Cluster, client: AsyncClient
) -> None:
    id = await client.tunings.create(
        "logged",
        limits={"trials": 3, "parallel": 1},
        plan={"algorithm": "random", "space": SPACE[:1], "pruning": {"rule": "asha", "reduction_factor": 2}},
        job={
            "name": "trial",
            "command": [sys.executable, "-c", LOGGING],
            "environment": {"variables": {"PYTHONPATH": str(ROOT)}},
        },
        objectives=[{"metric": "loss"}],
    )
    row = await ended(client, id)
    assert (row.status, row.completed, row.pruned, row.failed) == ("completed", 1, 1, 1)
    good, bad, silent = await client.tunings.trials(id)
    assert (good.status, good.objective_values, good.last_step) == ("completed", ["0.25"], 4)
    assert (await client.tunings.trial(id, 0)).intermediate == {1: 1.0, 2: 0.5, 3: 1 / 3, 4: 0.25}
    assert bad.status == "pruned"
    assert bad.reason == "it did not promise well: 2.0 at step 1"
    await platform.event(JobCancelled, lambda event: event.job_id == bad.job_id)
    printed = [chunk async for chunk in client.jobs.logs(silent.job_id)]
    assert (silent.status, silent.reason) == ("failed", "its run logged no 'loss'"), printed


async def test_a_stopped_tuning_stops_its_jobs(platform: Cluster, client: AsyncClient) -> None:
    id = await client.tunings.create(
        "endless",
        limits={"parallel": 2},
        plan={"algorithm": "random", "space": SPACE[:1]},
        job={"name": "endless", "command": ["sleep", "600"]},
    )
    for number in range(2):
        await platform.event(TrialStarted, lambda event, wanted=number: (event.tuning_id, event.number) == (id, wanted))
    await client.tunings.stop(id)
    for trial in await client.tunings.trials(id):
        assert (trial.status, trial.reason) == ("failed", "the tuning is stopped")
        await platform.event(JobCancelled, lambda event, job=trial.job_id: event.job_id == job)
