"""`datasets`: versions of datasets."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.artifacts import show_fetched
from forgelog.cli.common import (
    AtOption,
    DepthOption,
    DownOption,
    ForceOption,
    IntoOption,
    LimitOption,
    OutputOption,
    UpOption,
    direction_of,
    guarded,
    moment,
    with_client,
)
from forgelog.cli.drifting import show_columns, show_compared, step_text
from forgelog.cli.model_versions import show_lineage
from forgelog.cli.nodes import pairs
from forgelog.cli.progress import Progress
from forgelog.cli.render import Column, Format, age_column, column, note, show_data, show_fields, show_rows, write
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

app = typer.Typer(no_args_is_help=True, help="Show versions of datasets; register, check or download one.")

DIFFERS = 1
"""Exit code of `compare --check` when versions differ."""

FORMATS = ("parquet", "csv", "jsonl", "arrow", "tfrecord", "images", "text", "other")

RefArgument = Annotated[str, typer.Argument(metavar="VERSION", help="NAME/2, or its id; NAME for the newest one.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="key=value (repeatable).")]


@app.command("list")
def show_list(
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    status: Annotated[list[str] | None, typer.Option("--status", help="external, pending, verified, damaged.")] = None,
    format: Annotated[list[str] | None, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = None,
    column_: Annotated[str, typer.Option("--column", help="Only those that have a column of this name.")] = "",
    step: Annotated[str, typer.Option("--step", help="Only those of this preprocessing step: 'resize size=28'.")] = "",
    tag: TagOption = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List versions of datasets, newest first."""
    moved = moment(at)
    filters: dict[str, Any] = {
        "name": name,
        "status": status or (),
        "format": format or (),
        "tags": pairs(tag, "--tag"),
    }
    if step:
        asked = guarded(lambda: _step(step))
        filters |= {"preprocessing": asked["name"], "preprocessing_parameters": asked["parameters"]}
    rows = with_client(lambda client: client.datasets.list(column=column_, limit=limit, at=moved, **filters))
    columns = [
        Column("Version", lambda row: f"{row['name']}/{row['number']}", least=8),
        column("Status", style=True),
        column("Format", "data_format", rank=3),
        column("Samples", right=True, rank=1),
        Column("Size", lambda row: format_bytes(row["size_bytes"] or 0), right=True, rank=2),
        Column("Digest", lambda row: row["digest"][:12], rank=5),
        column("Id", "version_id", rank=6),
        age_column("Made", "created_at", moved or datetime.now(UTC), rank=4),
    ]
    show_rows(rows, columns, output, empty="there are no such datasets")


