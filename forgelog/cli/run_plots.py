"""`runs curves` and `runs plot`: drawings of runs, in the terminal or into files; `forgelog.cli.runs` has them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Format, is_terminal, note, show_data, terminal_width, write
from forgelog.cli.selecting import ExperimentOption, FilterOption, RunsArgument, Selection

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.plots.figures import Parallel

AXES = ("step", "time")
MOST_AXES = 8
"""Most parameters, and most metrics, that are drawn if none are named."""

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page that needs nothing else, to be opened anywhere."),
]
PngOption = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write an image (needs matplotlib).")]
KeyOption = Annotated[list[str] | None, typer.Option("--key", "-k", help="Only this metric (repeatable).")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Most runs of an experiment.")]
WidthOption = Annotated[
    int | None, typer.Option("--width", min=10, max=1000, help="Characters [default: as the terminal].")
]
HeightOption = Annotated[int, typer.Option("--height", min=2, max=200, help="Lines of a drawing.")]


def curves(
    ids: RunsArgument = None,
    experiment: ExperimentOption = "",
    filter: FilterOption = "",
    limit: LimitOption = 10,
    key: KeyOption = None,
    axis: Annotated[str, typer.Option("--axis", help="step or time.", autocompletion=complete.words(AXES))] = "step",
    width: WidthOption = None,
    height: HeightOption = 12,
    html: HtmlOption = None,
    png: PngOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Draw the metrics of runs, each metric with a line for each run; as JSON, the points of the drawing."""
    from forgelog.cli.curves import drawings
    from forgelog.plots.figures import charts, run_title

    room = drawing_width(width)
    chosen = Selection(ids or (), experiment, filter, limit, moment(at))
    into_file = html is not None or png is not None
    pixels = 500 if width is None and (into_file or output is not Format.TABLE) else 2 * room

    async def work(client: AsyncClient) -> tuple[Any, Any]:
        runs = await chosen.runs(client)
        named = [run.run_id for run in runs]
        return runs, await client.runs.curves(named, keys=key or (), axis=axis, width=pixels, at=chosen.at)

    runs, found = with_client(work)
    drawn = charts(found, axis, {run.run_id: run_title(run) for run in runs})
    if html is not None:
        from forgelog.plots.page import chart_sections

        write_page(html, "Metrics", chart_sections(drawn))
    if png is not None:
        from forgelog.plots.image import charts_png

        write_image(png, charts_png(drawn) if drawn else b"")
    if output is not Format.TABLE:
        show_data(found, output)
    elif not found:
        note("there are no such metrics")
    elif not into_file:
        for line in drawings(drawn, room, height, is_terminal()):
            write(line + "\n")


def plot(
    ids: RunsArgument = None,
    experiment: ExperimentOption = "",
    filter: FilterOption = "",
    limit: LimitOption = 100,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY", help="An axis (repeatable) [default: those that differ]."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="KEY", help="An axis (repeatable) [default: those of most runs]."),
    ] = None,
    width: WidthOption = None,
    height: HeightOption = 16,
    html: HtmlOption = None,
    png: PngOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Draw runs as lines across their parameters and the last values of their metrics (parallel coordinates)."""
    from forgelog.cli.parallel import drawing

    chosen = Selection(ids or (), experiment, filter, limit, moment(at))
    runs = with_client(chosen.runs)
    figure = parallel_of(runs, param, metric)
    if not figure.axes:
        note("the runs have neither metrics nor parameters that differ")
        return
    if html is not None:
        from forgelog.plots.page import parallel_section

        write_page(html, "Runs", [parallel_section(figure)])
    if png is not None:
        from forgelog.plots.image import parallel_png

        write_image(png, parallel_png(figure))
    if output is not Format.TABLE:
        axes = [{"name": axis.name, "values": axis.values, "places": axis.places} for axis in figure.axes]
        show_data({"runs": [run.run_id for run in runs], "axes": axes}, output)
    elif html is None and png is None:
        for line in drawing(figure, drawing_width(width), height, is_terminal()):
            write(line + "\n")


def parallel_of(runs: Any, params: list[str] | None, metrics: list[str] | None) -> Parallel:
    """The axes that were named, else what differs; a note says what is left out."""
    from forgelog.plots.figures import differing_params, metric_keys, parallel

    chosen_params, chosen_metrics = params or [], metrics or []
    if params is None and metrics is None:
        chosen_params, chosen_metrics = differing_params(runs), metric_keys(runs)
        for option, keys in (("--param", chosen_params), ("--metric", chosen_metrics)):
            if len(keys) > MOST_AXES:
                note(f"{len(keys) - MOST_AXES} more could be axes; choose with {option}")
    return parallel(runs, chosen_params[:MOST_AXES] if params is None else params, chosen_metrics[:MOST_AXES])


def drawing_width(given: int | None) -> int:
    """Characters of a drawing, beside its labels."""
    from forgelog.cli.plots import WIDTH

    return given or max(min(terminal_width() or WIDTH + 12, 1000) - 12, 10)


def write_page(path: Path, title: str, sections: list[str]) -> None:
    from forgelog.export_files import write_whole
    from forgelog.plots.page import page

    write_whole(path, page(title, sections).encode(), "--html")
    note(f"{path} has it")


def write_image(path: Path, data: bytes) -> None:
    from forgelog.export_files import write_whole

    if data:
        write_whole(path, data, "--png")
        note(f"{path} has it")
