"""Templates of experiments on a real platform: saved, used, rated, and what runs are looked at for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events.objects.garbage import make_plan
from events.objects.references import References
from events.objects.store import Objects
from forgelog import AsyncClient, Refused
from forgelog.errors import InvalidInput, ManifestError, NotFound
from forgelog.manifest import load
from tests.integration.cluster import Cluster

TEMPLATE = """
description: reads digits
framework: custom
architecture: mlp
hyperparameters: {basic: {learning_rate: 0.1, epochs: 3}, custom: {seed: 7}}
resources: {cpus: 0.5, memory: 64Mi}
scripts: {training: src/train.py}
practices:
  metrics: [loss]
  checks: [{name: learns, metric: loss, value: least, at_most: 0.5}]
"""


def source(folder: Path, program: str = "print('trained')\n") -> Path:
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "src/train.py").write_text(program)
    (folder / ".gitignore").write_text("*.pt\n")
    (folder / "weights.pt").write_text("large")
    return folder


async def test_an_experiment_is_made_of_a_template_and_its_runs_are_looked_at(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    first = await client.templates.save("digits-mlp", source(tmp_path / "t"))
    assert (first.version, [file.path for file in first.files]) == (1, [".gitignore", "src/train.py"])
    before = datetime.now(UTC)
    begun = await client.templates.begin("digits-mlp", tmp_path / "penmanship", team="vision")
    assert begun.files == [".gitignore", "experiment.json", "job.yaml", "src/train.py"]
    assert json.loads((tmp_path / "penmanship/experiment.json").read_text()) == {
        "experiment": "penmanship",
        "template": "digits-mlp/1",
        "hyperparameters": {
            "basic": {"learning_rate": 0.1, "epochs": 3},
            "architecture": {"model_type": "mlp"},
            "custom": {"seed": "7"},
        },
    }
    (job,) = load(tmp_path / "penmanship/job.yaml")
    assert (job.name, job.upload, job.base.args) == ("penmanship", ".", ("src/train.py",))
    assert (job.base.resources.cpus, job.base.resources.memory_bytes) == (0.5, 64 << 20)
    again = await client.templates.begin("digits-mlp", tmp_path / "penmanship")
    assert (again.experiment_id, again.created, again.files) == (begun.experiment_id, False, [])

    experiment = await client.experiments.get(begun.experiment_id)
    assert (experiment.team, experiment.framework, experiment.template_version) == ("vision", "custom", 1)
    run = await client.runs.create("penmanship")
    await client.runs.log_metrics(run, {"loss": 0.4}, step=1)
    await client.runs.log_metrics(run, {"loss": 0.6}, step=2)
    assert (await client.runs.get(run))["checks"] == []
    await client.runs.end(run)
    found = await client.runs.get(run)
    assert (found["params"]["basic.epochs"], found["params"]["architecture.model_type"]) == ("3.0", "mlp")
    assert [(each.name, each.passed, each.finding) for each in found["checks"]] == [
        ("logs loss", True, "2 points"),
        ("learns", True, "the least value is 0.4"),
    ]
    shown = await platform.command(tmp_path, "runs", "show", run)
    assert "learns" in shown.stdout

    second = await client.templates.save("digits-mlp", source(tmp_path / "t", "print('better')\n"))
    assert (second.template_id, second.version, second.uses) == (first.template_id, 2, 1)
    assert (await client.templates.get("digits-mlp", at=before)).version == 1
    await client.templates.rate("digits-mlp", 4, comment="quick")
    (rating,) = await client.templates.ratings("digits-mlp")
    assert (rating.rater, rating.stars, rating.comment) == ("owner", 4, "quick")
    (row,) = await client.templates.list(name="digits-mlp", metric="loss", order="uses")
    assert (row.uses, row.ratings, row.rating) == (1, 1, 4.0)
    settings = platform.settings.model_copy(update={"data": platform.folder})
    references = References(settings)
    await references.caught_up()
    plan = await make_plan(Objects(settings.objects_url), references, settings.objects_url)
    named = {file.file.digest for each in (first, second) for file in each.files}
    assert named.isdisjoint(each.digest for each in plan.objects)


async def test_what_is_in_the_way_or_wrong_is_refused(client: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no template 'nothing'"):
        await client.templates.begin("nothing", tmp_path)
    folder = source(tmp_path / "t")
    await client.templates.save("small", folder)
    (tmp_path / "held/src").mkdir(parents=True)
    (tmp_path / "held/src/train.py").write_text("mine")
    with pytest.raises(InvalidInput, match=r"'src/train.py' is there with other content"):
        await client.templates.begin("small", tmp_path / "held")
    with pytest.raises(NotFound):
        await client.experiments.get(name="held")
    await client.templates.begin("small", tmp_path / "held", force=True)
    with pytest.raises(InvalidInput, match="is the folder of experiment 'held'"):
        await client.templates.begin("small", tmp_path / "held", name="other")
    await client.experiments.create("kept-name")
    with pytest.raises(Refused, match="there is an experiment 'kept-name' already"):
        await client.templates.begin("small", tmp_path / "kept-name")
    (folder / "template.yaml").write_text("framework: pytorsh\nscripts: {trainning: a.py}\n")
    with pytest.raises(ManifestError, match=r"(?s)'pytorsh' is none of.*'trainning' is no role.*'training'"):
        await client.templates.save("small", folder)
    (folder / "template.yaml").write_text("scripts: {training: gone.py}\n")
    with pytest.raises(InvalidInput, match=r"scripts.training: the folder has no file 'gone.py'"):
        await client.templates.save("small", folder)
    await client.templates.delete("small")
    assert (await client.templates.list(name="small", deleted=True))[0].version == 1
