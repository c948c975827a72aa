"""A run is captured unasked and reproduced: its metrics are equal, and those of a program that was changed differ.

As a job it is reproduced by docs/how-to/reproduce.md."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from forgelog import AsyncClient, InvalidInput
from forgelog.reproduce import session
from tests.integration.calm import Calm
from tests.unit.capture.repositories import git, repository

PROGRAM = """
import os, random, sys
import forgelog

random.seed(int(sys.argv[1]))
with forgelog.run("again", params={"noise": os.environ.get("NOISE", "")}, seeds={"random": int(sys.argv[1])}) as run:
    for step in range(3):
        run.log(loss=random.random() + len(os.environ.get("NOISE", "")), step=step)
print("trained", run.id)
"""


async def test_a_run_is_reproduced(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    folder = repository(tmp_path / "digits", train__py="raise SystemExit(1)\n")
    (folder / "train.py").write_text(PROGRAM)
    done = await platform.command(folder, "run", "--experiment", "again", "--", sys.executable, "train.py", "3")
    assert done.returncode == 0, done.stderr
    run = done.stdout.split()[-1]
    (folder / "train.py").write_text("raise SystemExit(2)\n")  # the program of then is in the capture
    into = tmp_path / "again"
    same = await platform.command(tmp_path, "reproduce", run, "--into", str(into), "--output", "json")
    assert same.returncode == 0, same.stderr
    found = orjson.loads(same.stdout)
    (metric,) = found["metrics"]
    assert (found["equal"], metric["then"]) == (True, metric["now"])
    assert (into / "code" / "train.py").read_text() == PROGRAM
    assert {("code", "restored"), ("changes", "restored"), ("seed", "by the program")} <= {
        (step["part"], step["state"]) for step in found["plan"]["steps"]
    }
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        captured = (await client.captures.get(run)).capture
        assert (captured.code.commit, captured.code.changed_files) == (git(folder, "rev-parse", "HEAD"), 1)
        assert (captured.seeds, captured.machine is None) == ({"random": 3}, False)
        again = await client.runs.get(found["reproduction"])
        assert (again["reproduces"], again["status"]) == (run, "finished")
        assert [row["run_id"] for row in await client.runs.search(f"reproduces = '{run}'")] == [found["reproduction"]]
    changed = ("reproduce", run, "--into", str(tmp_path / "other"))
    other = await platform.command(tmp_path, *changed, more={"NOISE": "some"})
    assert other.returncode == 1
    assert "0 of 1 metrics of run" in other.stderr
    assert "parameter noise: '' then, 'some' now" in other.stderr


async def test_a_run_that_can_not_be_reproduced(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        run = await client.runs.create("again")
        found = await session.plan(client, run)
        assert found.obstacles == ["code: it was not captured", "command: it was not captured"]
        with pytest.raises(InvalidInput, match=f"run {run} can't be reproduced: code: it was not captured"):
            await session.restore(client, found, tmp_path / "again", venv=False, say=print)
        (tmp_path / "used").touch()
        with pytest.raises(InvalidInput, match="is not empty; name a folder that does not exist"):
            await session.restore(client, replace(found, steps=()), tmp_path, venv=False, say=print)
        by_job = await session.plan(client, run, by_job=True)
        with pytest.raises(InvalidInput, match="the run was no job of the platform; leave --job out"):
            await session.run_as_job(client, by_job, say=print)
