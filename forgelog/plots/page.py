"""A page of HTML that needs nothing else: no script, no link, no font from elsewhere. Pure. Every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from forgelog.cli.tables import cut, text_of
from forgelog.comparing import Compared
from forgelog.plots import svg
from forgelog.plots.figures import Chart, Parallel, run_title, series_title, short
from forgelog.plots.svg import colour, safe

_CELL = 200
"""Most characters of a value in a table; JSON has all of it."""

_STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
body { margin: 2em auto; max-width: 72em; padding: 0 1em }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: currentColor } svg text.name { font-weight: bold }
.grid { stroke: currentColor; opacity: .15 } .axis { stroke: currentColor }
.line polyline { fill: none; stroke-width: 1.5 } .line:hover polyline { stroke-width: 4 }
.legend { list-style: none; padding: 0; columns: 2 } .legend span { display: inline-block; width: 1.5em; height: .3em;
vertical-align: middle; margin-right: .5em }
.wide { overflow-x: auto } table { border-collapse: collapse } td, th { padding: .2em .6em; text-align: left;
vertical-align: top; overflow-wrap: anywhere; border-bottom: 1px solid #8884 }
tr.differs td { background: #fd02 } .kind { opacity: .6 }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole page."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # Should a text ever get past the escapes, it could load and run nothing.
            """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">""",
            '<meta name="viewport" content="width=device-width">',
            f"<title>{safe(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{safe(title)}</h1>",
            *sections,
            "</body></html>\n",
        ]
    )


def chart_sections(charts: Iterable[Chart]) -> list[str]:
    """Curves, each with its legend."""
    return [f"<section><h2>{safe(chart.title)}</h2>{svg.chart(chart)}{_legend(chart)}</section>" for chart in charts]


def parallel_section(figure: Parallel) -> str:
    """Parallel coordinates; nothing where there are no axes."""
    if not figure.axes:
        return ""
    return f"<section><h2>Parallel coordinates</h2>{svg.parallel(figure)}</section>"


def table_section(runs: Sequence[Any], rows: Iterable[Compared]) -> str:
    """Runs side by side."""
    titles = "".join(f"<th>{safe(run_title(run))}</th>" for run in runs)
    lines = [f"<tr><th></th><th></th>{titles}</tr>"]
    for row in rows:
        name = series_title(row.key, row.model_id, row.dataset)
        cells = "".join(f"<td>{safe(cut(cell_text(row, value), _CELL))}</td>" for value in row.values)
        kind = ' class="differs"' if row.differs and row.kind != "attribute" else ""
        lines.append(f'<tr{kind}><td class="kind">{row.kind}</td><td>{safe(name)}</td>{cells}</tr>')
    return f'<section class="wide"><h2>Side by side</h2><table>{"".join(lines)}</table></section>'


def cell_text(row: Compared, value: Any) -> Any:
    """A value in a table."""
    if row.kind != "metric" or value is None:
        return "" if value is None else text_of(value)
    if value["count"] == 1 or value["min"] is None:
        return short(value["last"])
    return f"{short(value['last'])} (min {short(value['min'])}, max {short(value['max'])})"


def _legend(chart: Chart) -> str:
    items = []
    for index, line in enumerate(chart.lines):
        last = f", last {short(line.ys[-1])}" if line.ys else ""
        items.append(f'<li><span style="background:{colour(index)}"></span>{safe(line.name)}{last}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'
