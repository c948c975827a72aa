"""`pipeline lineage`, `impact`, `quality` and `datasets`: where data comes from, and how good it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import (
    AtOption,
    DepthOption,
    LimitOption,
    OutputOption,
    ReasonOption,
    direction_of,
    moment,
    with_client,
)
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    show_data,
    show_done,
    show_fields,
    show_line,
    show_rows,
)
from forgelog.units import format_duration

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

NameArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Its name or id.", autocompletion=complete.pipeline_datasets)
]
ColumnArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET[.COLUMN]",
        help="A dataset, or one of its columns; or a path or URL, whose dots are its own.",
        autocompletion=complete.pipeline_datasets,
    ),
]
ColumnOption = Annotated[
    str, typer.Option("--column", metavar="NAME", help="Only of this column; dots in DATASET are its own then.")
]

datasets = typer.Typer(no_args_is_help=True, help="Datasets that pipelines make: versions, contracts, rules.")


def lineage(
    what: ColumnArgument,
    up: Annotated[bool, typer.Option("--up", help="Only what it is computed from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what is computed from it.")] = False,
    columns: Annotated[bool, typer.Option("--columns", help="Follow every column.")] = False,
    of_column: ColumnOption = "",
    version: Annotated[
        int, typer.Option("--version", min=0, help="Begin at this version, and say exactly what it came from.")
    ] = 0,
    depth: DepthOption = 10,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a dataset or a column is computed from, and what is computed from it."""
    direction = direction_of(up, down)

    async def work(client: AsyncClient) -> Answer:
        name, named = (what, of_column) if of_column else _split(what, client.project)
        return await client.pipeline_data.lineage(
            name, named, version=version, direction=direction, depth=depth, columns=columns, at=moment(at)
        )

    found = with_client(work)
    _show_lineage(found, output, empty="nothing is known of where it comes from, nor of what came of it")


