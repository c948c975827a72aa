"""`models`, the commands about versions; `forgelog.cli.models` has them all."""

from __future__ import annotations

import shlex
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
    moment,
    with_client,
)
from forgelog.cli.experiments import FrameworkOption
from forgelog.cli.nodes import pairs
from forgelog.cli.progress import Progress
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    show_data,
    show_done,
    show_fields,
    show_rows,
    write,
)
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

FORMATS = ("onnx", "torchscript", "safetensors", "saved_model", "pickle", "other")
STAGES = ("none", "staging", "production", "archived")
ACCESSES = ("project", "public", "restricted")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Its name, or its id.")]
RefArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="NAME/3, NAME@ALIAS, NAME:ENVIRONMENT; NAME for the newest one.")
]
NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", help="A version's number.", min=1)]
EnvironmentArgument = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Such as production.")]
PromotionArgument = Annotated[str, typer.Argument(metavar="PROMOTION", help="Its id.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="key=value (repeatable).")]
MetricOption = Annotated[
    list[str] | None, typer.Option("--metric", help="validation.accuracy=0.98; training, validation or test.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]


def versions(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Its name, or its id [default: all].")] = "",
    status: Annotated[list[str] | None, typer.Option("--status", help="pending, verified, damaged.")] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", help=f"{', '.join(STAGES)}.", autocompletion=complete.words(STAGES)),
    ] = None,
    run: Annotated[str, typer.Option("--run", help="Only those that this run made.")] = "",
    tag: TagOption = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="At least so much: validation.accuracy=0.98 (repeatable).")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="Such as \"number > 3 and (stage = 'staging' or tags.team = 'a')\".")
    ] = "",
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List versions, newest first."""
    moved = moment(at)
    filters: dict[str, Any] = {"status": status or (), "stage": stage or (), "run": run, "tags": pairs(tag, "--tag")}
    filters["filter"] = filter
    rows = with_client(
        lambda client: client.models.versions(
            model, metrics_at_least=_numbers(metric), limit=limit, at=moved, **filters
        )
    )
    columns = [
        Column("Version", lambda row: f"{row['name']}/{row['number']}", least=8),
        column("Status", style=True),
        Column("Aliases", lambda row: ", ".join(row["aliases"])),
        Column("Live", lambda row: ", ".join(row["environments"]), rank=1),
        column("Stage", rank=5),
        column("Format", "model_format", rank=4),
        Column("Size", lambda row: format_bytes(row["size_bytes"]), right=True, rank=3),
        column("Run", "source_run_id", rank=6),
        age_column("Made", "created_at", moved or datetime.now(UTC), rank=2),
    ]
    show_rows(rows, columns, output, empty="there are no such versions")


def show(ref: RefArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a version; with --at the one that an alias or an environment meant then."""
    found = with_client(lambda client: client.models.version(ref, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    tell_fields(found, f"{found.name}/{found.number}")
    for warning in found.warnings:
        note(f"warning: {warning}")


def publish(
    model: ModelArgument,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FILES]", help="A file or a folder of this machine.")
    ] = None,
    run: Annotated[str, typer.Option("--run", help="Files of this run.")] = "",
    path: Annotated[str, typer.Option("--path", help="Which file or folder of the run.")] = "",
    framework: FrameworkOption = "",
    format: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}.", autocompletion=complete.words(FORMATS))
    ] = "other",
    architecture: Annotated[str, typer.Option("--architecture", help="Such as resnet50.")] = "",
    quantization: Annotated[str, typer.Option("--quantization", help="none, fp16, bf16, fp8, int8, int4.")] = "none",
    optimization: Annotated[str, typer.Option("--optimization", help="What made it fast.")] = "",
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="The checkpoint that it was made of.")] = "",
    parent: Annotated[
        list[str] | None, typer.Option("--parent", help="fine_tuned=NAME/3: what it was made of, and how (repeatable).")
    ] = None,
    signature: Annotated[
        str,
        typer.Option(
            "--signature", metavar="FILE", help="What it takes and gives: inputs and outputs, as YAML; - for stdin."
        ),
    ] = "",
    metric: MetricOption = None,
    notes: Annotated[str, typer.Option("--notes", help="What is to be known of it.")] = "",
    tag: TagOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Publish a version: files of a run, or of this machine. Returns once each file was compared with its digest."""

    described = _signature(signature)

    async def work(client: AsyncClient) -> Any:
        from forgelog.errors import NotFound

        try:
            await client.models.get(model)  # before anything is sent
        except NotFound as error:
            raise NotFound(f"{error}; make it first: forgelog models register {shlex.quote(model)}") from None
        parents = [
            {"derivation": how, "version_id": (await client.models.version(ref)).version_id}
            for how, ref in pairs(parent, "--parent").items()
        ]
        with Progress("publish:", output, bytes=True) as bar:
            return await client.models.create_version(
                model,
                run=run,
                path=path.rstrip("/"),
                folder=folder or "",
                framework=framework or None,
                model_format=format,
                architecture=architecture,
                quantization=quantization,
                optimization=optimization,
                checkpoint_id=checkpoint,
                parents=parents,
                **described,
                metrics=_metrics(metric),
                notes=notes,
                tags=pairs(tag, "--tag"),
                progress=bar.at,
            )

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    write(f"{found.name}/{found.number}\n")
    for warning in found.warnings:
        note(f"warning: {warning}")


def annotate(
    ref: RefArgument,
    notes: Annotated[str | None, typer.Option("--notes", help="What is to be known of it.")] = None,
    tag: TagOption = None,
    remove_tag: Annotated[list[str] | None, typer.Option("--remove-tag", help="A tag's key (repeatable).")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change what is said of a version; its files never change."""
    tags = {**pairs(tag, "--tag"), **dict.fromkeys(remove_tag or ())}
    do(lambda client: client.models.update_version(ref, notes=notes, tags=tags), f"{ref} is changed", output)


