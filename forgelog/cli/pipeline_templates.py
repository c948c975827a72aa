"""`pipeline template`: pipelines to begin with. Some come with Forgelog, as folders to write; others are saved on the
platform, and pipelines are made of them there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, guarded, moment, with_client
from forgelog.cli.groups import Group
from forgelog.cli.nodes import pairs
from forgelog.cli.render import (
    Column,
    Format,
    column,
    note,
    print_table,
    show_data,
    show_done,
    show_fields,
    show_rows,
    write,
)
from forgelog.cli.show import wants
from forgelog.cli.templates import rating_text
from forgelog.errors import InvalidInput, NotFound, Refused
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

FOLDER = Path(__file__).parents[1] / "pipelines" / "templates"
MANIFEST = "pipeline.yaml"
PLACE = "FOLDER/"
"""Stands in a template's manifest for where it is written to: paths of files are whole."""
ORDERS = ("uses", "rating")

TemplateArgument = Annotated[
    str,
    typer.Argument(metavar="TEMPLATE", help="Its name, or its id.", autocompletion=complete.pipeline_templates),
]

_RATINGS = (
    column("Stars", right=True),
    column("By", "rater"),
    column("Revision", right=True),
    column("Comment"),
    column("When", "rated_at"),
)


def names() -> list[str]:
    """The templates that come with Forgelog."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / MANIFEST).is_file())


class _Group(Group):
    """What is no command of it is a template that comes with Forgelog: ``template NAME --into FOLDER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (self.get_command(ctx, args[0]) is None and args[0] not in ctx.help_option_names):
            args = ["new", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Begin a pipeline: list, save, use and rate templates; write one that comes with Forgelog into a folder.",
)


@app.command("new")
def new(
    name: Annotated[
        str,
        typer.Argument(metavar="[TEMPLATE]", help="Left out: list them.", autocompletion=complete.words(names())),
    ] = "",
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="The new folder [default: the template's name].")
    ] = None,
) -> None:
    """Write the files of a template that comes with Forgelog into a new folder (the word new may be left out)."""
    if not name:
        for each in names():
            write(f"{each:<26}{_about(each)}\n")
        return
    folder = guarded(lambda: _written(name, into or Path(name)))
    note(f"{folder}: {', '.join(_files(folder))}")
    note(f"{_about(name)}. Read {folder / MANIFEST} first.")


