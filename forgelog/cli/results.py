"""`runs results`, `runs best-checkpoint`, `experiments results`: what came of runs, and what they used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Format, show_data, show_done, show_fields
from forgelog.cli.selecting import experiment_id

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.rows import ExperimentResultsAnswer, RunResultsAnswer

IdArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


def show(id: IdArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show what came of a run (metrics, best checkpoint, model versions), and the hours and costs of its process."""
    found = with_client(lambda client: client.results.get(id, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    metrics = [
        f"{' '.join(part for part in (each.key, each.model_id, each.dataset) if part)}={each.value:g}"
        for each in found.metrics
    ]
    shown = {
        "metrics": metrics,
        "best checkpoint": found.best_checkpoint,
        "model versions": found.model_versions,
        **_used(found),
    }
    show_fields(shown, title=id)


def show_experiment(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its name or its id.")],
    metric: Annotated[
        str, typer.Argument(metavar="[METRIC]", help="By its last values runs are compared; without one none is best.")
    ] = "",
    minimize: Annotated[bool, typer.Option("--minimize", help="The least value is best.")] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show an experiment's best run and best version of a model, by a metric, and what its runs used."""
    moved = moment(at)

    async def work(client: AsyncClient) -> ExperimentResultsAnswer:
        id = await experiment_id(client, experiment, moved)
        return await client.results.of_experiment(id, metric, minimize=minimize, at=moved)

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    run, version = (
        f"{each} ({metric}={value:g})" if each else ""
        for each, value in (
            (found.best_run_id, found.best_value),
            (found.best_model_version, found.best_model_value),
        )
    )
    show_fields({"best run": run, "best model version": version, **_used(found)}, title=experiment)


def best_checkpoint(
    id: IdArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file or a folder of the run; '' for none.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say which file or folder of a run is its best checkpoint."""
    path = path.rstrip("/")
    done = with_client(lambda client: client.results.set_best_checkpoint(id, path))
    show_done(done, f"the best checkpoint of run {id} is {path or 'none'}", output)


def _used(found: RunResultsAnswer | ExperimentResultsAnswer) -> dict[str, str]:
    return {
        "compute hours": f"{found.compute_hours:.3f}",
        "CPU hours": f"{found.cpu_hours:.3f}",
        "GPU hours": f"{found.gpu_hours:.3f}",
        "estimated cost": "" if found.estimated_cost is None else f"{found.estimated_cost:.2f}",
    }
