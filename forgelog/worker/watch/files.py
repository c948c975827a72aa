"""The watch of a trigger of files: lists its path now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from events.language.pipelines.arrivals import MAX_ARRIVED, MAX_WATCHED_FILES, ArrivedFile
from events.language.pipelines.triggers import FileTrigger
from events.language.pipelines.watch_messages import ReportFilesArrived, TriggerWatched
from forgelog.pipelines.io import IoContext
from forgelog.pipelines.io.listing import listed, url_of
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError
from forgelog.worker.watch.arrivals import Arrivals, Found, Listed

_LEAST_SECONDS = 0.2
"""Between two looks."""


def begun(trigger: FileTrigger, told: TriggerWatched) -> Arrivals:
    """What is known of a trigger's files at first."""
    before = None if trigger.existing or told.looked else told.since.timestamp()
    return Arrivals(told.known, trigger.settle_seconds, before, looked=told.looked)


async def watch(
    trigger: FileTrigger,
    arrivals: Arrivals,
    context: IoContext,
    report: Callable[..., None],
    well: Callable[[], None],
) -> None:
    """Report files that arrive, until cancelled. `well`: called after each look. Raises StageError; it may be called
    again then, with the same `arrivals`."""
    clock = asyncio.get_running_loop().time
    while True:
        files = await asyncio.to_thread(_listed, trigger, context)
        first = not arrivals.looked
        for said in _reports(found := arrivals.look(files, clock()), looked=first):
            report(ReportFilesArrived, **said)
        well()
        wait = trigger.poll_seconds if found.next_after is None else min(trigger.poll_seconds, found.next_after)
        await asyncio.sleep(max(wait, _LEAST_SECONDS))


def _listed(trigger: FileTrigger, context: IoContext) -> list[Listed]:
    folder, entries = listed(trigger.path, trigger.type, trigger.connection, context, "path", expected=False)
    if len(entries) > MAX_WATCHED_FILES:
        problem = f"{shown(trigger.path)} means {len(entries):,} files, and at most {MAX_WATCHED_FILES:,} are watched"
        raise StageError("path", problem, "move away those that runs have read, or give a narrower path")
    return [
        Listed(ArrivedFile(url=url_of(folder, each), size=each.size, etag=each.etag[:500]), each.modified)
        for each in entries
    ]


def _reports(found: Found, *, looked: bool) -> Sequence[dict[str, object]]:
    """What is to be told, in as many reports as it takes. `looked`: it is the first look. What was there before goes
    first: a watcher that is lost in between begins with the first look again."""
    said: list[dict[str, object]] = []
    if found.existing or looked:
        said.append({"existing": tuple(found.existing), "looked": looked})
    if found.gone:
        said.append({"gone": tuple(found.gone)})
    arrived = found.arrived
    said += [{"files": tuple(arrived[at : at + MAX_ARRIVED])} for at in range(0, len(arrived), MAX_ARRIVED)]
    return said
