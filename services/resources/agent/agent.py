"""The node agent: starts what the pool binds to its node, stops what is asked to stop, reports what ends.

It follows the pool's events. Its own state is a fold of those and of the folders on its disk, so that it may end at
any moment: the processes stay, and the next agent finds them. Nothing is started while it is not sure to have read
how the pool sees the node now (`_gate`): an allocation may have been given to another node since.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from events.language import task_sets as sets
from events.language.base import Message
from events.language.common import CommandRejected, ErrorCode
from events.language.hardware import NodeSpec
from events.language.jobs import ExitReason
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    AllocationStopRequested,
    NodeLost,
    NodeRegistered,
    NodeRemoved,
    ReleaseReason,
)
from events.log.envelope import Recorded
from events.log.identity import Stand, compare, described, origin_of
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.log.tail import Place, ReaderPosition, Tail
from events.log.wire import Raw
from events.runtime import faults, tracing
from events.runtime.same_folder import is_same_folder
from events.runtime.settings import Settings
from events.runtime.tasks import end_all
from services.resources.agent import leftovers, memory, native, reports
from services.resources.agent.attempts import Attempt, Exit, Stop, attempts_of, ended_now
from services.resources.agent.config import Config
from services.resources.agent.environment import Around
from services.resources.agent.launching import Launched, Launching
from services.resources.agent.membership import AgentError, Membership, boot_id
from services.resources.agent.output import Output
from services.resources.agent.store import Found, Store

log = logging.getLogger("forgelog.agent")

OUTPUT = "output"
SAVE_EVERY = 0.5
"""Seconds between two notes of how far the log was read."""
TIDY_EVERY = 5.0
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
        self._log_name = f"{settings.prefix}{settings.pool}/{place[1]}"
        self._around = around
        self._boot_id = boot_id()
        self._attempts: dict[str, Attempt] = {}
        self._settled: list[Attempt] = []
        """The log knows their end; their folders go once the note of our position is behind their start."""
        self._gate: float = math.inf
        """Offset up to which the log must be read before anything is started."""
        self._saved_at = 0.0
        self._read = ReaderPosition()
        """How far the log has been read and acted on."""
        self._origin = ""
        """Of the log that is read; see `events.log.identity`."""
        self._log_lost = False
        """Whether the log is another one than when this node was stopped."""
        self._orphans: set[str] = set()
        """Allocations of running tasks that the log that was found instead has not bound yet."""
        self._read_at = 0.0
        """When the batch at hand was read (POSIX seconds)."""
        self._fenced = False
        self._felling: dict[str, asyncio.Task[None]] = {}
        self._lookers = ThreadPoolExecutor(4, "folders")
        """Of their own, so that a file system whose server is gone keeps nothing else waiting."""
        self._looking: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._register = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`, if that is to end the tasks, or until cancelled."""
        start = await self._start()
        program = await asyncio.to_thread(native.launcher)
        async with (
            Publisher(self._settings) as publisher,
            # Those of the pool come with its events.
            Outcomes(self._settings, contexts=["jobs"], gather=GATHER) as self._outcomes,
            Launching(self._store.spare, program) as self._launching,
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
                self._on_settled,
            )
            self._output = Output(self._settings, self._store.tasks, lambda each: self._on_settled(each, OUTPUT))
            self._register.set()
            try:
                async with asyncio.TaskGroup() as group:
                    await self._recover()
                    work = [
                        group.create_task(coroutine)
                        for coroutine in (
                            self._keep_registered(),
                            self._membership.keep_alive(lambda: sum(each.running for each in self._attempts.values())),
                            self._reports.run(),
                            self._output.run(),
                            self._watch_memory(),
                            self._watch_contact(),
                            self._tidy(),
                        )
                    ]
                    await self._follow()
                    await self._drain()
                    await end_all(work)
            finally:
                self._lookers.shutdown(wait=False, cancel_futures=True)
                for attempt in self._attempts.values():
                    self._unwatch(attempt)

    def stop(self) -> None:
        """End all tasks and then the agent."""
        self._stopping.set()

    # The log's word

    async def _start(self) -> dict[Place, ReaderPosition] | Literal["end"]:
        """Where to read from: behind what was read, at first at the end; of another log all that it says."""
        stand = self._store.load_position(self._log_name)
        compared = await compare(self._settings, [self._place], {self._place: stand} if stand is not None else {})
        self._origin = compared.origins.get(self._place, "")
        if stand is None:
            return "end"
        if not compared.strange:
            return {self._place: stand.position}
        log.error("the log was lost or cut (%s); reading what is there from its beginning", described(compared.strange))
        self._log_lost = True
        return {self._place: ReaderPosition()}

    async def _follow(self) -> None:
        self._read = self._tail.positions[self._place]
        while not self._stopping.is_set():
            raws = await self._tail.poll_raw(SAVE_EVERY)
            if not self._origin and raws and raws[0].offset == 0:
                self._origin = origin_of(raws[0])
            self._read = self._tail.positions[self._place]
            self._take(raws)
            self._save()

    def _take(self, raws: Sequence[Raw]) -> None:
        """Read a batch to its end before acting on it: what it binds it may release again."""
        self._read_at = time.time()
        touched: dict[str, Attempt] = {}
        for raw in raws:
            self._outcomes.take(raw)
            if self._concerns_us(raw):
                record = raw.decode()
                touched |= {each.key: each for each in self._fold(record.data, record)}
        was_open = self._open
        if not was_open and self._read.offset > self._gate:
            self._gate = -1
        if self._open and not was_open:
            self._end_orphans()
            touched = dict(self._attempts)
        for attempt in touched.values():
            self._act(attempt)

    def _end_orphans(self) -> None:
        """End what the log that was lost had this node run, and the log there is knows nothing of."""
        for attempt in self._attempts.values():
            if attempt.task.allocation_id in self._orphans and attempt.exit is None:
                log.error("%s: the log knows nothing of its allocation; ending it", attempt.key)
                attempt.stop = Stop(ExitReason.LOST, 0, "the log that had it run was lost")
        self._orphans.clear()

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
                self._orphans.discard(event.allocation_id)
                new = [
                    attempt
                    for attempt in attempts_of(record, event, list(sets.each(sets.parse(event.tasks))), self._boot_id)
                    if attempt.key not in self._attempts
                ]
                self._attempts |= {attempt.key: attempt for attempt in new}
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

    def _of(self, allocation_id: str, tasks: str) -> list[Attempt]:
        named = sets.parse(tasks)
        return [
            attempt
            for attempt in self._attempts.values()
            if attempt.task.allocation_id == allocation_id
            and any(low <= attempt.task.task <= high for low, high in named)
        ]

    def _save(self) -> None:
        """Note how far the log was read, and put away what lies before that."""
        now = time.monotonic()
        if now - self._saved_at < SAVE_EVERY:
            return
        self._saved_at = now
        places = [attempt.place for attempt in self._attempts.values() if attempt.place is not None]
        position = min(places, key=lambda place: place.offset, default=self._read)
        self._store.save_position(self._log_name, Stand(position, self._origin))
        settled, self._settled = self._settled, []
        for attempt in settled:
            exit = attempt.exit
            self._store.retire(attempt.key, keep=exit is None or not exit.ok)

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
                log.error("no contact with the log for %.1f s: ending this node's tasks", silent)
                for attempt in list(self._attempts.values()):
                    if attempt.running or attempt.launching:
                        message = f"node {self._config.node} had no contact with the log for {silent:.1f} s"
                        attempt.stop = Stop(ExitReason.LOST, 0, message)
                        self._act(attempt)

    # Attempts

    async def _recover(self) -> None:
        """Find again what earlier agents have started."""
        for found in await asyncio.to_thread(self._store.found):
            if found.task.boot_id != self._boot_id:
                self._store.retire(found.task.key, keep=True)  # the registration tells the pool of the new boot
            else:
                log.info("found %s again (pid %d, %s)", found.task.key, found.pid, "runs" if found.alive else "ended")
                attempt = self._attempts[found.task.key] = Attempt(found.task)
                if self._log_lost:
                    self._orphans.add(found.task.allocation_id)
                self._resume(attempt, found)

    def _resume(self, attempt: Attempt, found: Found) -> None:
        attempt.launching = False
        attempt.place = None
        attempt.warden = found.warden
        attempt.pid, attempt.started_at = found.pid, found.started_at
        self._begun(attempt, found.alive and found.exit is None)

    def _act(self, attempt: Attempt) -> None:
        """Bring an attempt closer to what the log wants of it."""
        if attempt.exit is not None or attempt.launching:
            return
        if attempt.running:
            if attempt.gone:
                attempt.stop = Stop(ExitReason.LOST, 0, "its allocation was released")
            if attempt.stop is not None:
                self._tell_to_stop(attempt, attempt.stop)
        elif attempt.gone:
            del self._attempts[attempt.key]
        elif attempt.stop is not None:
            self._ended(attempt, ended_now(attempt.stop.reason, attempt.stop.message, datetime.now(UTC)))
        elif self._open and not self._stopping.is_set():
            self._launch(attempt)

    def _launch(self, attempt: Attempt) -> None:
        if (
            attempt.folder is None
            and attempt.bound is not None
            and attempt.bound.launch.environment.working_directory_id
        ):
            attempt.launching = True
            self._looking.add(looking := asyncio.create_task(self._look_for_folder(attempt)))
            looking.add_done_callback(self._looking.discard)
            return
        faults.point(faults.BEFORE_LAUNCH)
        attempt.launching = True
        begun = self._read_at
        future = self._launching.launch(self._around.spec(attempt))
        future.add_done_callback(
            lambda done: None if done.cancelled() else self._launched(attempt, done.result(), begun)
        )

    async def _look_for_folder(self, attempt: Attempt) -> None:
        """Whether this node sees the folder that the job was submitted in. A network file system may let it wait."""
        assert attempt.bound is not None
        environment = attempt.bound.launch.environment
        loop = asyncio.get_running_loop()
        wanted = environment.working_directory, environment.working_directory_id
        same = await loop.run_in_executor(self._lookers, is_same_folder, *wanted)
        attempt.folder = environment.working_directory if same else ""
        attempt.launching = False
        self._act(attempt)

    def _launched(self, attempt: Attempt, answer: Launched, begun: float) -> None:
        faults.point(faults.AFTER_LAUNCH)
        attempt.launching = False
        if answer.error:
            self._ended(attempt, ended_now(ExitReason.SPAWN_FAILED, answer.error, datetime.now(UTC)))
            return
        if answer.claimed:
            found = next((each for each in self._store.found() if each.task.key == attempt.key), None)
            if found is None:
                self._ended(attempt, ended_now(ExitReason.LOST, "its start was cut off", datetime.now(UTC)))
            else:
                self._resume(attempt, found)
            return
        attempt.place = None
        attempt.warden, attempt.pid, attempt.started_at = answer.warden, answer.pid, answer.started_at
        tracing.record("start process", attempt.task.traceparent, begun, job=attempt.task.job_id, pid=answer.pid)
        log.debug(
            "%s: process started %.2f ms after its order was read", attempt.key, (answer.started_at - begun) * 1e3
        )
        self._begun(attempt, True)

    def _begun(self, attempt: Attempt, alive: bool) -> None:
        self._output.follow(attempt)
        if attempt.pid:
            self._reports.add(reports.STARTED, attempt)
        if alive:
            self._watch(attempt)
        else:
            self._gone(attempt)
        if attempt.exit is None:
            self._act(attempt)

    def _watch(self, attempt: Attempt) -> None:
        """Learn of the warden's end from the kernel."""
        try:
            attempt.pidfd = os.pidfd_open(attempt.warden)
        except ProcessLookupError:
            self._gone(attempt)
            return
        asyncio.get_running_loop().add_reader(attempt.pidfd, self._gone, attempt)
        if self._store.exit_of(attempt.key) is not None:
            self._gone(attempt)  # it ended before we looked, and its pid may be another's by now

    def _unwatch(self, attempt: Attempt) -> None:
        if attempt.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(attempt.pidfd)
            os.close(attempt.pidfd)
            attempt.pidfd = -1

    def _gone(self, attempt: Attempt) -> None:
        """The warden has ended: after its task, as a rule."""
        self._unwatch(attempt)
        exit = self._store.exit_of(attempt.key)
        if exit is not None:
            self._ended(attempt, exit)
        elif attempt.key not in self._felling:
            self._felling[attempt.key] = asyncio.create_task(self._fell(attempt))

    async def _fell(self, attempt: Attempt) -> None:
        """The warden was killed itself: end what it watched over."""
        log.error("the warden of %s (pid %d) is gone; ending its processes", attempt.key, attempt.warden)
        while left := await asyncio.to_thread(leftovers.fell, attempt.task, attempt.pid):
            log.error("%d processes of %s can't be killed", left, attempt.key)
        del self._felling[attempt.key]
        message = "its warden was killed, so its exit status is not known"
        self._ended(attempt, ended_now(ExitReason.LOST, message, datetime.now(UTC)))

    def _tell_to_stop(self, attempt: Attempt, stop: Stop) -> None:
        attempt.stop = None
        if attempt.pidfd < 0:
            return  # it ended by itself just now
        self._store.ask_to_stop(attempt.key, stop)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(attempt.pidfd, signal.SIGTERM)

    def _ended(self, attempt: Attempt, exit: Exit) -> None:
        attempt.exit = exit
        attempt.unsettled = {OUTPUT}
        if not attempt.gone:  # else the log knows already
            attempt.unsettled |= {reports.EXITED, reports.FREED}
            self._reports.add(reports.EXITED, attempt)
            self._reports.add(reports.FREED, attempt)
        if not attempt.warden:
            self._output.follow(attempt)  # so that whoever waits for its output learns that there is none
        self._output.finish(attempt)

    def _on_settled(self, attempt: Attempt, what: str) -> None:
        attempt.unsettled.discard(what)
        if attempt.exit is not None and not attempt.unsettled and self._attempts.pop(attempt.key, None) is not None:
            self._settled.append(attempt)

    # Background

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(memory.LOOK_EVERY)
            limits = {
                attempt.key: (attempt.warden, attempt.task.memory_bytes)
                for attempt in self._attempts.values()
                if attempt.running
            }
            for excess in await asyncio.to_thread(memory.over_limit, limits) if limits else ():
                attempt = self._attempts.get(excess.key)
                if attempt is not None and attempt.running:
                    message = f"used {excess.used} bytes of memory, its limit is {excess.limit}"
                    self._tell_to_stop(attempt, Stop(ExitReason.OUT_OF_MEMORY, 0, message))

    async def _tidy(self) -> None:
        while True:
            await asyncio.to_thread(self._store.tidy)
            await asyncio.sleep(TIDY_EVERY)

    async def _drain(self) -> None:
        """End every task, and wait until the log knows. What was bound and not started stays for the next agent."""
        log.info("stopping %d tasks", len(self._attempts))
        for attempt in list(self._attempts.values()):
            if attempt.running or attempt.launching:
                attempt.stop = Stop(ExitReason.STOPPED, attempt.task.grace_seconds, f"node {self._config.node} stops")
                self._act(attempt)
        while any(attempt.warden or attempt.launching for attempt in self._attempts.values()):
            for raw in await self._tail.poll_raw(0.02):
                self._outcomes.take(raw)  # what else it says is for the next agent, who reads on from `_read`
        self._saved_at = 0.0
        self._save()