@app.command("show")
def show(ref: RefArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a version of a dataset."""
    found = with_client(lambda client: client.datasets.get(ref, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    hidden = ("columns", "statistics", "preprocessing")
    fields = {name: value for name, value in found.items() if value not in ("", None, {}, [], 0) and name not in hidden}
    if found.preprocessing:
        fields["preprocessing"] = [step_text(each) for each in found.preprocessing]
    show_fields(fields, title=f"{found.name}/{found.number}")
    show_columns(found)


@app.command("register")
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FILES]", help="A file or a folder of this machine.")
    ] = None,
    digest: Annotated[str, typer.Option("--digest", help="Of data that is elsewhere, instead of files.")] = "",
    source: Annotated[str, typer.Option("--source", help="Where it is, or came from.")] = "",
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)} [default: by the files' names].",
            autocompletion=complete.words(FORMATS),
        ),
    ] = "",
    measure: Annotated[
        bool | None,
        typer.Option(
            "--measure/--no-measure",
            help="Read tables for their schema, counts and statistics [default: if all files are tables].",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=0, help="How many it has.")] = None,
    features: Annotated[int | None, typer.Option("--features", min=0, help="How many each has.")] = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="train=60000 (repeatable).")] = None,
    column_: Annotated[list[str] | None, typer.Option("--column", help="label=uint8 (repeatable).")] = None,
    step: Annotated[
        list[str] | None, typer.Option("--step", help="What was done to it: 'resize size=28' (repeatable).")
    ] = None,
    parent: Annotated[list[str] | None, typer.Option("--parent", help="What it was made of (repeatable).")] = None,
    run: Annotated[str, typer.Option("--run", help="The run that made it.")] = "",
    description: Annotated[str, typer.Option("--description", help="What it is.")] = "",
    tag: TagOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Register a version: files that the platform keeps, or by its digest what is elsewhere."""
    spec: dict[str, Any] = {
        "source": source,
        **({"data_format": format} if format else {}),
        "samples": samples,
        "features": features,
        "splits": _counts(split),
        "columns": pairs(column_, "--column"),
        "preprocessing": guarded(lambda: [_step(each) for each in step or ()]),
        "source_run_id": run,
    }

    async def work(client: AsyncClient) -> Any:
        with Progress("register:", output, bytes=True) as bar:
            return await client.datasets.register(
                name,
                folder=folder or "",
                digest=digest,
                description=description,
                tags=pairs(tag, "--tag"),
                parents=parent or (),
                measure=measure,
                say=note,
                progress=bar.at,
                **spec,
            )

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
    else:
        write(f"{found.name}/{found.number}\n")


@app.command("compare")
def compare(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="NAME/1, or its id.")],
    now: Annotated[str, typer.Argument(metavar="NOW", help="NAME/2, or its id; NAME for the newest one.")],
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="Above what a column has drifted: mean_shift=0.5 (repeatable)."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if the schema differs, or a column drifted.")
    ] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what differs between two versions: schema, counts, preprocessing, and columns that have drifted.

    A column is compared by the shares of missing values (missing) and of its values (total_variation), by its mean
    (mean_shift) and its standard deviation (spread)."""
    limits = guarded(lambda: _limits(limit))
    found = with_client(lambda client: client.datasets.compare(before, now, limits=limits, at=moment(at)))
    if output is not Format.TABLE:
        show_data({**asdict(found), "drifted": found.drifted}, output)
    else:
        show_compared(found)
    if check and (found.schema or found.drifted):
        raise typer.Exit(DIFFERS)


@app.command("check")
def check(ref: RefArgument, output: OutputOption = Format.TABLE) -> None:
    """Have the files compared with their digests once more; `show` says what came of it."""

    async def work(client: AsyncClient) -> Answer:
        return await client.datasets.check(ref)

    outcome = with_client(work)
    if output is not Format.TABLE:
        show_data(outcome, output)
    else:
        note(f"the files of {ref} are looked at")


@app.command("lineage")
def lineage(
    ref: RefArgument,
    up: UpOption = False,
    down: DownOption = False,
    depth: DepthOption = 10,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a dataset was made of, and what was made of it."""
    direction = direction_of(up, down)

    async def work(client: AsyncClient) -> Answer:
        id = (await client.datasets.get(ref)).version_id
        return await client.models.lineage_of("dataset", id, direction=direction, depth=depth, at=moment(at))

    show_lineage(with_client(work), output)


@app.command("download")
def download(
    ref: RefArgument,
    into: IntoOption = Path(),
    force: ForceOption = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch the files of a version that the platform keeps; each is compared with its digest."""
    show_fetched(
        lambda client, progress: client.datasets.download(
            ref, into=into, force=force, at=moment(at), progress=progress
        ),
        into,
        output,
    )


def _step(text: str) -> dict[str, Any]:
    """A step of preprocessing: its name, then its parameters. Raises `InvalidInput`."""
    import shlex

    from forgelog.errors import InvalidInput

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"--step {text!r}: {error}") from None
    name = [word for word in words if "=" not in word]
    if not name:
        raise InvalidInput(f"--step {text!r}: has no name; write 'resize size=28'")
    return {"name": " ".join(name), "parameters": pairs([word for word in words if "=" in word], "--step")}


def _limits(texts: list[str] | None) -> dict[str, float]:
    from forgelog.errors import InvalidInput

    found = {}
    for name, text in pairs(texts, "--limit").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InvalidInput(f"--limit: {text!r} is no number; write {name}=0.5") from None
    return found


def _counts(texts: list[str] | None) -> dict[str, int]:
    from events.process.counts import count_of
    from forgelog.errors import InvalidInput

    found = {}
    for name, text in pairs(texts, "--split").items():
        if (count := count_of(text)) is None:
            raise InvalidInput(f"--split: {text!r} is no number of samples; write {name}=60000")
        found[name] = count
    return found


COMMANDS = {"datasets": app}
