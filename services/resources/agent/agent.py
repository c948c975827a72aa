"""The node agent: starts what the pool binds to its node, stops what is asked to stop, reports what ends.

It follows the pool's events. Its own state is a fold of those and of the folders on its disk, so that it may end at
any moment: the processes stay, and the next agent finds them. Nothing is started while it is not sure to have read
how the pool sees the node now (`_gate`): an allocation may have been given to another node since.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from events.language import task_ranges as sets
from events.language.base import Message
from events.language.common import CommandRejected, ErrorCode
from events.language.jobs import ExitReason
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    AllocationStopRequested,
    HeldTasks,
    NodeLost,
    NodeRegistered,
    NodeRemoved,
    ReleaseReason,
)
from events.language.resources.hardware import NodeSpec
from events.log.envelope import Recorded
from events.log.identity import StoredPosition, compare, described, origins_in
from events.log.outcomes import Outcomes
from events.log.positions import Place, ReaderPosition
from events.log.publish import Publisher
from events.log.tail import Tail
from events.log.wire import Damage, Raw, Undecodable
from events.process.settings import Settings
from events.process.tasks import run_beside
from services.resources.agent import reports, shipped, usage
from services.resources.agent.attempts import Attempt, Stop, attempts_of, ended_now, tasks_held
from services.resources.agent.bundles import Bundles
from services.resources.agent.config import Config
from services.resources.agent.environment import Around
from services.resources.agent.folders import Folders
from services.resources.agent.launching import Launching
from services.resources.agent.membership import AgentError, Membership, boot_id
from services.resources.agent.output import Output
from services.resources.agent.running import OUTPUT, Running
from services.resources.agent.serving import ended_by_fence
from services.resources.agent.store import Store

log = logging.getLogger("forgelog.agent")

SAVE_EVERY = 0.5
"""Seconds between two notes of how far the log was read."""
TIDY_EVERY = 5.0
OWN_UMASK = 0o077
"""Of an agent that is told none for its tasks."""
KEEP_AT_DRAIN = 10.0
"""Seconds that an agent that is to end stays for files of its tasks that are kept; the rest is for the next one."""
GATHER = 0.05
"""Seconds to let answers to reports add up: nothing waits for them but the tidying up."""


class Agent:
    def __init__(
        self, settings: Settings, config: Config, store: Store, spec: NodeSpec, place: Place, around: Around
    ) -> None:
        self._settings = settings
        self._config = config
        self._store = store
        self._spec = spec
        self._place = place
        self._around = around
        self._log_name = f"{settings.prefix}{settings.pool}/{place[1]}"
        self._boot_id = boot_id()
        self._gate: float = math.inf
        """Offset up to which the log must be read before anything is started."""
        self._saved_at = 0.0
        self._read = ReaderPosition()
        """How far the log has been read and acted on."""
        self._origin = ""
        """Of the log that is read; see `events.log.identity`."""
        self._fenced = False
        self._stopping = asyncio.Event()
        self._running = Running(
            store,
            around,
            lambda: self._open and not self._stopping.is_set(),
            Folders(store, self._bundles),
            [settings.data, settings.data / "keys"],
            config.outputs_seconds,
            config.own_ports,
            lambda: not self._fenced,
        )
        self._register = asyncio.Event()

    def _bundles(self) -> Bundles:
        umask = OWN_UMASK if self._config.umask is None else self._config.umask
        return Bundles(self._store.bundles, self._around.objects, self._config.cache_bytes, umask)

    async def run(self) -> None:
        """Until `stop`, if that is to end the tasks, or until cancelled."""
        start = await self._start()
        program = await asyncio.to_thread(shipped.launcher)
        self._spec = shipped.labelled(self._spec, program)
        async with (
            Publisher(self._settings) as publisher,
            # Those of the pool come with its events.
            Outcomes(self._settings, contexts=["jobs"], gather=GATHER) as self._outcomes,
            Launching(self._store.spare, program, self._config.umask) as launching,
            Tail(
                self._settings,
                ["resources"],
                start=start,
                partitions=[self._place[1]],
                patient=True,
            ) as self._tail,
        ):
            self._membership = Membership(self._settings, self._config, self._store, publisher, self._outcomes)
            self._reports = reports.Reports(
                publisher,
                self._outcomes,
                self._settings.pool,
                self._config.node,
                self._store.instance_id,
                self._running.on_settled,
            )
            output = Output(self._settings, self._store.control, lambda each: self._running.on_settled(each, OUTPUT))
            self._running.connect(launching, self._reports, output)
            self._register.set()
            try:
                await self._recover()
                await run_beside(
                    self._follow_and_drain(),
                    self._outcomes.lasting(),
                    self._keep_registered(),
                    self._membership.keep_alive(self._running.count),
                    self._reports.run(),
                    output.run(),
                    self._running.watch_trees(),
                    usage.report(publisher, self._config.node, self._running.attempts, self._around.key_of),
                    self._watch_contact(),
                    self._tidy(),
                )
            finally:
                self._running.close()

    def stop(self) -> None:
        """End all tasks and then the agent."""
        self._stopping.set()

    # The log's word

    async def _start(self) -> dict[Place, ReaderPosition] | Literal["end"]:
        """Where to read from: behind what was read; at first at the end, but the first record of an empty log is read,
        since it tells which log this is; of another log all that it says."""
        stored = self._store.load_position(self._log_name)
        compared = await compare(self._settings, [self._place], {self._place: stored} if stored is not None else {})
        self._origin = compared.origins.get(self._place, "")
        if stored is None:
            return "end" if compared.ends[self._place] else {self._place: ReaderPosition()}
        if not compared.mismatches:
            return {self._place: stored.position}
        log.error(
            "the log was lost or cut (%s); reading what is there from its beginning", described(compared.mismatches)
        )
        return {self._place: ReaderPosition()}

    async def _follow_and_drain(self) -> None:
        await self._follow()
        await self._drain()

    async def _follow(self) -> None:
        self._read = self._tail.positions[self._place]
        while not self._stopping.is_set():
            raws = await self._tail.poll_raw(SAVE_EVERY)
            if not self._origin:
                self._origin = origins_in(raws).get(self._place, "")
            self._read = self._tail.positions[self._place]
            self._take(raws)
            self._save()

    def _take(self, raws: Sequence[Raw]) -> None:
        """Read a batch to its end before acting on it: what it binds it may release again."""
        self._running.read_at = time.time()
        touched: dict[str, Attempt] = {}
        for raw in raws:
            self._outcomes.take(raw)
            if isinstance(raw, Damage) or self._concerns_us(raw):
                try:
                    record = raw.decode()
                except Undecodable as error:
                    log.error("nothing more is started or stopped here: %s; `forgelog repair` says what to do", error)
                    self._tail.stop_at(raw)
                    self._read = self._tail.positions[self._place]
                    break
                touched |= {each.key: each for each in self._fold(record.data, record)}
        was_open = self._open
        if not was_open and self._read.offset > self._gate:
            self._gate = -1
        if self._open and not was_open:
            touched = dict(self._running.attempts)
        for attempt in touched.values():
            self._running.act(attempt)

    @property
    def _open(self) -> bool:
        return self._gate < 0

    def _concerns_us(self, raw: Raw) -> bool:
        """Told without decoding: the pool's log is full of other nodes' allocations."""
        if raw.is_marker or raw.value is None:
            return False
        return f'"node_id":"{self._config.node}"'.encode() in raw.value or (
            self._membership.agent_id.encode() in raw.value
        )

    def _fold(self, event: Message, record: Recorded) -> Iterable[Attempt]:
        match event:
            case AllocationBound(pool=self._settings.pool, node_id=self._config.node):
                if event.instance_id not in ("", self._store.instance_id):
                    return ()  # for the agent that held the node's name then
                new = [
                    attempt
                    for attempt in attempts_of(record, event, list(sets.each(sets.parse(event.tasks))), self._boot_id)
                    if attempt.key not in self._running.attempts
                ]
                self._running.attempts |= {attempt.key: attempt for attempt in new}
                return new
            case AllocationStopRequested(pool=self._settings.pool, node_id=self._config.node):
                named = self._of(event.allocation_id, event.tasks)
                for attempt in named:
                    attempt.stop = Stop(ExitReason.STOPPED, event.grace_seconds, event.reason)
                return named
            case AllocationReleased(pool=self._settings.pool, node_id=self._config.node):
                named = self._of(event.allocation_id, event.tasks)
                for attempt in named:
                    attempt.gone = attempt.gone or event.reason is not ReleaseReason.ENDED or attempt.exit is None
                return named
            case (
                NodeLost(pool=self._settings.pool, node_id=self._config.node)
                | NodeRemoved(pool=self._settings.pool, node_id=self._config.node)
            ):
                self._membership.freed()
                if self._open:  # else a registration is under way already, or this was before it
                    log.warning("the pool says %s of this node; registering again", type(event).__name__)
                    self._register_again()
            case NodeRegistered(pool=self._settings.pool, node_id=self._config.node):
                if self._open and event.agent_id != self._membership.agent_id:
                    log.error("agent %s has registered this node; starting nothing more", event.agent_id)
                    self._register_again()
                if event.agent_id == self._membership.agent_id and event.holds is not None:
                    return self._reconcile(event.holds.allocations)
            case CommandRejected() if self._membership.sent(event.command_id):
                if event.code is ErrorCode.NOT_FOUND:
                    self._register_again()
                elif event.code is ErrorCode.FAILED_PRECONDITION:
                    log.error("a heartbeat was refused: %s", event.message)
                    self._register_again()
                else:
                    raise AgentError(f"a heartbeat was refused: {event.message}")
            case _:
                pass
        return ()

    def _reconcile(self, holds: Sequence[HeldTasks]) -> list[Attempt]:
        """Compare the tasks that the pool holds for this node, from its answer to the registration, with the running
        ones. The log has been read up to that answer. Returns attempts that may not run; reports missing ones."""
        believed = {task.key: task for task in tasks_held(holds, self._boot_id)}
        for key in believed.keys() - self._running.attempts.keys():
            log.error("%s is bound to this node, and there is no trace of it; reporting its end", key)
            self._running.lost_track(Attempt(believed[key]))
        surplus = [
            attempt
            for key, attempt in self._running.attempts.items()
            if key not in believed and attempt.exit is None and not attempt.gone
        ]
        for attempt in surplus:
            log.error("the pool knows nothing of %s any more; it is not to run", attempt.key)
            attempt.gone = True
        return surplus

    def _of(self, allocation_id: str, tasks: str) -> list[Attempt]:
        named = sets.parse(tasks)
        return [
            attempt
            for attempt in self._running.attempts.values()
            if attempt.task.allocation_id == allocation_id
            and any(low <= attempt.task.task <= high for low, high in named)
        ]

    def _save(self) -> None:
        """Note how far the log was read, and put away what lies before that."""
        now = time.monotonic()
        if now - self._saved_at < SAVE_EVERY:
            return
        self._saved_at = now
        places = [attempt.place for attempt in self._running.attempts.values() if attempt.place is not None]
        position = min(places, key=lambda place: place.offset, default=self._read)
        try:
            self._store.save_position(self._log_name, StoredPosition(position, self._origin))
        except OSError as error:  # a full disk, as a rule: a restarted agent reads again what it has read
            log.warning("how far the log was read can't be noted: %s", error)
            return
        settled, self._running.settled = self._running.settled, []
        for attempt in settled:
            exit = attempt.exit
            self._store.retire(attempt.key, keep=exit is None or not exit.ok or attempt.incomplete)

    # Membership

    def _register_again(self) -> None:
        self._gate = math.inf
        self._register.set()

    async def _keep_registered(self) -> None:
        while True:
            await self._register.wait()
            self._register.clear()
            offset = await self._membership.register(self._spec)
            log.info("node %s is registered in pool %s", self._config.node, self._settings.pool)
            self._gate = offset
            self._take(())  # it may have been read already

    async def _watch_contact(self) -> None:
        """Fencing: without contact the pool will give our tasks to other nodes, so end them before it does."""
        while True:
            await asyncio.sleep(self._config.heartbeat_seconds / 4)
            silent = self._membership.silent_seconds
            if silent < self._config.fence_seconds:
                if self._fenced:
                    log.info("in contact with the log again")
                    self._fenced = False
                    self._register_again()
            elif not self._fenced and silent < math.inf:
                self._fenced = True
                self._gate = math.inf
                log.error("no contact with the log for %.1f s: ending this node's tasks but services", silent)
                message = f"node {self._config.node} had no contact with the log for {silent:.1f} s"
                for attempt in ended_by_fence(self._running.attempts.values()):
                    attempt.stop = Stop(ExitReason.LOST, 0, message)
                    self._running.act(attempt)

    async def _recover(self) -> None:
        """Find again what earlier agents have started."""
        for found in await asyncio.to_thread(self._store.found):
            if found.task.boot_id != self._boot_id:  # the registration tells the pool of the new boot
                if found.task.keep and found.started_at:
                    ended = found.exit or ended_now(ExitReason.LOST, "the machine was booted anew", datetime.now(UTC))
                    self._running.left_behind(Attempt(found.task), ended)
                else:
                    self._store.retire(found.task.key, keep=True)
            else:
                log.info("found %s again (pid %d, %s)", found.task.key, found.pid, "runs" if found.alive else "ended")
                self._running.resume(Attempt(found.task), found)

    # Background

    async def _tidy(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._store.tidy)
            except OSError as error:
                log.warning("folders of ended tasks can't be listed: %s", error)
            await asyncio.sleep(TIDY_EVERY)

    async def _drain(self) -> None:
        """End every task, and wait until the log knows. What was bound and not started stays for the next agent."""
        log.info("stopping %d tasks", len(self._running.attempts))
        for attempt in list(self._running.attempts.values()):
            if attempt.running or attempt.launching:
                attempt.stop = Stop(ExitReason.STOPPED, attempt.task.grace_seconds, f"node {self._config.node} stops")
                self._running.act(attempt)
        until = time.monotonic() + KEEP_AT_DRAIN
        while any(
            (attempt.warden or attempt.launching) and (attempt.unsettled != {reports.KEPT} or time.monotonic() < until)
            for attempt in self._running.attempts.values()
        ):
            for raw in await self._tail.poll_raw(0.02):
                self._outcomes.take(raw)  # what else it says is for the next agent, who reads on from `_read`
        self._saved_at = 0.0
        self._save()
