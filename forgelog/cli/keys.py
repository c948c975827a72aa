"""`keys`: what opens those endpoints of deployments that ask for a key."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, LimitOption, OutputOption, ReasonOption, moment, with_client
from forgelog.cli.nodes import duration
from forgelog.cli.render import Column, Format, age_column, column, note, plain, show_data, show_rows, write
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forgelog.client.aio import AsyncClient

app = typer.Typer(no_args_is_help=True, help="Show keys of deployments' endpoints; issue or revoke one.")

DeploymentArgument = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its name, or its id.")]


@app.command("issue")
def issue(
    deployment: DeploymentArgument,
    name: Annotated[str, typer.Option("--name", help="Whom or what it is for.")],
    ttl: Annotated[
        str | None, typer.Option("--ttl", help="How long it opens, such as 12h or 90d; 366d at most [default: 30d].")
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option("--endpoint", help="Opens this endpoint only (repeatable) [default: all].")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE", help="Write the token to this new file, for you alone.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a key, and print its token. It is told this once."""
    seconds = duration(ttl, "--ttl")
    if seconds is not None and seconds != int(seconds):
        raise typer.BadParameter("is no whole number of seconds; write for example 90s, 12h or 30d", param_hint="--ttl")
    if into is not None:
        _see_new(into)
    issued = with_client(
        lambda client: client.endpoint_keys.issue(
            deployment, name, ttl_seconds=None if seconds is None else int(seconds), endpoints=endpoint or ()
        )
    )
    key = issued.key
    if into is not None:
        _write(into, issued.token)
    if output is not Format.TABLE:
        show_data({**key, **({} if into else {"token": issued.token})}, output)
        return
    if into is None:
        write(f"{issued.token}\n")
    place = f"its token is in {into}" if into else "keep the token: it is not told again"
    until = plain(key.expires_at and key.expires_at.replace(microsecond=0))
    note(f"key {key.key_id} of {key.deployment_id} opens until {until}; {place}")


def _see_new(into: Path) -> None:
    """Looked at before the key is made: its token could not be asked for again."""
    if into.exists() or into.is_symlink():
        raise typer.BadParameter(f"{into} is there; name a new file", param_hint="--into")
    if not into.parent.is_dir():
        raise typer.BadParameter(f"{into.parent} is no folder; name a file in one", param_hint="--into")


def _write(into: Path, token: str) -> None:
    try:
        file = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(f"{token}\n")
    except OSError as error:
        note(f"{into} can't be written: {error.strerror}; revoke the key, whose token nobody has, and issue another")
        raise typer.Exit(1) from None


@app.command("revoke")
def revoke(
    deployment: DeploymentArgument,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Their ids, or their names.")],
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Let keys open nothing any more. Routers refuse them within a second."""

    async def work(client: AsyncClient) -> list[Any]:
        known = await client.endpoint_keys.list(deployment)
        ids = [one_key(known, deployment, text) for text in keys]
        return [await client.endpoint_keys.revoke(deployment, id, reason=reason) for id in dict.fromkeys(ids)]

    outcomes = with_client(work)
    if output is not Format.TABLE:
        show_data(outcomes, output)
    else:
        note(f"{len(outcomes)} key{'s' * (len(outcomes) != 1)} of {deployment} revoked")


def one_key(known: Sequence[Any], deployment: str, text: str) -> str:
    """The id of the key that is meant: an id, or a name that one of `known` has. Raises `NotFound`, `InvalidInput`."""
    named = [row["key_id"] for row in known if text == row["name"]]
    if text in {row["key_id"] for row in known}:
        return text
    if len(named) > 1:
        raise InvalidInput(f"{deployment} has {len(named)} keys with the name {text!r}: give one of {', '.join(named)}")
    if not named:
        raise NotFound(f"{deployment} has no good key {text!r}; forgelog keys ls {deployment} shows those that it has")
    return str(named[0])


@app.command("ls")
def show_list(
    deployment: Annotated[str, typer.Argument(metavar="[DEPLOYMENT]", help="Its name, or its id.")] = "",
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    ended: Annotated[bool, typer.Option("--all", "-a", help="Revoked and expired ones, too.")] = False,
    limit: LimitOption = 100,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List keys, newest first. Tokens are not among what is known of them."""
    then = moment(at)
    rows = with_client(
        lambda client: client.endpoint_keys.list(deployment, name=name, ended=ended, at=then, limit=limit)
    )
    now = then or datetime.now(UTC)
    columns = [
        column("Key", "key_id"),
        column("Deployment", "deployment_id", rank=2),
        column("Name", least=8),
        Column("Opens", lambda row: ", ".join(row["endpoints"]) or "all", rank=3),
        column("By", "issued_by", rank=4),
        age_column("Issued", "issued_at", now, rank=1),
        Column("Until", lambda row: _until(row, now)),
    ]
    show_rows(rows, columns, output, empty="there are no such keys")


def _until(row: Any, now: datetime) -> str:
    """Until when it opens, or why it does no longer."""
    from forgelog.times import ago

    if row["revoked_at"] is not None:
        reason = f": {row['reason']}" if row["reason"] else ""
        return f"revoked {ago(row['revoked_at'], now)} by {row['revoked_by']}{reason}"
    return f"expired {ago(row['expires_at'], now)}" if row["expires_at"] <= now else ago(row["expires_at"], now)


COMMANDS = {"keys": app}