def impact(
    what: ColumnArgument,
    of_column: ColumnOption = "",
    depth: DepthOption = 10,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a change of a dataset or of a column reaches, by columns."""

    async def work(client: AsyncClient) -> Answer:
        name, named = (what, of_column) if of_column else _split(what, client.project)
        return await client.pipeline_data.impact(name, named, depth=depth, at=moment(at))

    found = with_client(work)
    _show_lineage(found, output, empty="nothing is computed from it")


def quality(
    name: Annotated[
        str, typer.Argument(metavar="[DATASET]", help="Only of it.", autocompletion=complete.pipeline_datasets)
    ] = "",
    rule: Annotated[str, typer.Option("--rule", help="Only of this rule.")] = "",
    run: Annotated[str, typer.Option("--run", help="Only of this run.")] = "",
    breached: Annotated[bool, typer.Option("--breached", help="Only breaches.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List what came of quality rules, newest first."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.pipeline_data.checks(
            dataset=name, rule=rule, run=run, breached=breached, at=moved, limit=limit
        )
    )
    columns = [
        column("Rule", "rule_id", least=8),
        Column("Result", _result),
        Column("Passed", lambda row: f"{100 * row['pass_rate']:.4g} %", right=True),
        column("Failed", right=True),
        column("Severity", rank=2),
        column("Dataset", "dataset_id", rank=1),
        Column("Version", lambda row: str(row["version"] or ""), right=True, rank=2),
        column("Run", "run_id", rank=3),
        age_column("Age", "evaluated_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="no rule was evaluated")


def _result(row: Any) -> str:
    return ("stopped" if row["stops"] else "breached") if row["breached"] else "ok"


def _split(what: str, project: str) -> tuple[str, str]:
    """A dataset's name, or its id with the ending of the project's ids, and a column: what stands behind the dot. A
    path or a URL is a dataset as a whole."""
    from events.language.common import DEFAULT_PROJECT
    from events.log.ids import id_ending

    if "/" in what:
        return what, ""
    name, _, column = what.partition(".")
    ending = id_ending(project or DEFAULT_PROJECT)
    if not ending or f".{column}".partition(ending)[0]:
        return name, column
    return name + ending, f".{column}".removeprefix(ending).removeprefix(".")


def _show_lineage(found: Answer, output: Format, *, empty: str) -> None:
    if output is not Format.TABLE:
        show_data(found, output)
        return
    labels = {node.dataset_id: node.label for node in found.nodes}

    def end(row: Any, which: str) -> str:
        name = labels.get(row[which], row[which])
        version, named = row[f"{which}_version"], row[f"{which}_column"]
        return (f"{name}.{named}" if named else name) + (f" v{version}" if version else "")

    columns = [
        Column("Step", lambda row: str(row["depth"]), right=True),
        Column("From", lambda row: end(row, "source"), least=12, wrap=True),
        Column("To", lambda row: end(row, "target"), least=12, wrap=True),
        Column("By", lambda row: row["job"] or row["run_id"], rank=1),
        column("Unresolved", rank=2, least=12, wrap=True),
    ]
    show_rows(found.edges, columns, output, empty=empty)
    if found.cut:
        note("there is more: only the nearest 5,000 edges are shown")


@datasets.command("ls")
def ls(
    name: Annotated[str, typer.Option("--name", help="A part of the name or of the place.")] = "",
    stale: Annotated[
        bool, typer.Option("--stale", help="Only those that are older than their contract allows.")
    ] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List datasets, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipeline_data.list(name=name, stale=stale, at=moved, limit=limit))
    columns = [
        column("Name", least=12),
        column("Version", right=True),
        column("Rows", right=True, rank=1),
        Column("State", _state),
        Column("Quality", lambda row: _percent(row.get("quality_score")), right=True, rank=1),
        column("Place", "location", rank=3, least=16),
        column("Made by", "run_id", rank=2),
        age_column("Published", "published_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="there are no such datasets")


def _state(row: Any) -> str:
    return ", ".join(word for word in ("stale", "anomalous") if row[word]) or ("fresh" if row["version"] else "empty")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.4g} %"


@datasets.command("show")
def show(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a dataset as its newest published version is, with its contract and rules."""
    found = with_client(lambda client: client.pipeline_data.get(name, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    contract = found.contract
    fields = {
        "id": found.dataset_id,
        "place": found.location,
        "version": found.version,
        "state": _state(found),
        "rows": found.rows,
        "bytes": found.bytes,
        "columns": [
            f"{each['name']} {each['type']}{'' if each['nullable'] else ' not null'}" for each in found.columns
        ],
        "schema": found.schema_version,
        "quality": _percent(found.quality_score),
        "contract": contract["mode"],
        "fresh for": format_duration(contract["freshness"]["within_seconds"]) if contract.get("freshness") else "",
        "rules": "; ".join(_rule_text(each) for each in found.rules),  # texts with commas
        "tells": found.subscribers,
        "made by": found.run_id,
        "published": found.published_at,
        "project": found.project,
    }
    show_fields(fields, title=found.name)


def _rule_text(defined: Any) -> str:
    """``known: completeness of id, error``"""
    rule = defined["rule"]
    about = f" of {', '.join(rule['columns'])}" if rule["columns"] else ""
    return f"{rule['rule_id']}: {rule['type']}{about}, {rule['severity'] if rule['enabled'] else 'off'}"


@datasets.command("versions")
def versions(
    name: NameArgument, limit: LimitOption = 50, at: AtOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List a dataset's versions, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipeline_data.versions(name, at=moved, limit=limit))
    columns = [
        column("Version", right=True),
        column("Status", style=True),
        column("Rows", right=True),
        Column("Set aside", lambda row: row["quarantined"] or "", right=True, rank=2),
        Column("Quality", lambda row: _percent(row.get("quality_score")), right=True, rank=1),
        column("Run", "run_id", rank=1),
        column("Stage", "stage_id", rank=2),
        column("Why", "reason", rank=2, least=12),
        age_column("Committed", "committed_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="it has no version yet")


@datasets.command("schemas")
def schemas(
    name: NameArgument, limit: LimitOption = 50, at: AtOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List the schemas that a dataset has had, newest first, with what each changed."""
    moved = moment(at)
    rows = with_client(lambda client: client.pipeline_data.schemas(name, at=moved, limit=limit))
    columns = [
        column("Schema", "schema_version", right=True),
        column("Version", right=True),
        Column("Changes", lambda row: ", ".join(map(_change_text, row["changes"])), least=16, wrap=True),
        age_column("Age", "changed_at", moved or datetime.now(UTC), rank=1),
    ]
    show_rows(rows, columns, output, empty="it has no schema yet")


def _change_text(change: Any) -> str:
    """``+note VARCHAR``, ``-id``, ``price: INTEGER to BIGINT``"""
    match change["kind"]:
        case "added":
            return f"+{change['column']} {change['after']}"
        case "removed":
            return f"-{change['column']}"
        case "retyped":
            return f"{change['column']}: {change['before']} to {change['after']}"
    return f"{change['column']} {change['kind']}"


@datasets.command("define")
def define(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Datasets of a manifest; - for stdin.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what the versions of a file's datasets must be: their contracts, and rules that check them whichever pipeline
    makes them. Rules of a dataset that the file does not have stay."""
    outcomes = with_client(lambda client: client.pipeline_data.apply(file))
    if output is not Format.TABLE:
        show_data(outcomes, output)
        return
    changed = sum(outcome.result != "unchanged" for outcome in outcomes)
    note(f"{changed} changed, {len(outcomes) - changed} as they were")


@datasets.command("abandon")
def abandon(
    name: NameArgument,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The committed one.")],
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Give up a committed version that can't be published, so that the next one can be committed."""
    outcome = with_client(lambda client: client.pipeline_data.abandon(name, version, reason=reason))
    show_done(outcome, f"version {version} of {name} is abandoned", output)


@datasets.command("openlineage")
def openlineage(name: NameArgument, limit: LimitOption = 100, at: AtOption = None) -> None:
    """Show a dataset's published versions as events of OpenLineage, one JSON object a line, the oldest first."""
    from events.queries.openlineage import event_of

    rows = with_client(
        lambda client: client.pipeline_data.versions(name, status=("published",), at=moment(at), limit=limit)
    )
    for row in reversed(rows):
        show_line(event_of(row))


def add_to(app: typer.Typer) -> None:
    """Its commands, beside the others of `pipeline`."""
    app.command("lineage")(lineage)
    app.command("impact")(impact)
    app.command("quality")(quality)
    app.add_typer(datasets, name="datasets")
