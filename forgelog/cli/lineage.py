"""`lineage`: from what was served back to the rows that it was learned from, through all contexts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, DepthOption, OutputOption, moment, with_client
from forgelog.cli.render import Column, Format, column, note, show_data, show_rows

app = typer.Typer(
    no_args_is_help=True,
    help="What an answer, a model or a table was made of: through deployments, runs and pipelines.",
)

DeploymentArgument = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="Its name or id.", autocompletion=complete.deployments)
]

_COLUMNS = (
    Column("Step", lambda row: str(row["depth"]), right=True),
    Column("What", lambda row: row["kind"].replace("_", " ")),
    Column("Which", lambda row: "  " * row["depth"] + row["label"], least=24, wrap=True),
    Column("How", lambda row: row["how"], rank=1),
    column("Detail", rank=1, least=24, wrap=True),
    column("When", "time", rank=2),
)


@app.command("request")
def request(
    name: DeploymentArgument,
    id: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id: x-request-id of the answer.")],
    depth: DepthOption = 30,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Follow an answer back: its revision, model, run, data, and the stages and sources that made these."""
    _show("request", name, depth, at, output, request=id)


@app.command("deployment")
def deployment(
    name: DeploymentArgument,
    revision: Annotated[int, typer.Option("--revision", min=0, help="This one, else that in place.")] = 0,
    depth: DepthOption = 30,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Follow back what a deployment serves."""
    _show("deployment", name, depth, at, output, revision=revision)


@app.command("model")
def model(
    ref: Annotated[str, typer.Argument(metavar="MODEL", help="As name/3 or name@alias.")],
    depth: DepthOption = 30,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Follow a version of a model back."""
    _show("model", ref, depth, at, output)


@app.command("run")
def run(
    id: Annotated[str, typer.Argument(metavar="RUN", help="Of an experiment.")],
    depth: DepthOption = 30,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Follow a run of an experiment back."""
    _show("run", id, depth, at, output)


@app.command("dataset")
def dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Of a pipeline: name, or name/3.", autocompletion=complete.pipeline_datasets
        ),
    ],
    depth: DepthOption = 30,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Follow a version of a dataset back."""
    _show("dataset", name, depth, at, output)


def _show(kind: str, name: str, depth: int, at: Any, output: Format, **more: Any) -> None:
    found = with_client(lambda client: client.lineage.trace(kind, name, depth=depth, at=moment(at), **more))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    show_rows(_as_tree(found), _COLUMNS, output)
    if found.cut:
        note("there is more: give a greater --depth")


def _as_tree(found: Any) -> list[dict[str, Any]]:
    """The nodes, each below the first that was made of it, and how."""
    known = {(each.kind, each.id): each for each in found.nodes}
    below: dict[tuple[str, str], list[dict[str, Any]]] = {}
    placed = set[tuple[str, str]]()
    for edge in found.edges:
        source, target = (edge.source_kind, edge.source), (edge.target_kind, edge.target)
        if source not in placed and known[source].depth == known[target].depth + 1:
            placed.add(source)
            below.setdefault(target, []).append({**known[source], "how": edge.relation})
    rows: list[dict[str, Any]] = []
    left = [{**each, "how": ""} for each in found.nodes[:1]]
    while left:
        row = left.pop()
        rows.append(row)
        left += reversed(below.get((row["kind"], row["id"]), []))
    return rows


COMMANDS = {"lineage": app}
