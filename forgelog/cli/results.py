"""`runs results` and `runs best-checkpoint`: what came of a run, and what it used."""

from __future__ import annotations

from typing import Annotated

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Format, show_data, show_done, show_fields

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
    cost = "" if found.estimated_cost is None else f"{found.estimated_cost:.2f}"
    shown = {
        "metrics": metrics,
        "best checkpoint": found.best_checkpoint,
        "model versions": found.model_versions,
        "compute hours": f"{found.compute_hours:.3f}",
        "CPU hours": f"{found.cpu_hours:.3f}",
        "GPU hours": f"{found.gpu_hours:.3f}",
        "estimated cost": cost,
    }
    show_fields(shown, title=id)


def best_checkpoint(
    id: IdArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file or a folder of the run.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say which file or folder of a run is its best checkpoint."""
    done = with_client(lambda client: client.results.set_best_checkpoint(id, path.rstrip("/")))
    show_done(done, f"the best checkpoint of run {id} is {path}", output)
