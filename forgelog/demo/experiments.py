"""The demo's second half: what the training runs logged, a search for better hyperparameters, and the winner in the
registry, today and as of an earlier moment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forgelog.cli.curves import drawings
from forgelog.cli.render import Column, column, is_terminal
from forgelog.client.aio import AsyncClient, AsyncJob
from forgelog.demo import train
from forgelog.demo.promises import check
from forgelog.demo.stage import Stage
from forgelog.plots.figures import charts

TRIALS = 6
MODEL, ALIAS = "digits-reader", "champion"
RESOURCES = {"cpus": 0.5, "memory": "768Mi"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PATIENCE = 120.0
"""Seconds for the search."""


def _accuracy(row: Any) -> str:
    value = row["metrics"].get("accuracy")
    return "" if value is None else f"{value:.1%}"


_RUNS = (
    column("Run", "run_id"),
    column("Name"),
    column("Status", style=True),
    Column("Accuracy", _accuracy, right=True),
    Column("Process", lambda row: f"{row['job_id']}/{row['task']}, attempt {row['attempt']}"),
)
_LIVE = (
    column("Version", "number", right=True),
    column("Had", "slot"),
    column("From", "began_at"),
    column("To", "ended_at"),
    column("Set by", "actor"),
)


class Experiments:
    """The acts, in their order."""

    def __init__(self, client: AsyncClient, stage: Stage, environment: Mapping[str, str]) -> None:
        """`environment`: of each training."""
        self._client = client
        self._stage = stage
        self._environment = environment

    async def perform(self, search: AsyncJob) -> None:
        """`search`: the array job that trained the first models."""
        first = await self._tracked(search)
        best = await self._searched()
        await self._registered(first, best)

    async def _tracked(self, search: AsyncJob) -> str:
        """The run of the network that the first training had."""
        self._stage.act("Each training was tracked as a run, by the program itself")
        runs = await self._runs(search.id)
        self._stage.table(runs, _RUNS)
        check(len(runs) == len(train.CONFIGURATIONS), f"there are {len(runs)} runs, and as many trainings")
        check(all(run.status == "finished" for run in runs), "a run did not finish")
        (network,) = [run for run in runs if run.name == "mlp"]
        self._draw(await self._client.runs.curves([network.run_id], keys=["accuracy"]), {network.run_id: "mlp"})
        return str(network.run_id)

    async def _searched(self) -> str:
        """The run of the best trial."""
        self._stage.act(f"Search a better network by TPE: {TRIALS} trials, each a job, two at a time")
        tuning = await self._client.tunings.create(
            "digits",
            ["maximize"],
            plan={"algorithm": "tpe", "seed": 7, "space": train.SPACE},
            limits={"trials": TRIALS, "parallel": 2},
            objectives=[{"metric": "accuracy"}],
            job={
                "name": "trial",
                "command": [sys.executable, "-u", str(Path(train.__file__))],
                "resources": RESOURCES,
                "env": {**ENVIRONMENT, **self._environment},
            },
        )
        told: set[int] = set()
        watch = self._client.tunings.watch([tuning])
        async with asyncio.timeout(PATIENCE), aclosing(watch) as changes:  # type: ignore[type-var]
            async for found in changes:
                for trial in await self._client.tunings.trials(tuning, status=["completed", "pruned", "failed"]):
                    if trial.number not in told:
                        told.add(trial.number)
                        self._stage.say(_said(trial))
                if found.status != "running":
                    break
        check(found.status == "completed", f"the search is {found.status}")
        check(told == set(range(TRIALS)), f"trials {sorted(told)} have ended")
        assert found.best_trial is not None, "a completed trial has a value"
        best = await self._client.tunings.trial(tuning, found.best_trial)
        self._stage.say(f"the best is trial {best.number}: accuracy {float(best.objective_values[0]):.1%}")
        runs = {trial.number: await self._runs(trial.job_id) for trial in await self._client.tunings.trials(tuning)}
        names = {run.run_id: f"trial {number}" for number, [run] in runs.items()}
        self._draw(await self._client.runs.curves(names, keys=["accuracy"]), names)
        (run,) = runs[best.number]
        return str(run.run_id)

    async def _registered(self, first: str, best: str) -> None:
        models = self._client.models
        self._stage.act("Register both networks, and let an alias go from one to the other")
        await models.register(MODEL, description="reads handwritten digits")
        for number, run in enumerate((first, best), 1):
            metrics = (await self._client.runs.get(run)).metrics
            version = await models.create_version(
                MODEL, run=run, path="model", metrics={"test": {"accuracy": metrics["accuracy"]}}
            )
            check((version.number, version.status) == (number, "verified"), f"version {number} is not verified")
            self._stage.say(f"{MODEL}/{number} of run {run}: its {version.files} file was read and is as it was logged")
        await models.set_alias(MODEL, ALIAS, 1)
        between = datetime.now(UTC)
        await asyncio.sleep(0.005)  # times of the log have milliseconds
        await models.set_alias(MODEL, ALIAS, 2)
        self._stage.table(await models.live(MODEL, slot=f"alias:{ALIAS}"), _LIVE)

        self._stage.act("Where does the winner come from?")
        found = await models.lineage(f"{MODEL}@{ALIAS}", direction="up")
        for node in found.nodes:
            self._stage.say(f"{'  ' * node.depth}{node.kind} {node.label or node.id}")
        kinds = {node.kind for node in found.nodes}
        check({"model_version", "run", "job", "experiment", "dataset"} <= kinds, f"its lineage has only {kinds}")

        self._stage.act(f"What was {MODEL}@{ALIAS} at {between:%H:%M:%S.%f} UTC, before the alias moved?")
        then, now = [await models.version(f"{MODEL}@{ALIAS}", at=at) for at in (between, None)]
        self._stage.say(f"version {then.number}; today it is version {now.number}")
        check((then.number, now.number) == (1, 2), f"the alias meant {then.number}, and means {now.number}")

    async def _runs(self, job: str) -> Sequence[Any]:
        """The runs of a job's processes, the best first. What their programs have logged is seen."""
        rows = await self._client.runs.list(job=job)
        for row in rows:
            await self._client.runs.see_all(row.run_id)
        found = [await self._client.runs.get(row.run_id) for row in rows]
        return sorted(found, key=lambda run: -run.metrics.get("accuracy", 0.0))

    def _draw(self, curves: Any, names: dict[str, str]) -> None:
        order = [*names]
        in_order = sorted(curves, key=lambda curve: order.index(curve.run_id))
        for line in drawings(charts(in_order, "step", names), 60, 8, is_terminal()):
            self._stage.line(line)


def _said(trial: Any) -> str:
    values = ", ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    result = f"accuracy {float(trial.objective_values[0]):.1%}" if trial.objective_values else trial.reason
    return f"trial {trial.number} {trial.status}: {values}: {result}"
