"""Tells the embedded platform whether it needs a router: while there is a deployment.

A background of the context (`events.hosting.Background`). It says so by a file in the data folder, which costs the
supervisor one look a second and an idle platform nothing else. Where nobody reads it, it does no harm.
"""

from __future__ import annotations

from contextlib import suppress

from events.hosting import Answering
from events.process.settings import Settings
from events.queries.following import LATER, moved

_WANTED = "select exists (select from routing where not (routing -> 'terminated')::bool)"


async def want_routers(answering: Answering) -> None:
    """Keep the file as the tables say, until cancelled."""
    while True:
        seen = answering.read.runner.positions
        with suppress(*LATER):
            async with answering.read.view() as db:
                tell(answering.settings, wanted=bool(await db.fetchval(_WANTED)))
        await moved(answering.read.runner, seen)


def tell(settings: Settings, *, wanted: bool) -> None:
    """Make the file, or remove it."""
    path = settings.data / "routers" / "wanted"
    if wanted:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    else:
        path.unlink(missing_ok=True)