def delete_version(ref: RefArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a version out of the lists; its number is not given again."""
    do(lambda client: client.models.delete_version(ref), f"{ref} is gone", output)


def check(ref: RefArgument, output: OutputOption = Format.TABLE) -> None:
    """Compare a version's files with their digests once more."""
    found = with_client(lambda client: client.models.check(ref))
    if output is not Format.TABLE:
        show_data(found, output)
    else:
        note(f"{found.name}/{found.number} is {found.status}" + (f": {found.reason}" if found.reason else ""))
    if found.status == "damaged":
        raise typer.Exit(1)


def stage(
    ref: RefArgument,
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help=f"{', '.join(STAGES)}.", autocompletion=complete.words(STAGES))
    ],
    archive: Annotated[bool, typer.Option("--archive-existing", help="Archive others of that stage.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Set a version's stage."""
    do(lambda client: client.models.set_stage(ref, stage, archive_existing=archive), f"{ref} is {stage}", output)


def lineage(
    ref: RefArgument,
    up: UpOption = False,
    down: DownOption = False,
    depth: DepthOption = 10,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a version was made of, and what was made of it."""
    direction = direction_of(up, down)
    found = with_client(lambda client: client.models.lineage(ref, direction=direction, depth=depth, at=moment(at)))
    show_lineage(found, output)


def show_lineage(found: Answer, output: Format) -> None:
    """Edges as rows, nearest first."""
    if output is not Format.TABLE:
        show_data(found, output)
        return
    labels = {(node.kind, node.id): node.label or node.id for node in found.nodes}

    def said(row: Any, end: str) -> str:
        return f"{row[f'{end}_kind']} {labels.get((row[f'{end}_kind'], row[end]), row[end])}"

    columns = [
        Column("From", lambda row: said(row, "source"), least=12, wrap=True),
        column("How", "relation"),
        Column("To", lambda row: said(row, "target"), least=12, wrap=True),
    ]
    show_rows(found.edges, columns, output, empty="nothing is known of where it comes from, nor of what came of it")
    if found.cut:
        note("there is more: only the nearest 5,000 edges are shown")


def download(
    ref: RefArgument,
    into: IntoOption = Path(),
    force: ForceOption = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch a version's files; each is compared with its digest."""
    show_fetched(
        lambda client, progress: client.models.download(ref, into=into, force=force, at=moment(at), progress=progress),
        into,
        output,
    )


def do(work: Callable[[AsyncClient], Awaitable[Answer]], text: str, output: Format) -> None:
    async def done(client: AsyncClient) -> Answer:
        return await work(client)

    show_done(with_client(done), text, output)


def tell_fields(found: Any, title: str) -> None:
    show_fields({name: value for name, value in found.items() if value not in ("", None, {}, [], 0)}, title=title)


def _numbers(texts: list[str] | None) -> dict[str, float]:
    from forgelog.errors import InvalidInput

    found = {}
    for name, text in pairs(texts, "--metric").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InvalidInput(f"--metric: {text!r} is no number; write NAME=0.98") from None
    return found


def _signature(path: str) -> dict[str, Any]:
    """What a file says of inputs and outputs; nothing without a file. Raises `ManifestError`."""
    if not path:
        return {}
    from forgelog.manifest import kinds
    from forgelog.manifest.signatures import SIGNATURE

    return {"signature": kinds.load(path, SIGNATURE)[0]}


def _metrics(texts: list[str] | None) -> dict[str, dict[str, float]]:
    """By the data that they are of. Raises `InvalidInput`."""
    from forgelog.errors import InvalidInput

    found: dict[str, dict[str, float]] = {}
    for name, value in _numbers(texts).items():
        kind, dot, metric = name.partition(".")
        if not dot or kind not in ("training", "validation", "test"):
            raise InvalidInput(f"--metric: {name!r} has no kind; write training., validation. or test. before it")
        found.setdefault(kind, {})[metric] = value
    return found
