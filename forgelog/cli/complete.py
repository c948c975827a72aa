"""Shell completion of ids, queue names and words. It queries the platform with a short timeout, and offers nothing if
there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from forgelog.errors import ForgelogError

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

SECONDS = 1.0
"""Seconds to wait for an answer; a longer wait for TAB feels broken."""
MOST = 1000


def jobs(incomplete: str) -> list[str]:
    """Ids and names of jobs, newest first."""
    rows = _rows(lambda client: client.jobs.list(limit=MOST))
    return _beginning(incomplete, [row["job_id"] for row in rows] + [row["name"] for row in rows])


def nodes(incomplete: str) -> list[str]:
    """Ids of nodes."""
    return _beginning(incomplete, [row["node_id"] for row in _rows(lambda client: client.nodes.list(limit=MOST))])


def queues(incomplete: str) -> list[str]:
    """Names of queues."""
    return _beginning(incomplete, [row["queue"] for row in _rows(lambda client: client.queues.list())])


def deployments(incomplete: str) -> list[str]:
    """Names of deployments."""
    rows = _rows(lambda client: client.deployments.list(limit=MOST))
    return _beginning(incomplete, [row["name"] for row in rows])


def tunings(incomplete: str) -> list[str]:
    """Ids and names of tunings, newest first."""
    rows = _rows(lambda client: client.tunings.list(limit=MOST))
    return _beginning(incomplete, [row["tuning_id"] for row in rows] + [row["name"] for row in rows])


def pipelines(incomplete: str) -> list[str]:
    """Names of pipelines."""
    rows = _rows(lambda client: client.pipelines.list(limit=MOST))
    return _beginning(incomplete, [row["name"] for row in rows])


def pipeline_templates(incomplete: str) -> list[str]:
    """Names of saved templates of pipelines."""
    rows = _rows(lambda client: client.pipeline_templates.list(limit=MOST))
    return _beginning(incomplete, [row["name"] for row in rows])


def pipeline_datasets(incomplete: str) -> list[str]:
    """Names of datasets that pipelines make."""
    rows = _rows(lambda client: client.pipeline_data.list(limit=MOST))
    return _beginning(incomplete, [row["name"] for row in rows])


def words(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion of words that are known beforehand."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, known)

    return complete


def _beginning(incomplete: str, found: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(found) if text.startswith(incomplete)]


def _rows(ask: Callable[[AsyncClient], Coroutine[Any, Any, list[Any]]]) -> list[Any]:
    async def work() -> list[Any]:
        from forgelog.client.aio import AsyncClient

        async with AsyncClient(timeout=SECONDS) as client:
            return await ask(client)

    try:
        return asyncio.run(work())
    except ForgelogError:
        return []  # without a platform there is nothing to complete, and a message would disturb the shell
