"""`templates`: what experiments begin with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, ForceOption, IntoOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.progress import Progress
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    print_table,
    show_data,
    show_done,
    show_fields,
    show_rows,
    write,
)

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

app = typer.Typer(no_args_is_help=True, help="Show templates of experiments; save, rate or delete one.")

ORDERS = ("uses", "rating")

TemplateArgument = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Its name, or its id.")]

_RATINGS = (column("Stars", right=True), column("By", "rater"), column("Comment"), column("When", "rated_at"))


@app.command("list")
def show_list(
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    metric: Annotated[str, typer.Option("--metric", help="Only those that recommend this metric.")] = "",
    order: Annotated[
        str,
        typer.Option("--order", help="uses or rating; left out: newest first.", autocompletion=complete.words(ORDERS)),
    ] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the project's templates. Those that come with Forgelog are saved when they are first used."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.templates.list(
            name=name, metric=metric, order=order, deleted=deleted, limit=limit, at=moved
        )
    )
    columns = [
        column("Name", least=8),
        column("Version", right=True),
        column("Framework", rank=3),
        column("Uses", right=True, rank=1),
        Column("Rating", rating_text, right=True),
        column("Description", rank=2, least=16, wrap=True),
        column("Id", "template_id", rank=5),
        age_column("Saved", "updated_at", moved or datetime.now(UTC), rank=4),
    ]
    show_rows(rows, columns, output, empty="there are no such templates")
    if output is Format.TABLE and moved is None:
        _note_others({row["name"] for row in rows})


def _note_others(shown: set[str]) -> None:
    from forgelog import templates

    if others := [each for each in templates.names() if each not in shown]:
        note(f"with Forgelog come also: {', '.join(others)}")


@app.command("show")
def show(template: TemplateArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a template with its files and what people think of it."""

    async def work(client: AsyncClient) -> Any:
        found = await client.templates.get(template, at=moment(at))
        return found, await client.templates.ratings(found.template_id, at=moment(at), limit=100)

    found, ratings = with_client(work)
    if output is not Format.TABLE:
        show_data({**found, "comments": ratings}, output)
        return
    hidden = ("files", "practices", "name", "version", "resources")
    fields = {name: value for name, value in found.items() if name not in hidden and value not in ("", None, {}, [], 0)}
    fields["hyperparameters"] = _given(found.hyperparameters)
    if found.resources is not None:
        fields["resources"] = _given(found.resources)
    fields["files"] = [f"{each.path} ({each.role})" if each.role != "other" else each.path for each in found.files]
    fields["metrics"] = found.practices.metrics
    fields["checks"] = [f"{each.name} ({said(each)})" for each in found.practices.checks]
    fields["data checks"] = [f"{each.name} ({said_of_data(each)})" for each in found.practices.data_checks]
    show_fields(fields, title=f"{found.name}/{found.version}")
    if ratings:
        write("\n")
        print_table(ratings, _RATINGS)


def rating_text(row: Any) -> str:
    """``4.5 (2)``: the mean of the stars and how many people gave them; empty without any."""
    return f"{row['rating']:.1f} ({row['ratings']})" if row.get("ratings") else ""


def said(check: Any) -> str:
    """What a check asks for, such as ``the last accuracy at least 0.5``."""
    bounds = [*_bounds(check), *(["finite"] if check.finite else [])]
    which = {"last": "the last", "least": "the least", "most": "the largest"}[check.value]
    return f"{which} {check.metric} {', '.join(bounds)}"


def said_of_data(check: Any) -> str:
    """What a check of data asks for, such as ``missing of age at most 0.05, of training data``."""
    what = f"{check.value} of {check.column}" if check.column else str(check.value)
    return f"{what} {', '.join(_bounds(check))}{f', of {check.role} data' if check.role else ''}"


def _bounds(check: Any) -> list[str]:
    bounds = [f"at least {check.at_least:g}"] if check.at_least is not None else []
    return bounds + ([f"at most {check.at_most:g}"] if check.at_most is not None else [])


def _given(value: Any, above: str = "") -> list[str]:
    """The values of a configuration that are given, each as ``basic.epochs=3``."""
    found = []
    for key, each in value.items():
        if isinstance(each, dict):
            found += _given(each, f"{above}{key}.")
        elif each not in (None, "", [], 0, False):
            found.append(f"{above}{key}={','.join(map(str, each)) if isinstance(each, list) else each}")
    return found


@app.command("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: lower-case letters, digits and . _ -")],
    folder: Annotated[
        Path,
        typer.Argument(metavar="[DIR]", help="Its template.yaml and its files.", file_okay=False),
    ] = Path(),
    output: OutputOption = Format.TABLE,
) -> None:
    """Save a folder as a template; once more with the same name, as its next version."""

    async def work(client: AsyncClient) -> Any:
        with Progress("save:", output, bytes=True) as bar:
            return await client.templates.save(name, folder, progress=bar.at)

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
    else:
        write(f"{found.name}/{found.version}\n")


@app.command("download")
def download(
    template: TemplateArgument,
    into: IntoOption = Path(),
    force: ForceOption = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fetch a template's files, to change them and save them anew."""
    from forgelog.cli.artifacts import show_fetched

    show_fetched(
        lambda client, progress: client.templates.download(
            template, into=into, force=force, at=moment(at), progress=progress
        ),
        into,
        output,
    )


@app.command("rate")
def rate(
    template: TemplateArgument,
    stars: Annotated[int, typer.Argument(metavar="STARS", min=1, max=5, help="1 to 5.")],
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what you think of a template; your last word counts."""
    show_done(
        with_client(lambda client: client.templates.rate(template, stars, comment=comment)),
        f"template {template} has {stars} star{'' if stars == 1 else 's'} of you",
        output,
    )


@app.command("delete")
def delete(template: TemplateArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a template away; its name is free. Experiments that were made of it stay."""
    show_done(with_client(lambda client: client.templates.delete(template)), f"template {template} is deleted", output)


COMMANDS = {"templates": app}
