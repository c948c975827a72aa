"""Looks after the tasks of services: their ports, probes, readiness, and how they are drained before they are stopped.

1. Before the launch: a free port for each name (`place`).
2. From the start on: the startup probe until it is good; then readiness, whose changes are reported, and liveness.
3. A task that fails startup or liveness is not ready any more, and is ended as `unhealthy`; for liveness not before the
   node has contact. One that hangs (no answer, no CPU used) fails liveness sooner than one that is busy, and is not
   given its grace: its callers wait for it.
4. A task that is asked to stop while it may be called: it is reported as not ready, `drain_seconds` pass, then it is
   told. The wish is noted at once, so that the next agent finds it if this one ends meanwhile.

Needs no contact with the log: what can't be reported now is reported later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from events.language.jobs import ExitReason
from events.language.jobs.spec_service import Probe, ServiceSpec
from services.resources.agent.attempts import Attempt, Readiness, Stop
from services.resources.agent.health import Verdict
from services.resources.agent.ports import pick
from services.resources.agent.probing import Target, Used, verdicts
from services.resources.agent.store import Store
from services.resources.agent.usage import cpu_used

log = logging.getLogger("forgelog.agent.serving")

HUNG_GRACE = 1.0
"""Seconds from TERM to KILL for a task that hangs."""


class Hooks(NamedTuple):
    """What `Serving` has done by others."""

    report: Callable[[Attempt], None]
    """An attempt's readiness has changed."""
    stop: Callable[[Attempt, Stop], None]
    give_up: Callable[[Attempt, Exception], None]
    """It can't be looked after."""
    in_contact: Callable[[], bool]
    """Whether what is ended now can be run again."""


class _Drain(NamedTuple):
    until: float
    """By the loop's clock."""
    timer: asyncio.TimerHandle


