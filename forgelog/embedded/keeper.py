"""The life of one child: started or adopted, watched, and started again with back-off when it ends.

Must not know what the child does; it is given how to make its spec and how to ask whether it is ready.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from events.process.identity import Identity
from events.process.settings import SettingsError
from forgelog.embedded.layout import ChildState
from forgelog.embedded.process import Child, EmbeddedError, Slow, Spec, end, log_tail

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before a restart: doubling, and starting over once the child was healthy for a while. In seconds."""

    first: float = 0.1
    longest: float = 10.0
    healthy_after: float = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How one child is made and asked."""

    name: str
    kind: str
    make: Callable[[], Spec]
    """Called before every start; may block (it runs in a thread) and raise EmbeddedError."""
    existing: Callable[[], Spec | None]
    """The spec a predecessor of ours would have used, without changing anything; None when there was none."""
    probe: Probe | None = None
    address: Callable[[], str] = lambda: ""
    outlived: bool = False
    """What it does goes on without it and is found again by its successor, so SIGKILL is how it is replaced."""


class Keeper:
    WATCH = 0.1
    PROBE = 0.05
    PROBE_READY = 5.0
    """Seconds between two questions to one that was ready: each opens a connection. Its end is told by the kernel."""

    def __init__(self, plan: Plan, changed: Callable[[], None], backoff: Backoff | None = None) -> None:
        self.plan = plan
        self.state = ChildState(plan.name, plan.kind, "starting")
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._child: Child | None = None
        self._stopping = False
        self._asked = False
        """The present child is being replaced on request: no crash, no pause."""
        self._held = ""
        """Why there must be no child for now."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self.state.up

    def start(self, before: Identity | None = None) -> None:
        """Begin; `before` is the process that a predecessor of ours had noted for this child."""
        self._task = asyncio.create_task(self._live(before), name=f"keep {self.plan.name}")

    async def stop(self, *, kill: bool = False) -> None:
        """End the child and stay stopped. With `kill` at once, without the chance to clean up."""
        self._stopping = True
        self._wake.set()
        if self._child is not None and self._child.running:
            self._note("stopping")
            if kill:
                await self._child.kill()
            else:
                await self._child.stop()
        if self._task is not None:
            await self._task
        self._note("stopped")

    async def restart(self) -> None:
        """Replace the child by one with a fresh spec."""
        self._asked = True
        if self._child is None:
            return
        if self.plan.outlived:
            await self._child.kill()
        else:
            await self._child.stop()

    async def hold(self, reason: str) -> None:
        """Kill the child, at once, and start none until `release`; `reason` is what people are told meanwhile."""
        self._held = reason
        if self._child is not None:
            await self._child.kill()
        elif self.state.state != "held":
            self._wake.set()  # it is being started, or waits to be started again
        elif self.state.problem != reason:
            self.state.problem = reason
            self._note("held")

    def release(self) -> None:
        """Let there be a child again."""
        if self._held:
            self._held = ""
            self._wake.set()

    async def _live(self, before: Identity | None) -> None:
        pause = self._backoff.first
        child = await self._adopt(before)
        if self._stopping and child is not None:
            await child.stop()
        while not self._stopping:
            if self._held and child is None:
                self.state.problem = self._held
                self._note("held")
                self._wake.clear()
                await self._wake.wait()
                pause = self._backoff.first
                if not self._stopping:
                    self._wake.clear()
                continue
            healthy = 0.0
            self._asked = False
            try:
                if child is None:
                    self._note("starting")
                    child = Child.start(await asyncio.to_thread(self.plan.make))
                self.state.address = self.plan.address()
            except (EmbeddedError, OSError) as error:
                self.state.problem = str(error)
            else:
                healthy = await self._watch(child)
                self.state.last_exit = child.exit
                self.state.problem = "" if self._stopping or self._asked else log_tail(child.spec.log, 3)
            child = self._child = None
            self.state.pid, self.state.started = 0, ""
            if self._stopping:
                return
            if self._asked or self._held:
                continue
            self.state.restarts += 1
            if healthy >= self._backoff.healthy_after:
                pause = self._backoff.first
            self._note("restarting")
            await self._sleep(pause)
            pause = min(pause * 2, self._backoff.longest)

    async def _adopt(self, before: Identity | None) -> Child | None:
        """The predecessor's child if it still is as it should be; one that is different is ended first."""
        spec = await asyncio.to_thread(self.plan.existing)
        child = await asyncio.to_thread(Child.adopt, spec) if spec else None
        if before is not None and before.alive and (child is None or child.identity.pid != before.pid):
            if spec is None:  # nothing says how it likes to be ended
                await end(self.plan.name, before)
            elif self.plan.outlived:
                await end(self.plan.name, before, number=signal.SIGKILL)
            else:
                await end(self.plan.name, before, number=spec.stop, grace=spec.grace)
        return child

    async def _watch(self, child: Child) -> float:
        """Until the child ends. Returns for how many seconds it had been up then."""
        self._child = child
        self.state.pid, self.state.started = child.identity.pid, child.identity.started
        self._note("starting" if self.plan.probe else "running")
        if self._stopping:  # asked for while it was being made
            await child.stop()
        elif self._held:
            await child.kill()
        up_since: list[float] = [] if self.plan.probe else [time.monotonic()]
        probing = asyncio.create_task(self._ask(up_since)) if self.plan.probe else None
        try:
            await child.ended(self.WATCH)
        finally:
            if probing is not None:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)
        return time.monotonic() - up_since[0] if up_since else 0.0

    async def _ask(self, up_since: list[float]) -> None:
        probe = self.plan.probe
        assert probe is not None
        while True:
            try:
                yes = await probe()
            except (EmbeddedError, SettingsError, OSError) as error:
                yes = False
                if self.state.problem != str(error):
                    self.state.problem, self.state.slow = str(error), isinstance(error, Slow)
                    self._changed()
            if yes and not up_since:
                up_since.append(time.monotonic())
            if not self._stopping and up_since:
                if yes and self.state.state != "ready":
                    self.state.problem = ""
                    self._note("ready")
                elif not yes and self.state.state == "ready":
                    self._note("not_ready")
            await asyncio.sleep(self.PROBE_READY if self.up else self.PROBE)

    async def _sleep(self, seconds: float) -> None:
        if self._held:
            return
        if not self._stopping:
            self._wake.clear()  # of an earlier `hold` or `release`
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    def _note(self, state: str) -> None:
        self.state.state = state
        self.state.slow = self.state.slow and state in ("starting", "not_ready")  # else its problem is another
        self._changed()
