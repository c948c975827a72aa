"""`deploy --wait` and `deployments wait`: until a revision runs and the platform's router has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.render import note
from forgelog.errors import Timeout

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="Longest wait.")]


async def waited(client: AsyncClient, wanted: Sequence[tuple[str, int]], timeout: float) -> list[tuple[Any, int]]:
    """Wait for these deployments and revisions (0: the newest), all of them within `timeout` seconds. The deployments
    as they are then, each with its revision. Raises `NotFound`, `Timeout`."""
    until = time.monotonic() + timeout
    found = []
    for id, revision in wanted:
        row = await client.deployments.wait(id, revision=revision, timeout=max(0.0, until - time.monotonic()))
        found.append((row, revision or row.newest_revision))
    for row, revision in found:
        if arrived(row, revision) and (problem := await _unrouted(row, max(1.0, until - time.monotonic()))):
            raise Timeout(f"{row.name} runs, and {problem}; it may come yet: forgelog status")
    return found


def arrived(row: Any, revision: int) -> bool:
    """Whether a revision is in place, or a canary of it under way."""
    return revision in (row.revision, row.rollout_revision) and row.status not in (
        "failed",
        "terminating",
        "terminated",
    )


async def _unrouted(row: Any, timeout: float) -> str:
    """Waits until the platform's router has what was deployed; why it has not, empty if it has or none is known
    here."""
    from forgelog.client.predicting import routed
    from forgelog.where import awaits_router

    def told(problem: str) -> None:
        note(f"{row.name} runs; still waiting for the router to have it ({timeout:.0f} seconds at most): {problem}")

    if not awaits_router():
        return ""
    return await routed(str(row.deployment_id), answers=row.ready > 0, timeout=timeout, told=told)
