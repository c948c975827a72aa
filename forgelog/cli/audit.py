"""`audit`: verifies that the history was not changed, for operators and for auditors.

Reads Kafka only. An auditor needs its address and the public key, and nothing from the platform's folder.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import OutputOption, guarded, platform_settings, reading_log
from forgelog.cli.log import ContextOption, contexts_of
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, column, show_data, show_rows, write
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from events.audit.chain_check import Verified

HEADS = (
    column("Partition", "place"),
    column("Offset", right=True),
    column("Time", rank=1),
    column("Digest", least=32, wrap=True),
)
"""A digest (64 characters) is never cut: in a narrow terminal it takes two lines."""

_RESULTS = {True: "ok", False: "differs", None: "not checked"}
"""By whether a partition is intact."""

audit_app = typer.Typer(no_args_is_help=True, help="Verify that the history was not changed.")


@audit_app.command("verify")
def verify(
    context: ContextOption = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The public key that heads must be signed by: PEM, hex or base64."),
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="FILE", help="Heads saved earlier, which must be on the chain (repeatable)."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            "--since", metavar="FILE", help="Saved heads up to which it was verified: check only later records."
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Recompute the hash chain of the history and compare it with every signed head.

    Changes nothing and creates no key. Exits with 0 if nothing was changed; with 1 if a record or a head was changed,
    removed, inserted or rewritten, and names the partition and the offset; with 2 if a given file can't be used; with
    69 if Kafka can't be reached. Names the contexts that it could not check, since they are not known here.
    """

    async def work() -> list[Verified]:
        from events.audit.audit import SIGNED_WITHIN
        from events.audit.audit import verify as check
        from events.audit.heads import HeadsProblem, saved_heads
        from events.audit.signing import KeyProblem, read_public_key

        try:
            trusted = read_public_key(key) if key is not None else None
            saved = [each for path in head or () for each in saved_heads(path)]
            begin = saved_heads(since) if since is not None else []
        except (KeyProblem, HeadsProblem) as problem:
            raise InvalidInput(str(problem)) from None
        with Progress("verifying", output) as progress:
            try:
                return await check(
                    platform_settings(log_only=True),
                    contexts_of(context),
                    progress.at,
                    key=trusted,
                    saved=saved,
                    since=begin,
                    signed_until=datetime.now(UTC) - SIGNED_WITHIN,
                )
            except HeadsProblem as problem:
                raise InvalidInput(str(problem)) from None

    results = reading_log(work)
    rows = [verified_data(item) for item in results]
    columns = [
        column("Partition"),
        *([column("From", "first", right=True, rank=4)] if since is not None else []),
        column("Records", right=True, rank=1),
        column("Signed heads", "heads", right=True, rank=2),
        column("Void", right=True, rank=3),
        column("Result", style=True),
    ]
    shown = [{**row, "result": _RESULTS[row["intact"]]} for row in rows]
    show_rows(shown if output is Format.TABLE else rows, columns, output)
    if output is Format.TABLE:
        for item in results:
            for problem in [*item.problems, *([f"not checked: {item.unchecked}"] if item.unchecked else [])]:
                write(f"{item.place}: {problem}\n")
    if not all(item.intact for item in results):
        raise typer.Exit(1)


def verified_data(item: Verified) -> dict[str, Any]:
    """The result for one partition, as plain data."""
    return {
        "partition": item.place,
        "intact": item.intact if item.problems or not item.unchecked else None,
        "first": item.first,
        "records": item.records,
        "void": item.void,
        "heads": item.heads,
        "unsigned": item.unsigned,
        "digest": item.digest,
        "problems": list(item.problems),
        "not_checked": item.unchecked,
    }


@audit_app.command("heads")
def heads(
    context: ContextOption = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="The public key that signed them; the platform's own if it is there."
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the newest signed head of every partition. Heads that are saved elsewhere (-o json) prove the history."""

    async def work() -> list[dict[str, Any]]:
        from events.audit.heads import newest_heads
        from events.audit.signing import KeyProblem, read_public_key
        from events.audit.signing import public_key as own_key

        wanted, settings = contexts_of(context), platform_settings(log_only=True)
        try:
            trusted = read_public_key(key) if key is not None else None
        except KeyProblem as problem:
            raise InvalidInput(str(problem)) from None
        if trusted is None:
            with suppress(KeyProblem):  # without a key, heads of all keys are shown
                trusted = own_key(settings)
        newest = await newest_heads(settings, trusted)
        return [head for place, head in sorted(newest.items()) if place.removeprefix("events.").split("/")[0] in wanted]

    show_rows(
        reading_log(work), HEADS, output, empty="no head has been signed yet; they are published every few seconds"
    )


@audit_app.command("key")
def public_key(output: OutputOption = Format.TABLE) -> None:
    """Print the public key that heads are signed by, as PEM. An auditor needs it; it is not secret."""
    from events.audit.signing import KeyProblem, public_pem
    from events.audit.signing import public_key as own_key
    from events.process.settings import Settings, SettingsError

    def work() -> bytes:
        try:
            return own_key(Settings.load())
        except (KeyProblem, SettingsError) as problem:
            raise InvalidInput(str(problem)) from None

    key = guarded(work)
    if output is Format.TABLE:
        write(public_pem(key))
    else:
        show_data({"algorithm": "Ed25519", "hex": key.hex(), "pem": public_pem(key)}, output)


COMMANDS = {"audit": audit_app}
