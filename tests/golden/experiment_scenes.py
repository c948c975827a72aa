"""What experiments go through while a platform is recorded: runs, files, points, models, datasets, templates, tunings
and launches, as a client tells it to the gateway.

Nothing is left that goes on by itself: a recording is opened later, and must then answer as it did. So every run that
has ended is sealed, every version is looked at, what is deleted is purged or restored, and no tuning runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from events.language.base import Event
from events.language.experiments import (
    RunEnded,
    RunNotAdmitted,
    RunProcessEnded,
    RunStarted,
    TuningStatusSet,
)
from events.language.experiments.logged_models import LoggedModelNotAdmitted
from events.language.experiments.purging import ExperimentPurged, LoggedModelPurged, RunPurged
from events.language.experiments.registry import PromotionEnded
from events.language.experiments.sealing import RunPointsSealed
from events.log.ids import child_id
from forgelog import AsyncClient
from forgelog.errors import Refused
from tests import PATIENCE
from tests.golden.scenes import SMALL, Stage

DIGEST = "4f" * 32
"""Of what is elsewhere."""


def spec(script: str, **environment: Any) -> dict[str, Any]:
    """A job that names no folder of the machine."""
    described = {"metadata": {"name": "launched"}, "command": "sh", "args": ["-c", script], "resources": SMALL}
    return {**described, "environment": environment}


class Play:
    """A platform, and a client of its gateway."""

    def __init__(self, stage: Stage, client: AsyncClient, folder: Path) -> None:
        self.stage = stage
        self.client = client
        self.folder = folder
        self.ended: list[str] = []
        """Runs that have ended; each is sealed in the end."""

    async def send(self, kind: str, *, conclude: bool = False, **fields: Any) -> str:
        """A command of experiments; the id of what it is about."""
        outcome = await self.client.publish((kind, fields), wait="conclusion" if conclude else True)
        return str(outcome.subject)

    async def refused(self, kind: str, *, conclude: bool = False, **fields: Any) -> str:
        """Why a command is refused."""
        try:
            await self.send(kind, conclude=conclude, **fields)
        except Refused as error:
            return str(error)
        raise AssertionError(f"{kind} was not refused")

    async def told(self, kind: type[Event], subject: str, count: int = 1) -> Any:
        return await self.stage.of(kind, subject, count)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


async def play(stage: Stage) -> None:
    """All scenes of experiments, one after the other."""
    platform = stage.platform
    with TemporaryDirectory(prefix="forgelog-scenes-") as scratch:
        async with AsyncClient(platform.gateway, token=platform.key) as client:
            playing = Play(stage, client, Path(scratch))
            await _experiments(playing)
            await _runs(playing)
            await _captures(playing)
            await _logged_models(playing)
            await _datasets(playing)
            stage.note("datasets")
            await _models(playing)
            await _templates(playing)
            await _tunings(playing)
            await _searches(playing)
            await _launches(playing)
            await _purges(playing)
            for run in playing.ended:
                await playing.told(RunPointsSealed, run)
            stage.note("experiments")


async def _experiments(play: Play) -> None:
    said = {"description": "which rate", "team": "vision", "framework": "pytorch", "experiment_type": "classification"}
    config = {"basic": {"learning_rate": 0.1, "epochs": 3}, "custom": {"loss": "focal"}}
    lists = {"labels": ["digits"], "collaborators": ["ada"], "tags": {"team": "vision", "old": "x"}}
    await play.send(
        "CreateExperiment", experiment_id="e-digits", name="digits", hyperparameters=config, **said, **lists
    )
    more = {"random_seed": 7, "visibility": "public", "sources": {"inputs": [{"name": "mnist", "digest": DIGEST}]}}
    more |= {"practices": {"metrics": ["accuracy"]}}
    await play.send("UpdateExperiment", experiment_id="e-digits", **more, tags={"old": None}, add_labels=["figures"])
    await play.send("UpdateExperiment", experiment_id="e-digits", remove_collaborators=["ada"], name="figures")
    await play.send("CreateExperiment", experiment_id="e-closed", name="closed", visibility="private")
    for status in ("running", "paused", "running", "completed", "running", "failed", "archived"):
        await play.send("SetExperimentStatus", experiment_id="e-closed", status=status, reason=f"it is {status}")
    await play.send("CreateExperiment", experiment_id="e-back", name="back")
    await play.send("DeleteExperiment", experiment_id="e-back")
    await play.send("RestoreExperiment", experiment_id="e-back")
    await play.refused("CreateExperiment", name="figures")


async def _runs(play: Play) -> None:
    client = play.client
    tags = {"team": "vision", "größer": "数"}
    run = await client.runs.create("figures", id="r-first", name="first", params={"lr": "0.1"}, tags=tags)
    await client.runs.create("figures", id="r-part", parent_run_id=run, reproduces="")
    await client.runs.log(run, params={"depth": "3", "long": "x" * 6_000}, tags={"note": "a", "team": None})
    await client.runs.log_metrics(run, {"loss": 0.5, "accuracy": float("nan")}, step=0)
    await client.runs.log_points(run, "loss", [0.25, 0.125, float("inf")], steps=[10, 5, 20])
    await client.runs.log_metrics(run, {"accuracy": 0.75}, step=3, dataset="mnist")
    data = {"name": "mnist", "digest": DIGEST, "role": "training", "source_type": "s3", "tags": {"split": "first"}}
    await client.runs.log_inputs(run, [data])
    play.file("out/best/weights.bin", "w" * 9)
    play.file("out/notes.txt", "well")
    await client.runs.log_artifacts(run, play.folder / "out")
    await client.runs.remove_artifacts(run, ["notes.txt"])
    await client.results.set_best_checkpoint(run, "best")
    await client.runs.rename(run, "the first")
    await client.runs.end(run, "failed", reason="it was too hot")
    await client.runs.resume(run)
    await client.runs.end(run)
    await client.runs.end("r-part", "killed")
    await client.runs.log_points(run, "late", [1.0])
    play.ended += [run, "r-part"]
    await play.refused("CreateRun", conclude=True, run_id="r-refused", experiment="closed")
    await play.told(RunNotAdmitted, "r-refused")
    await play.refused("LogRunData", run_id=run, params={"lr": "0.2"})
    await client.runs.create("figures", id="r-open")
    job = play.stage.jobs["single"]
    await client.runs.create("figures", id="r-of-a-job", process={"job_id": job}, scheduled=True)
    await play.told(RunEnded, "r-of-a-job")
    play.ended += ["r-refused", "r-of-a-job"]
    await client.runs.create("back", id="r-back")
    await client.runs.delete("r-back")
    await client.runs.restore("r-back")


async def _captures(play: Play) -> None:
    capture = {"code": {"commit": "ab" * 20, "branch": "main"}, "seeds": {"numpy": 7}}
    await play.send("CaptureRun", run_id="r-first", capture=capture)


async def _logged_models(play: Play) -> None:
    made = {"name": "net", "model_type": "cnn", "params": {"layers": "4"}, "tags": {"kind": "net"}}
    run = "r-open"
    await play.send(
        "CreateLoggedModel", conclude=True, model_id="m-net", experiment="figures", source_run_id=run, **made
    )
    await play.send("LogLoggedModelData", model_id="m-net", params={"heads": "2"}, tags={"kind": None, "best": "yes"})
    ref = await play.client.upload(play.file("net/model.bin", "m" * 7).parent)
    files = [{"path": path, "file": ref.model_dump()} for path in ("model.bin", "old.bin")]
    await play.send("LogLoggedModelFiles", model_id="m-net", artifacts=files)
    await play.send("RemoveLoggedModelFiles", model_id="m-net", paths=["old.bin"])
    await play.send("FinalizeLoggedModel", model_id="m-net", status="ready")
    await play.send("LogRunModels", run_id=run, inputs=["m-net"], outputs=[{"model_id": "m-net", "step": 2}])
    await play.send("DeleteLoggedModel", model_id="m-net")
    await play.send("RestoreLoggedModel", model_id="m-net")
    await play.refused("CreateLoggedModel", conclude=True, model_id="m-refused", experiment="closed")
    await play.told(LoggedModelNotAdmitted, "m-refused")


async def _datasets(play: Play) -> None:
    client = play.client
    splits = {"train": 8, "test": 2}
    await client.datasets.register(
        "mnist", id="d-one", digest=DIGEST, samples=10, splits=splits, tags={"kind": "images"}
    )
    play.file("data/rows.txt", "1\n2\n")
    steps = [{"name": "resize", "parameters": {"size": "28"}}]
    await client.datasets.register(
        "mnist", id="d-two", folder=play.folder / "data", measure=False, parents=["mnist/1"], preprocessing=steps
    )
    await client.datasets.check("mnist/2")


async def _models(play: Play) -> None:
    client = play.client
    await client.models.register("figures", id="mo-figures", tags={"task": "vision"}, card="# Figures")
    await client.models.update("figures", card="# Figures, better")
    for number in (1, 2, 3):
        play.file(f"version-{number}/model.onnx", f"bytes of {number}")
        folder = play.folder / f"version-{number}"
        await client.models.create_version(
            "figures", id=f"v-{number}", folder=folder, model_format="onnx", metrics={"test": {"accuracy": number / 4}}
        )
    await client.models.create_version("figures", id="v-4", run="r-first", path="best", notes="of a run")
    await client.models.update_version("figures/2", notes="better")
    for number in (1, 2, 1):
        await client.models.set_alias("figures", "champion", number)
    await client.models.set_alias("figures", "challenger", 2)
    await client.models.remove_alias("figures", "challenger")
    await client.models.set_environment("figures", "staging", 2)
    await client.models.set_environment("figures", "staging", None)
    await client.models.set_stage("figures/1", "production")
    await client.models.set_stage("figures/2", "production", archive_existing=True)
    await client.models.promote("figures", 2, "live", id="p-live", wait=True)
    await client.models.update("figures", approval_rules=[{"environment": "prod", "approvers": ["owner"]}])
    await client.models.promote("figures", 2, "prod", id="p-prod")
    await client.models.approve("p-prod", comment="good")
    await play.told(PromotionEnded, "p-prod")
    await client.models.promote("figures", 1, "prod", id="p-no")
    await client.models.reject("p-no", "too old")
    await client.models.check("figures/1")
    await client.models.delete_version("figures/3")
    await client.models.rename("figures", "numerals")
    await client.models.register("gone")
    await client.models.delete("gone")


async def _templates(play: Play) -> None:
    client = play.client
    folder = play.file("template/train.py", "print('a')\n").parent
    play.file("template/template.yaml", "description: trains\n")
    await client.templates.save("trainer", folder, id="et-trainer")
    play.file("template/train.py", "print('b')\n")
    await client.templates.save("trainer", folder)
    await client.templates.rate("trainer", 4, comment="fine")
    await play.send("CreateExperiment", experiment_id="e-templated", name="templated", template_id="et-trainer")
    await client.templates.save("gone", folder)
    await client.templates.delete("gone")


async def _tunings(play: Play) -> None:
    """Programs take trials up: nothing is proposed."""
    client = play.client
    await client.tunings.create("study", ["minimize"], id="t-study")
    await client.tunings.set_attribute("t-study", "note", {"a": 1})
    for number in range(3):
        await play.send("AskTrial", tuning_id="t-study")
        uniform = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
        parameter = {"name": "x", "value": str(number / 4), "distribution": uniform}
        await play.send("SetTrialParameter", tuning_id="t-study", number=number, parameter=parameter)
        await client.tunings.set_attribute("t-study", "seen", True, trial=number)
        await client.tunings.report("t-study", number, 1, 0.5)
    await client.tunings.requeue("t-study", 2, reason="its node was lost")
    await play.send("StartTrial", tuning_id="t-study", number=2)
    await client.tunings.tell("t-study", 0, 0.5)
    await client.tunings.tell("t-study", 1, (), status="pruned")
    await client.tunings.tell("t-study", 2, (), status="failed", reason="it was too hot")
    await client.tunings.pause("t-study")
    await client.tunings.resume("t-study")
    await client.tunings.stop("t-study", reason="enough")
    await client.tunings.create("deleted study", id="t-deleted")
    await client.tunings.delete("t-deleted")


async def _searches(play: Play) -> None:
    """The platform searches, and runs each trial as a job; the second begins with what the first has found."""
    client = play.client
    space = [{"name": "x", "kind": "int", "low": 1, "high": 2}]
    fails = '[ "$FORGELOG_PARAM_x" = 1 ] || exit 3; sleep 1000'
    grid: dict[str, Any] = {"algorithm": "grid", "space": space}
    again: dict[str, Any] = {"algorithm": "tpe", "space": space, "seed": 7, "warm_start": ["t-grid"]}
    for id, plan, script, trials, statuses in (
        ("t-grid", grid, fails, 2, {"running", "failed"}),
        ("t-again", again, "sleep 1000", 1, {"running"}),
    ):
        made = {"tuning_id": id, "name": id, "plan": plan, "job": spec(script, variables={"A": "b"})}
        limits = {"trials": trials, "parallel": 2}
        await play.send("CreateTuning", conclude=True, **made, limits=limits, experiment="figures")
        async with asyncio.timeout(PATIENCE):
            while {trial.status for trial in await client.tunings.trials(id)} != statuses:
                await asyncio.sleep(0.1)
        (running,) = await client.tunings.trials(id, status=["running"])
        await client.tunings.tell(id, running.number, 1.0)
        await play.told(TuningStatusSet, id)
        await client.jobs.cancel(running.job_id)


async def _launches(play: Play) -> None:
    client = play.client
    launch = {"job": spec("sleep 1000"), "parallel": 1}
    await play.send("CreateExperiment", experiment_id="e-launched", name="launched", launch=launch)
    runs = [await client.experiments.launch("launched", id=f"r-launched-{n}", params={"lr": str(n)}) for n in range(3)]
    await play.told(RunStarted, runs[0])
    await client.runs.stop(runs[1], reason="not needed")
    await client.runs.stop(runs[0], reason="enough seen")
    await play.told(RunProcessEnded, runs[0])
    await play.told(RunStarted, runs[2])
    await client.jobs.cancel(child_id(runs[2], "1"))
    await play.told(RunEnded, runs[2])
    wrong = spec("true", working_directory="here")
    await play.send("LaunchRun", conclude=True, run_id="r-wrong", experiment="launched", job=wrong)
    await play.told(RunEnded, "r-wrong")
    await play.refused("LaunchRun", conclude=True, run_id="r-nothing", experiment="figures")
    play.ended += [*runs, "r-wrong", "r-nothing"]


async def _purges(play: Play) -> None:
    client = play.client
    await client.experiments.create("gone", id="e-gone")
    await client.runs.create("gone", id="r-gone")
    await client.runs.log_metrics("r-gone", {"loss": 0.5}, step=0)
    await client.runs.create("figures", id="r-purged")
    await play.send("CreateLoggedModel", conclude=True, model_id="m-purged", experiment="gone")
    await client.runs.delete("r-purged")
    await play.send("PurgeRun", run_id="r-purged")
    await client.experiments.delete("e-gone")
    await play.send("PurgeExperiment", experiment_id="e-gone")
    purged: Sequence[tuple[type[Event], str]] = (
        (ExperimentPurged, "e-gone"),
        (RunPurged, "r-gone"),
        (LoggedModelPurged, "m-purged"),
    )
    for kind, subject in purged:
        await play.told(kind, subject)
