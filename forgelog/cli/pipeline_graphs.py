"""`pipeline graph`: a pipeline's stages and what waits for what, in text or as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from forgelog.cli.common import AtOption, guarded, moment, with_client
from forgelog.cli.pipeline_graph import svg, text
from forgelog.cli.render import write
from forgelog.cli.tables import text_of
from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.files import described, is_file


def graph(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pipeline's name or id, or a file with pipelines.")],
    drawing: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write a drawing, and print nothing.")
    ] = None,
    at: AtOption = None,
) -> None:
    """Draw a pipeline's stages: each below the ones that it waits for."""
    if is_file(name):
        specs = [(each.name, each.spec.model_dump(mode="json")) for each in guarded(lambda: described(name))]
    else:
        row = with_client(lambda client: client.pipelines.get(name, at=moment(at)))
        specs = [(row.name, row.spec)]
    if drawing is not None:
        guarded(lambda: _draw(drawing, specs))
        return
    for pipeline, spec in specs:
        if len(specs) > 1:
            write(f"{pipeline}:\n")
        for line in text(_needs(spec), _labels(spec)):
            write(f"{line}\n")


def _draw(file: Path, specs: Sequence[tuple[str, Any]]) -> None:
    if len(specs) > 1:
        names = ", ".join(name for name, _ in specs)
        raise InvalidInput(f"--svg: the file has several pipelines ({names}), and a drawing has one; give a name")
    ((_, spec),) = specs
    try:
        file.write_text(svg(_needs(spec), _labels(spec), {}), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--svg: can't write {file}: {error.strerror or error}") from None


def needs_of(stage: Mapping[str, Any]) -> list[str]:
    """The stages that a stage of a spec waits for, as `StageSpec.needs` has them."""
    inputs = (given["stage"] for given in stage["inputs"].values() if given.get("stage"))
    return list(dict.fromkeys([*stage["after"], *inputs]))


def _needs(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    return {stage["id"]: needs_of(stage) for stage in spec["stages"]}


def _labels(spec: Mapping[str, Any]) -> dict[str, str]:
    """``clean``, or ``clean: Orders without duplicates`` where a stage has a name for people."""
    return {stage["id"]: text_of(": ".join(filter(None, (stage["id"], stage["name"])))) for stage in spec["stages"]}


def add_to(app: typer.Typer) -> None:
    """Its command, beside the others of `pipeline`."""
    app.command("graph")(graph)
