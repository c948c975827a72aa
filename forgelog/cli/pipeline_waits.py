"""What runs of pipelines wait for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from forgelog.cli.render import plain
from forgelog.errors import NotFound

if TYPE_CHECKING:
    from forgelog import AsyncClient


async def told_wait(client: AsyncClient, name: str, pipeline: Any, row: Any, *, at: datetime | None = None) -> str:
    """What a run waits for of which no stage is under way: its turn, or a worker that has no place; empty if it does
    not wait."""
    if row["status"] == "queued":
        return told_queue(pipeline, await client.pipeline_runs.list(name, status=("running", "paused"), at=at))
    if row["status"] != "running" or row["current_stages"]:
        return ""
    if not (job := coming_worker(await client.pipeline_runs.workers(name, at=at))):
        return ""
    try:
        return f"it waits for a worker (forgelog why {job}): {(await client.jobs.why(job, at=at)).message}"
    except NotFound:
        return f"it waits for a worker, whose job {job} is asked for"


async def told_watcher(client: AsyncClient, name: str, pipeline: Any, *, at: datetime | None = None) -> str:
    """Why nobody looks at the topics and files of a pipeline's triggers; empty if somebody does, or need not."""
    watched = any(each.get("topic") or each.get("files") for each in pipeline["spec"]["triggers"])
    if pipeline["status"] != "active" or not watched:
        return ""
    return failing_watcher(await client.pipeline_runs.workers(name, at=at))


def failing_watcher(workers: Iterable[Any]) -> str:
    """Of workers, the newest first: why those that watch end before they are ready; empty if the last one was."""
    reason, count = "", 0
    for each in workers:
        if not each["watches"]:
            continue
        if each["ready_at"] is not None:
            break
        needed = each["released_at"] is None or each["started_at"] is not None  # it hung, then
        if each["ended_at"] is not None and needed:
            reason, count = reason or each["reason"] or "its job has ended", count + 1
    times = "" if count == 1 else f" ({count} times)"
    return f"nobody looks at topics and files: the watcher does not start{times}: {reason}" if reason else ""


def coming_worker(workers: Iterable[Any]) -> str:
    """The newest worker that is asked for and not ready; empty: there is none."""
    for each in workers:
        if not each["watches"] and not each["ready"] and each["ended_at"] is None and each["released_at"] is None:
            return str(each["worker"])
    return ""


def told_queue(pipeline: Any, under_way: Sequence[Any]) -> str:
    """What a queued run waits for: ``run 3 is running, and execution.max_active_runs is 1``; empty: for nothing."""
    if pipeline["status"] == "paused":
        return "the pipeline is paused"
    others = [each for each in under_way if each["trigger"] != "backfill"]
    runs = ", ".join(f"run {each['number']} is {each['status']}" for each in others[:5])
    most = pipeline["spec"]["execution"]["max_active_runs"]
    return f"{runs}, and execution.max_active_runs is {most}" if runs else ""


def told_windows(streams: Iterable[Any]) -> list[str]:
    """``hours/orders: complete up to 2026-05-09T00:00:35Z; 3 are open, the first ends at 2026-05-09T00:00:40Z``"""
    found = []
    for each in streams:
        mark = plain(each["watermark"])
        parts = [f"complete up to {mark}" if mark else "none is complete"]
        if each["open_windows"]:
            count = each["open_windows"]
            verb = "is" if count == 1 else "are"
            parts.append(f"{count:,} {verb} open, the first ends at {plain(each['next_end'])}")
        if each["held_by"] is not None:
            parts.append(f"partition {each['held_by']} holds the watermark back")
        parts.append(f"{each['held_rows']:,} rows are held, {each['late_rows']:,} were late")
        found.append(f"{each['stage_id']}/{each['input']}: {'; '.join(parts)}")
    return found
