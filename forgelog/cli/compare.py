"""`compare`: runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Column, Format, column, note, print_table, show_data, terminal_width, write
from forgelog.cli.run_plots import HtmlOption, LimitOption, parallel_of, write_page
from forgelog.cli.selecting import ExperimentOption, FilterOption, RunsArgument, Selection
from forgelog.cli.tables import cut, text_of

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.comparing import Compared

_KEYS, _CELL = 36, 18
"""Characters for the names of rows, and for the values of one run, by which runs are divided among tables."""
_MOST_SHOWN = 60
"""Characters of a value; JSON has all of it."""
_MOST_CHARTS = 20
"""Most metrics that a page draws; `runs curves --html` draws those that it is told."""


def compare(
    ids: RunsArgument = None,
    experiment: ExperimentOption = "",
    filter: FilterOption = "",
    limit: LimitOption = 10,
    differing: Annotated[bool, typer.Option("--diff", "-d", help="Only what differs.")] = False,
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", help="Only this parameter, metric or tag (repeatable).")
    ] = None,
    html: HtmlOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show runs side by side: parameters, metrics (last, smallest, largest), datasets, tags; those that differ first.

    With --html: as a page, with curves and parallel coordinates.
    """
    from forgelog.comparing import compare as compared

    chosen = Selection(ids or (), experiment, filter, limit, moment(at))

    async def work(client: AsyncClient) -> tuple[Any, Any, Any]:
        runs = await chosen.runs(client)
        named = [run.run_id for run in runs]
        metrics = await client.runs.metrics(named, at=chosen.at)
        keys = list(dict.fromkeys(row.key for row in metrics if not key or row.key in key))[:_MOST_CHARTS]
        curves = await client.runs.curves(named, keys=keys, at=chosen.at) if html is not None and keys else []
        return runs, metrics, curves

    runs, metrics, curves = with_client(work)
    rows = [
        row
        for row in compared(runs, metrics)
        if (not key or row.key in key or row.kind == "attribute") and (row.differs or not differing)
    ]
    if html is not None:
        from forgelog.plots.figures import charts, run_title
        from forgelog.plots.page import chart_sections, parallel_section, table_section

        drawn = charts(curves, "step", {run.run_id: run_title(run) for run in runs})
        sections = [table_section(runs, rows), parallel_section(parallel_of(runs, None, None)), *chart_sections(drawn)]
        write_page(html, f"{len(runs)} runs", sections)
    if output is not Format.TABLE:
        show_data({"runs": [run.run_id for run in runs], "rows": [_data(row) for row in rows]}, output)
    elif html is None:
        _show(runs, rows)


def _data(row: Compared) -> dict[str, Any]:
    data = asdict(row)
    return data if row.kind == "metric" else {name: data[name] for name in ("kind", "key", "values", "differs")}


def _show(runs: Sequence[Any], rows: Sequence[Compared]) -> None:
    lines = [line for row in rows for line in _lines(row)]
    for first, last in _blocks(len(runs), terminal_width()):
        columns: list[Column] = [column("", "kind"), column("", "mark"), column("", "key", least=12)]
        columns += [_of_run(index, runs[index].run_id) for index in range(first, last)]
        if first:
            write("\n")
        print_table(lines, columns)
    if len(runs) == 1:
        note("there is one run to compare; name more")


def _of_run(index: int, title: str) -> Column:
    return Column(title, lambda row: cut(text_of(row["values"][index]), _MOST_SHOWN), least=_CELL)


def _blocks(runs: int, width: int | None) -> Iterator[tuple[int, int]]:
    """The runs of each table: as many as fit beside each other."""
    many = runs if width is None else max(1, (width - _KEYS) // (_CELL + 2))
    for first in range(0, runs, many):
        yield first, min(first + many, runs)


def _lines(row: Compared) -> Iterator[dict[str, Any]]:
    from forgelog.plots.figures import series_title, short

    mark = "≠" if row.differs and row.kind != "attribute" else ""
    line = {"kind": row.kind, "mark": mark, "key": series_title(row.key, row.model_id, row.dataset)}
    if row.kind != "metric":
        yield {**line, "values": row.values}
        return
    several = any(value is not None and value["count"] > 1 for value in row.values)
    for part in ("last", "min", "max") if several else ("last",):
        values = [None if value is None or value[part] is None else short(value[part]) for value in row.values]
        yield (
            {**line, "values": values}
            if part == "last"
            else {**line, "kind": "", "mark": "", "key": f"  {part}", "values": values}
        )


COMMANDS = {"compare": compare}