@app.command("ls")
def ls(
    text: Annotated[str, typer.Option("--text", help="A part of the name or of the description.")] = "",
    category: Annotated[str, typer.Option("--category", help="Only those of this category.")] = "",
    order: Annotated[
        str,
        typer.Option("--order", help="uses or rating; left out: newest first.", autocompletion=complete.words(ORDERS)),
    ] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List templates: those that are saved, then those that come with Forgelog."""
    moved = moment(at)
    rows: list[Any] = with_client(
        lambda client: client.pipeline_templates.list(
            text=text, category=category, order=order, deleted=deleted, at=moved, limit=limit
        )
    )
    if output is not Format.TABLE:
        show_data(rows, output)
        return
    own = [] if category or deleted else [each for each in names() if text.lower() in f"{each} {_about(each)}".lower()]
    rows = [*rows, *({"name": each, "description": _about(each), "owner": "Forgelog"} for each in own)]
    columns = [
        column("Name", least=8),
        Column("Revision", lambda row: str(row.get("revision", "")), right=True),
        Column("Category", lambda row: row.get("category", ""), rank=3),
        Column("Uses", lambda row: str(row.get("uses", "")), right=True, rank=1),
        Column("Rating", rating_text, right=True),
        column("Description", rank=2, least=16, wrap=True),
        column("By", "owner", rank=4),
    ]
    show_rows(rows, columns, output, empty="there are no such templates")


@app.command("show")
def show(template: TemplateArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show what a template requires, what it recommends and what people think of it."""

    async def work(client: AsyncClient) -> Any:
        try:
            found = await client.pipeline_templates.get(template, at=moment(at))
        except NotFound:
            if template not in names():
                raise
            return None, []
        return found, await client.pipeline_templates.ratings(template, at=moment(at), limit=100)

    found, ratings = with_client(work)
    if found is None:
        write((FOLDER / template / MANIFEST).read_text(encoding="utf-8"))
        return
    if output is not Format.TABLE:
        show_data({**found, "comments": ratings}, output)
        return
    fields = {
        "description": found["description"],
        "category": found["category"],
        "sources": [_required(name, each) for name, each in found["sources"].items()],
        "sinks": [_required(name, each) for name, each in found["sinks"].items()],
        "parameters": [_parameter(name, each) for name, each in found["definition"]["parameters"].items()],
        "stages": [each["id"] for each in found["definition"]["stages"]],
        "recommended": _recommended(found["practices"]),
        "notes": found["practices"]["notes"],
        "uses": found["uses"],
        "rating": rating_text(found),
        "owner": found["owner"],
        "project": found["project"],
        "deleted": found["deleted_at"],
    }
    shown = {name: value for name, value in fields.items() if value not in ("", None, [])}
    show_fields(shown, title=f"{found['name']}, revision {found['revision']}")
    if ratings:
        write("\n")
        print_table(ratings, _RATINGS)


def _required(name: str, required: Any) -> str:
    """``raw: s3, csv, with amount BIGINT, into load.raw: the orders of a day``"""
    said = [str(required[field]) for field in ("type", "format", "mode") if required.get(field)]
    if columns := required.get("columns"):
        said.append(f"with {', '.join(_column(each) for each in columns)}")
    if feeds := required.get("feeds"):
        said.append(f"into {', '.join(f'{each.stage}.{each.input}' for each in feeds)}")
    else:
        said.append(f"of stage {required['stage']}")
    about = f": {required['description']}" if required["description"] else ""
    return f"{name}: {', '.join(said)}{about}"


def _column(column: Any) -> str:
    return f"{column['name']} {column['type']}{'' if column['nullable'] else ' not null'}"


def _parameter(name: str, spec: Any) -> str:
    default = f" = {spec['default']}" if spec["default"] is not None else ""
    about = f": {spec['description']}" if spec["description"] else ""
    return f"{name} ({spec['type']}){default}{about}"


def _recommended(practices: Any) -> list[str]:
    """``2 max workers``, ``1 cpu, 4Gi``"""
    parallelism, worker = practices["parallelism"], practices["worker"]
    said = [f"{value} {name.replace('_', ' ')}" for name, value in parallelism.items() if value is not None]
    if worker is None:
        return said
    storage = worker["storage_bytes"]
    return [
        *said,
        f"{wants({**worker, 'gpus': 0})} a worker{f', {format_bytes(storage)} of storage' if storage else ''}",
    ]


@app.command("save")
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Templates of a manifest; - for stdin.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Save the templates of a file (kind: PipelineTemplate), or new revisions of them."""
    rows = with_client(lambda client: client.pipeline_templates.apply(file))
    if output is not Format.TABLE:
        show_data(rows, output)
        return
    for row in rows:
        note(f"{row['name']}: revision {row['revision']}")


@app.command("use")
def use(
    template: TemplateArgument,
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="What the pipeline is called.")],
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A file with sources, sinks, parameters, parallelism, worker.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="NAME={…}", help="What it reads, as YAML (repeatable).")
    ] = None,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="NAME={…}", help="What it writes, as YAML (repeatable).")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Its default (repeatable).")
    ] = None,
    revision: Annotated[int, typer.Option("--revision", min=0, help="Refuse unless this is the newest one.")] = 0,
    message: Annotated[str, typer.Option("--note", help="What it is for; the version shows it.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a pipeline of a saved template, or a new version of that pipeline."""

    def read() -> dict[str, Any]:
        from forgelog.manifest.pipeline_templates import use_of

        said = dict(use_of(file, source or (), sink or ()))
        return {**said, "parameters": {**said.get("parameters", {}), **pairs(parameter, "--parameter")}}

    said = guarded(read)

    async def work(client: AsyncClient) -> Any:
        try:
            return await client.pipeline_templates.use(template, name, revision=revision, note=message, **said)
        except Refused as refused:
            if refused.code != "not_found" or template not in names():
                raise
            hint = f"write its folder: forgelog pipeline template {template}"
            raise NotFound(f"{template} comes with Forgelog and is not saved here; {hint}") from None

    made = with_client(work)
    if output is not Format.TABLE:
        show_data(made._asdict(), output)
        return
    note(f"{name}: version {made.version}, made of template {template}")


@app.command("rate")
def rate(
    template: TemplateArgument,
    stars: Annotated[int, typer.Argument(metavar="STARS", min=1, max=5, help="1 to 5.")],
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what you think of a template; your last word counts."""
    show_done(
        with_client(lambda client: client.pipeline_templates.rate(template, stars, comment=comment)),
        f"template {template} has {stars} star{'' if stars == 1 else 's'} of you",
        output,
    )


@app.command("rm")
def rm(template: TemplateArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a template out of the lists; pipelines that were made of it stay."""
    outcome = with_client(lambda client: client.pipeline_templates.delete(template))
    show_done(outcome, f"template {template} is deleted", output)


def _written(name: str, folder: Path) -> Path:
    if name not in names():
        saved = "'forgelog pipeline template ls' shows saved ones too, which 'use' makes a pipeline of"
        raise InvalidInput(f"no template {name!r} comes with Forgelog; there are {', '.join(names())}; {saved}")
    if folder.exists():
        raise InvalidInput(f"--into: {folder} is there already; name a folder that is not")
    try:
        shutil.copytree(FOLDER / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = folder / MANIFEST
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace(PLACE, f"{_escaped(folder.resolve())}/"), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--into: can't write {folder}: {error.strerror or error}") from None
    return folder


def _escaped(folder: Path) -> str:
    """A folder as a pattern of paths in a quoted text of YAML."""
    pattern = re.sub(r"([*?\[])", r"[\1]", str(folder)).replace("$", "$$")
    return pattern.replace("\\", "\\\\").replace('"', '\\"')


def _about(name: str) -> str:
    """What a template's manifest says of itself."""
    for line in (FOLDER / name / MANIFEST).read_text(encoding="utf-8").splitlines():
        if line.startswith("description: "):
            return line.removeprefix("description: ").strip()
    raise AssertionError(f"template {name} has no description")


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def add_to(pipeline: typer.Typer) -> None:
    """Its commands, beside the others of `pipeline`."""
    pipeline.add_typer(app, name="template")