class Serving:
    """Used from the agent's event loop."""

    def __init__(self, store: Store, attempts: Mapping[str, Attempt], address: str, ports: range, hooks: Hooks) -> None:
        """`attempts`: all of the node, by key. `address`: the node's."""
        self._store = store
        self._attempts = attempts
        self._address = address
        self._ports = ports
        self._report, self._stop, self._give_up, self._in_contact = hooks
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._draining: dict[str, _Drain] = {}

    def place(self, attempt: Attempt) -> None:
        """Give it its ports, if it is a service's. Raises NoPorts."""
        service = attempt.task.service
        if service is None:
            return
        taken = {port for other in self._attempts.values() for _, port in other.task.ports}
        numbers = pick(len(service.ports), self._ports, taken)
        ports = tuple(zip(service.ports, numbers, strict=True))
        attempt.task = replace(attempt.task, address=self._address, ports=ports)

    def begin(self, attempt: Attempt) -> None:
        """Its process runs: probe it from now on, if it is a service's."""
        service = attempt.task.service
        if service is not None:
            self._probing[attempt.key] = asyncio.create_task(self._look_after(attempt, service))

    def end(self, attempt: Attempt) -> None:
        """Nothing of it is to be looked after any more."""
        self.stop_probing(attempt)
        if (draining := self._draining.pop(attempt.key, None)) is not None:
            draining.timer.cancel()

    def drains(self, attempt: Attempt, stop: Stop) -> bool:
        """Whether its stop waits until its callers have left it; it is stopped then. A second wish, say with another
        grace, takes the place of the first, and does not begin anew."""
        begun = self._draining.pop(attempt.key, None)
        if begun is not None:
            begun.timer.cancel()
        service = attempt.task.service
        if service is None or stop.reason is not ExitReason.STOPPED or (begun is None and not may_be_called(attempt)):
            return False
        attempt.stop = None
        self._note_stop(attempt, stop)
        if begun is None:
            self.stop_probing(attempt)
            self._set_readiness(attempt, False, stop.message or "it is being stopped")
        loop = asyncio.get_running_loop()
        until = loop.time() + service.drain_seconds if begun is None else begun.until
        self._draining[attempt.key] = _Drain(until, loop.call_at(until, self._drained, attempt, stop))
        return True

    def stop_probing(self, attempt: Attempt) -> None:
        """It is being ended: how it answers from now on says nothing."""
        if (probing := self._probing.pop(attempt.key, None)) is not None:
            probing.cancel()

    def _note_stop(self, attempt: Attempt, stop: Stop) -> None:
        """For the next agent. The task's warden heeds it only when it is woken."""
        try:
            self._store.ask_to_stop(attempt.key, stop)
        except OSError as error:
            log.warning("the stop of %s can't be noted before its time: %s", attempt.key, error)

    def _drained(self, attempt: Attempt, stop: Stop) -> None:
        self._draining.pop(attempt.key, None)
        self._stop(attempt, stop)

    # Probes

    async def _look_after(self, attempt: Attempt, service: ServiceSpec) -> None:
        try:
            found = await self._until_unhealthy(attempt, service)
        except Exception as error:  # noqa: BLE001 - any error: the other attempts go on
            self._probing.pop(attempt.key, None)
            self._give_up(attempt, error)
            return
        log.error("%s is unhealthy: %s", attempt.key, found.reason)
        self._probing.pop(attempt.key, None)
        self._set_readiness(attempt, False, found.reason)
        grace = min(attempt.task.grace_seconds, HUNG_GRACE) if found.hung else attempt.task.grace_seconds
        self._stop(attempt, Stop(ExitReason.UNHEALTHY, grace, found.reason))

    async def _until_unhealthy(self, attempt: Attempt, service: ServiceSpec) -> Verdict:
        """Probe it until it is; why it is."""
        target = Target(attempt.task.address, dict(attempt.task.ports), attempt.pid)
        if service.startup is not None and not attempt.up:
            async with aclosing(verdicts(service.startup, target)) as changes:
                started = await anext(changes)
            if not started.good:
                return Verdict(False, f"startup probe: {started.reason}")
        self._note_up(attempt)
        async with asyncio.TaskGroup() as group:
            readiness = group.create_task(self._follow_readiness(attempt, service.readiness, target))
            found = await self._until_dead(attempt, service, target)
            readiness.cancel()
        return found

    async def _follow_readiness(self, attempt: Attempt, probe: Probe | None, target: Target) -> None:
        if probe is None:
            self._set_readiness(attempt, True)
            return
        async with aclosing(verdicts(probe, target)) as changes:
            async for verdict in changes:
                self._set_readiness(attempt, verdict.good, verdict.reason and f"readiness probe: {verdict.reason}")

    async def _until_dead(self, attempt: Attempt, service: ServiceSpec, target: Target) -> Verdict:
        """Why its liveness probe counts it as dead. Never ends without a probe, nor without contact: a task that is
        only not ready may recover, and one that is ended could not be run again."""
        if service.liveness is None:
            await asyncio.get_running_loop().create_future()
        assert service.liveness is not None
        while True:
            found = Verdict(False)
            async with aclosing(verdicts(service.liveness, target, _used(attempt))) as changes:
                async for verdict in changes:
                    if not verdict.good:
                        found = verdict._replace(reason=f"liveness probe: {verdict.reason}")
                        break
                    if service.readiness is None:
                        self._set_readiness(attempt, True)
            if self._in_contact():
                return found
            log.warning(
                "%s is not ended, since it could not be run again without contact: %s", attempt.key, found.reason
            )
            self._set_readiness(attempt, False, found.reason)

    def _note_up(self, attempt: Attempt) -> None:
        if attempt.up:
            return
        attempt.up = True
        try:
            self._store.note_up(attempt.key)
        except OSError as error:  # a full disk, as a rule: a restarted agent asks it again how it starts
            log.warning("that %s is up can't be noted: %s", attempt.key, error)

    def _set_readiness(self, attempt: Attempt, ready: bool, reason: str = "") -> None:
        before = attempt.readiness
        if before is None or before.ready is not ready:
            now = time.time() if before is None else max(time.time(), before.changed_at)  # also after a clock was set
            attempt.readiness = Readiness(ready, now, reason)
            log.info("%s is %s", attempt.key, "ready" if ready else f"not ready: {reason}")
            self._report(attempt)


def _used(attempt: Attempt) -> Used | None:
    """CPU time of a task. One with a GPU may be busy without any."""
    return None if attempt.task.gpus else lambda: cpu_used({attempt.pid, *attempt.seen})


def may_be_called(attempt: Attempt) -> bool:
    """Whether a service's task may have callers. Of one that an earlier agent started that is not known at first."""
    return attempt.resumed if attempt.readiness is None else attempt.readiness.ready


def ended_by_fence(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that a node without contact ends, since the pool gives them to other nodes. A service runs on: its
    callers may still reach it when nothing else works, and a second one elsewhere does no harm. It ends when the log
    says that its allocation is released."""
    return [attempt for attempt in attempts if (attempt.running or attempt.launching) and attempt.task.service is None]
