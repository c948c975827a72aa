"""Asks replicas, where their service says a path, for metrics of their own, and what they were asked, by the bins of
their models' training data.

A replica counts from its start on; what is told is what came since the agent asked before. Replicas run other people's
code, so an answer is bounded and checked, and one that is none is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from events.process.replica_keys import AGENT_HEADER
from services.resources.agent.attempts import Attempt

if TYPE_CHECKING:
    from events.language.deployments.drift import ColumnCounts
    from events.language.deployments.traffic import ReplicaReport

log = logging.getLogger("forgelog.agent.usage")

SECONDS = 2.0
"""Longest wait for an answer."""
MOST_BYTES = 1 << 20
AT_ONCE = 8
"""Replicas that are asked at a time."""

Inputs = tuple["ColumnCounts", ...]


@dataclass(slots=True)
class Asker:
    """Remembers what replicas said last. Used from the agent's event loop."""

    key: Callable[[Attempt], str]
    """By which a replica knows its node's agent; empty for none."""
    _last: dict[str, Inputs] = field(default_factory=dict)
    """By attempt."""

    async def reports(self, attempts: Iterable[Attempt]) -> Mapping[str, ReplicaReport]:
        """Job → its replica's metrics, and what it was asked since the last time, of those that say something."""
        telling = [each for each in attempts if each.running and each.task.service and each.task.service.report_path]
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(attempt: Attempt) -> ReplicaReport | None:
            async with gate:
                return await self._ask(attempt)

        last, self._last = self._last, {}
        found: dict[str, ReplicaReport] = {}
        for attempt, now in zip(telling, await asyncio.gather(*map(one, telling)), strict=True):
            before = last.get(attempt.key)
            if now is None:
                if before is not None:
                    self._last[attempt.key] = before
                continue
            self._last[attempt.key] = now.inputs
            # of a resumed one an agent before this one has told the most
            new = () if before is None and attempt.resumed else since(now.inputs, before or ())
            if new or now.custom:
                found[attempt.task.job_id] = now.model_copy(update={"inputs": new})
        return found

    async def _ask(self, attempt: Attempt) -> ReplicaReport | None:
        from events.language.deployments.traffic import ReplicaReport

        try:
            async with asyncio.timeout(SECONDS):
                body = await _get(attempt, self.key(attempt))
            return None if body is None else ReplicaReport.model_validate_json(body)
        except (OSError, TimeoutError, ValueError, ValidationError) as error:
            log.debug("%s does not tell of itself: %s", attempt.key, error or type(error).__name__)
            return None


def since(now: Inputs, before: Inputs) -> Inputs:
    """What came between two answers of one process; columns in which nothing did are left out."""
    earlier = {each.column: each.counts for each in before}
    found = []
    for each in now:
        old = earlier.get(each.column, ())
        if len(old) not in (0, len(each.counts)):
            continue
        new = [count - was for count, was in zip(each.counts, old or (0,) * len(each.counts), strict=True)]
        if any(new) and min(new) >= 0:
            found.append(each.model_copy(update={"counts": tuple(new)}))
    return tuple(found)


async def _get(attempt: Attempt, key: str) -> bytes | None:
    """The body of an answer 200; None of another one. Raises OSError, ValueError."""
    task = attempt.task
    assert task.service is not None
    port = dict(task.ports)[task.service.ports[0]]
    reader, writer = await asyncio.open_connection(task.address, port, limit=MOST_BYTES)
    try:
        host = f"[{task.address}]" if ":" in task.address else task.address
        secret = f"{AGENT_HEADER}: {key}\r\n" if key else ""
        request = f"GET {task.service.report_path} HTTP/1.1\r\nHost: {host}:{port}\r\n{secret}Connection: close\r\n\r\n"
        writer.write(request.encode("ascii", "replace"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
            return None
        body = b""
        while (piece := await reader.read(MOST_BYTES)) and len(body) <= MOST_BYTES:
            body += piece
        if len(body) > MOST_BYTES:
            raise ValueError(f"its answer has more than {MOST_BYTES:,} bytes")
        return body
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError("its answer is not HTTP/1.1") from error
    finally:
        writer.close()
