"""`models`: registered models, their versions, and which version is live where."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forgelog.cli import complete, model_versions
from forgelog.cli.common import AtOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.model_versions import (
    ACCESSES,
    EnvironmentArgument,
    ModelArgument,
    NumberArgument,
    PromotionArgument,
    ReasonOption,
    TagOption,
    do,
    tell_fields,
)
from forgelog.cli.nodes import pairs
from forgelog.cli.render import Column, Format, age_column, column, show_data, show_rows, write

_MOST_OF_CARD = 400_000
"""Bytes of the longest model card there can be, in UTF-8."""

app = typer.Typer(
    no_args_is_help=True,
    help="Show registered models and their versions; publish, name, promote, check, download or delete one.",
)


@app.command("list")
def show_list(
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only this user's.")] = "",
    tag: TagOption = None,
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="Such as \"name like 'digits%' and tags.task = 'vision'\".")
    ] = "",
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List models, newest first."""
    moved = moment(at)
    filters: dict[str, Any] = {"name": name, "owner": owner, "tags": pairs(tag, "--tag"), "filter": filter}
    rows = with_client(lambda client: client.models.list(limit=limit, at=moved, **filters))
    columns = [
        column("Name", least=8),
        column("Newest", "latest", right=True),
        Column("Aliases", lambda row: _slots(row["aliases"]), rank=1),
        Column("Live", lambda row: _slots(row["environments"]), rank=2),
        column("Access", rank=4),
        column("Owner", rank=5),
        column("Id", "model_id", rank=6),
        age_column("Made", "created_at", moved or datetime.now(UTC), rank=3),
    ]
    show_rows(rows, columns, output, empty="there are no such models")


