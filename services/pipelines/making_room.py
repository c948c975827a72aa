"""Idle workers give way to those of other pipelines that find no place. A background of the context.

A worker without a stage stays warm for a while, and keeps its CPUs and its memory. Where all are kept so, a worker that
another pipeline needs would wait until one goes by itself. What a pipeline knows is its own workers; the tables have
all. So this looks at them, and asks for the release of one whose pipeline has no run. That pipeline decides whether it
is idle.

A command's id is that of the two workers: several processes, or one that was killed, ask once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import KafkaError

from events.hosting import Answering
from events.language.common import PLATFORM_ACTOR
from events.language.pipelines.run_commands import ReleaseWorker
from events.log.publish import Outgoing, Publisher
from events.queries.following import LATER, moved
from events.writer.origins import Asker

log = logging.getLogger("forgelog.pipelines")

PATIENCE_SECONDS = 3.0
"""A worker that is not ready so long after it was asked for is taken to have no place: one that has, starts sooner."""
EVERY_SECONDS = 2.0
MOST_RELEASES = 3
"""For one that waits: if it has no place then, something else is missing."""

_WAITING = """
    select worker, extract(epoch from now() - requested_at)::float8 as seconds from pipeline_workers
    where not ready and released_at is null and ended_at is null order by requested_at, worker
"""
_IDLE = """
    select w.worker, w.pipeline_id, w.project from pipeline_workers w
    where w.ready and not w.watches and w.stage_id = '' and w.released_at is null and w.ended_at is null
    and not exists (
        select from pipeline_runs r where r.pipeline_id = w.pipeline_id and r.status in ('queued', 'running')
    )
    order by w.updated_at, w.worker
"""
"""Those of pipelines without anything to do."""


async def make_room(answering: Answering) -> None:
    """Run until cancelled. At rest it asks nothing."""
    runner, releases = answering.read.runner, dict[str, int]()
    while True:
        seen = dict(runner.positions)
        try:
            async with answering.read.view() as db:
                waiting = await db.fetch(_WAITING)
                late = [row["worker"] for row in waiting if row["seconds"] >= PATIENCE_SECONDS]
                idle = await db.fetch(_IDLE) if late else []
            releases = {worker: releases.get(worker, 0) for worker in late}
            if found := chosen(releases, idle):
                async with Publisher(answering.settings) as publisher:
                    await publisher.publish_many(found)
            if waiting:
                await asyncio.sleep(EVERY_SECONDS)
            else:
                await moved(runner, seen)
        except (*LATER, KafkaError) as error:
            log.debug("no room is made now: %s", error)
            await asyncio.sleep(EVERY_SECONDS)


def chosen(releases: dict[str, int], idle: Sequence[Any]) -> list[Outgoing]:
    """For each worker that waits the release of an idle one. `releases`: how many there were for it, which is counted
    on."""
    found = []
    left = list(idle)
    for worker, count in releases.items():
        if count < MOST_RELEASES and left:
            row = left.pop(0)
            releases[worker] = count + 1
            reason = f"{worker} waits for its place"
            command = ReleaseWorker(pipeline_id=row["pipeline_id"], worker=row["worker"], reason=reason)
            id = f"room.{worker}.{row['worker']}"
            # an order of the pipeline to itself: no client can say that it is the platform
            origin = str(Asker("pipelines", command.decider_kind(), row["pipeline_id"]))
            named = {"project": row["project"], "actor": PLATFORM_ACTOR, "origin": origin}
            found.append(Outgoing(command, id, **named, source="forgelog/pipelines"))
    return found
