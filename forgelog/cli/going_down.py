"""Queries the tasks on the platform's own nodes, which `down` will end. Stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgelog.embedded.platform import Platform

SECONDS = 5.0
"""Timeout of the query to a platform that is about to stop."""
NAMED = 5
"""Most jobs that are named; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Running:
    """Jobs with tasks on these nodes."""

    jobs: Sequence[str]
    """Name and id of each, as they are shown."""
    tasks: int

    def __str__(self) -> str:
        """``2 running jobs (4 tasks): train j1, sweep j2``"""
        jobs = f"{len(self.jobs)} running job{'s' if len(self.jobs) > 1 else ''}"
        tasks = f" ({self.tasks} tasks)" if self.tasks > len(self.jobs) else ""
        more = f" and {len(self.jobs) - NAMED} more" if len(self.jobs) > NAMED else ""
        return f"{jobs}{tasks}: {', '.join(self.jobs[:NAMED])}{more}"


async def running_on(platform: Platform) -> Running | None:
    """The running jobs on the nodes of a platform's own agents; None if there are none. Raises ForgelogError if the
    platform does not answer."""
    from events.language.task_ranges import count_tasks
    from forgelog.client.aio import AsyncClient

    report = platform.report()
    nodes = [child["address"] for child in report["children"] if child["kind"] == "agent" and child["pid"]]
    if not nodes or not report.get("gateway"):
        return None
    tasks: dict[str, int] = {}
    async with AsyncClient(report["gateway"], token=platform.key, timeout=SECONDS) as client:
        for node in nodes:
            for each in await client.nodes.allocations(node=node, status=("bound", "active", "stopping")):
                tasks[each.job_id] = tasks.get(each.job_id, 0) + (count_tasks(each.rest) if each.rest else 0)
        names = [f"{(await client.jobs.get(job)).job.name} {job}" for job in list(tasks)[:NAMED]]
    if not tasks:
        return None
    return Running([*names, *list(tasks)[NAMED:]], sum(tasks.values()))
