"""`runs sync`: what runs have left in the spool, to the platform."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forgelog.cli.common import OutputOption, report, run
from forgelog.cli.render import Format, note, show_data
from forgelog.errors import Unavailable
from forgelog.units import quoted

if TYPE_CHECKING:
    from forgelog.tracking.syncing import Synced


def sync(
    spool: Annotated[
        Path | None,
        typer.Argument(metavar="[SPOOL]", help="The folder [default: FORGELOG_SPOOL, or the data folder's]."),
    ] = None,
    any_platform: Annotated[
        bool, typer.Option("--any-platform", help="Also runs that were meant for another platform than this one.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Send the runs that programs could not send: their platform was away, or they were killed."""
    from forgelog.errors import InvalidInput
    from forgelog.tracking.spool import Destination, Spool
    from forgelog.tracking.syncing import sync as synced
    from forgelog.where import meant

    async def work() -> Synced:
        if spool is not None and not spool.is_dir():
            raise InvalidInput(f"SPOOL: {quoted(str(spool))} is no folder; name a spool, such as ~/.forgelog/spool")
        return await synced(
            Spool.find() if spool is None else Spool(spool.absolute()),
            Destination(*meant()),
            any_destination=any_platform,
        )

    done = run(work)
    left = done.left | done.foreign
    if output is not Format.TABLE:
        show_data(
            {
                "runs": done.runs,
                "points": done.points,
                "running": done.running,
                "left": left,
                "refused": done.problems,
            },
            output,
        )
    else:
        for problem in done.problems:
            note(problem)
        if done.running:
            note(f"{_runs(done.running)} still logged to, and what is logged is sent: {', '.join(done.running)}")
        note(f"{_runs(done.runs)} sent, with {done.points} points")
    if left:
        why = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        report(error := Unavailable(f"{_runs(left)} still in the spool: {why}"))
        raise typer.Exit(error.exit_code)


def _runs(which: Collection[str]) -> str:
    return "1 run is" if len(which) == 1 else f"{len(which)} runs are"