@app.command("about")
def about(model: ModelArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a model itself: its card, aliases, environments, and who may change it."""
    found = with_client(lambda client: client.models.get(model, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    tell_fields({key: value for key, value in found.items() if key != "card"}, found.name)
    if found.card:
        write(f"\n{found.card}\n")


@app.command("register")
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, its project's once.")],
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    card: Annotated[Path | None, typer.Option("--card", metavar="FILE", help="Its card, in Markdown.")] = None,
    access: Annotated[
        str, typer.Option("--access", help=f"{', '.join(ACCESSES)}.", autocompletion=complete.words(ACCESSES))
    ] = "project",
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Who may change it (repeatable).")] = None,
    approvals: Annotated[
        list[str] | None, typer.Option("--approvals", help="production=2: so many must agree (repeatable).")
    ] = None,
    tag: TagOption = None,
) -> None:
    """Make a model, and print its id."""
    fields: dict[str, Any] = {
        "description": description,
        "card": _text(card),
        "access": access,
        "allowed": allow or [],
        "approval_rules": _rules(approvals),
        "tags": pairs(tag, "--tag"),
    }
    write(with_client(lambda client: client.models.register(name, **fields)) + "\n")


@app.command("update")
def update(
    model: ModelArgument,
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    card: Annotated[Path | None, typer.Option("--card", metavar="FILE", help="Its card, in Markdown.")] = None,
    access: Annotated[str | None, typer.Option("--access", help=f"{', '.join(ACCESSES)}.")] = None,
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Who may change it (repeatable).")] = None,
    disallow: Annotated[list[str] | None, typer.Option("--disallow", help="Who may no more (repeatable).")] = None,
    approvals: Annotated[
        list[str] | None, typer.Option("--approvals", help="production=2; production=0 for none (repeatable).")
    ] = None,
    tag: TagOption = None,
    remove_tag: Annotated[list[str] | None, typer.Option("--remove-tag", help="A tag's key (repeatable).")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change a model; what is left out stays."""
    rules = _rules(approvals)
    fields: dict[str, Any] = {
        "description": description,
        "card": None if card is None else _text(card),
        "access": access,
        "add_allowed": allow or [],
        "remove_allowed": disallow or [],
        "approval_rules": [rule for rule in rules if rule["approvals"]],
        "remove_rules": [rule["environment"] for rule in rules if not rule["approvals"]],
        "tags": {**pairs(tag, "--tag"), **dict.fromkeys(remove_tag or ())},
    }
    given = {key: value for key, value in fields.items() if value is not None}
    do(lambda client: client.models.update(model, **given), f"model {model} is changed", output)


@app.command("rename")
def rename(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Give a model another name; its versions and its history stay its own."""
    do(lambda client: client.models.rename(model, name), f"model {model} is {name}", output)


@app.command("delete")
def delete(model: ModelArgument, output: OutputOption = Format.TABLE) -> None:
    """Take a model away with its versions."""
    do(lambda client: client.models.delete(model), f"model {model} is gone", output)


@app.command("alias")
def alias(
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as champion.")],
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", min=1, help="A version [default: none].")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let an alias mean a version, or none."""
    if number is None:
        do(lambda client: client.models.remove_alias(model, alias), f"{model}@{alias} means none", output)
    else:
        do(lambda client: client.models.set_alias(model, alias, number), f"{model}@{alias} is {number}", output)


@app.command("environment")
def environment(
    model: ModelArgument,
    environment: EnvironmentArgument,
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", min=1, help="A version [default: none].")] = None,
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Set a version live in an environment, or none."""
    do(
        lambda client: client.models.set_environment(model, environment, number, reason=reason),
        f"{model}:{environment} is {number or 'none'}",
        output,
    )


@app.command("live")
def live(
    model: ModelArgument,
    slot: Annotated[str, typer.Option("--slot", help="Only this: alias:champion, environment:production.")] = "",
    only: Annotated[bool, typer.Option("--now", help="Only what holds now, or at the time of --at.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show which version had which alias, stage and environment, and when."""
    moved = moment(at)
    rows = with_client(lambda client: client.models.live(model, slot=slot, only_live=only, limit=limit, at=moved))
    now = moved or datetime.now(UTC)
    columns = [
        column("What", "slot", least=8),
        column("Version", "number", right=True),
        column("By", "actor"),
        age_column("From", "began_at", now),
        age_column("Until", "ended_at", now),
        column("Why", "reason", rank=1, least=12, wrap=True),
    ]
    show_rows(rows, columns, output, empty=f"no version of {model} has had {slot or 'any'}")


@app.command("promote")
def promote(
    model: ModelArgument,
    number: NumberArgument,
    environment: EnvironmentArgument,
    reason: ReasonOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until it is live.")] = False,
) -> None:
    """Ask that a version be live in an environment, and print the promotion's id. Its files are looked at once more."""
    write(
        with_client(lambda client: client.models.promote(model, number, environment, reason=reason, wait=wait)) + "\n"
    )


@app.command("approve")
def approve(
    id: PromotionArgument,
    comment: Annotated[str, typer.Option("--comment", help="Beside it.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Agree to a promotion."""
    do(lambda client: client.models.approve(id, comment=comment), f"you agree to {id}", output)


@app.command("reject")
def reject(
    id: PromotionArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why not.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """End a promotion."""
    do(lambda client: client.models.reject(id, reason), f"promotion {id} is rejected", output)


@app.command("promotions")
def promotions(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Its name, or its id [default: all].")] = "",
    status: Annotated[
        list[str] | None, typer.Option("--status", help="requested, completed, rejected, refused.")
    ] = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List promotions, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.models.promotions(model=model, status=status or (), limit=limit, at=moved))
    columns = [
        column("Id", "promotion_id"),
        column("Version", "number", right=True),
        column("Environment"),
        column("Status", style=True),
        column("By", "requested_by", rank=2),
        Column("Agree", lambda row: ", ".join(row["approved_by"]), rank=1),
        age_column("Asked", "requested_at", moved or datetime.now(UTC), rank=3),
        column("Outcome", rank=4),
    ]
    show_rows(rows, columns, output, empty="there are no such promotions")


def _slots(slots: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in sorted(slots.items()))


def _rules(texts: list[str] | None) -> list[dict[str, Any]]:
    from events.process.counts import count_of
    from forgelog.errors import InvalidInput

    rules = []
    for environment, text in pairs(texts, "--approvals").items():
        if (approvals := count_of(text)) is None:
            raise InvalidInput(f"--approvals: {text!r} is no number of people; write {environment}=2")
        rules.append({"environment": environment, "approvals": approvals})
    return rules


def _text(file: Path | None) -> str:
    from forgelog.errors import InvalidInput
    from forgelog.user_files import read_at_most

    if file is None:
        return ""
    try:
        return read_at_most(file, _MOST_OF_CARD, "a model card").decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: not UTF-8 text at byte {error.start}") from None


app.command("versions")(model_versions.versions)
app.command("show")(model_versions.show)
app.command("publish")(model_versions.publish)
app.command("note")(model_versions.annotate)
app.command("delete-version")(model_versions.delete_version)
app.command("check")(model_versions.check)
app.command("stage")(model_versions.stage)
app.command("lineage")(model_versions.lineage)
app.command("download")(model_versions.download)

COMMANDS = {"models": app}
