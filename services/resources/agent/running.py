"""Brings attempts to the state that the log requires: launches, watches, stops and ends them, and reports the outcomes.

An error of one attempt ends that attempt, never the agent. An attempt that can't be tracked any further is killed and
reported as `untracked`, with the reason. Must not know how the log is read."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec

from events.language.jobs import ExitReason
from events.process import faults, tracing
from services.resources.agent import leftovers, memory, proctree, reports
from services.resources.agent.attempts import Attempt, Exit, Stop, ended_now
from services.resources.agent.bundles import BundleProblem, Stopped
from services.resources.agent.config import OUTPUTS_SECONDS, SERVICE_PORTS
from services.resources.agent.draining import SPOOL, Draining
from services.resources.agent.environment import Around
from services.resources.agent.folders import Folders
from services.resources.agent.keeping import Keeping
from services.resources.agent.launching import Launched, Launching
from services.resources.agent.output import Output
from services.resources.agent.ports import NoPorts
from services.resources.agent.reports import Reports
from services.resources.agent.serving import Hooks, Serving
from services.resources.agent.store import Found, Store

log = logging.getLogger("forgelog.agent.running")

OUTPUT = "output"
OVERDUE = 10.0
"""Seconds beyond its grace within which a warden must have carried out a stop; then the agent does it itself."""

More = ParamSpec("More")
Step = Callable[Concatenate["Running", Attempt, More], None]


def guarded(step: Step[More]) -> Step[More]:
    """A step whose error ends the attempt, and nothing else."""

    def safe(self: Running, attempt: Attempt, /, *more: More.args, **named: More.kwargs) -> None:
        try:
            step(self, attempt, *more, **named)
        except Exception as error:  # noqa: BLE001 - any error: the other attempts go on
            self.give_up(attempt, error)

    return safe


class Running:
    """The attempts of a node, by key. Used from the agent's event loop."""

    def __init__(
        self,
        store: Store,
        around: Around,
        may_start: Callable[[], bool],
        folders: Folders,
        excluded: Collection[Path] = (),
        outputs_seconds: float = OUTPUTS_SECONDS,
        ports: range = SERVICE_PORTS,
        in_contact: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_start`: whether new processes may be started now. `excluded`, `outputs_seconds`: see `Keeping`. `ports`,
        `in_contact`: for services."""
        self._store = store
        self._around = around
        self._may_start = may_start
        self.attempts: dict[str, Attempt] = {}
        self.settled: list[Attempt] = []
        """The log knows their end; their folders are to be put away."""
        self.read_at = 0.0
        """When the log's newest word was read (POSIX seconds)."""
        self._felling: dict[str, asyncio.Task[None]] = {}
        self._folders = folders
        self._finding: set[asyncio.Task[None]] = set()
        out = (store.folder, *excluded)
        self._keeping = Keeping(
            store.scratch,
            store.code,
            around.objects,
            lambda attempt: self._reports.add(reports.KEPT, attempt),
            out,
            outputs_seconds,
        )
        self._draining = Draining(store.scratch, around.speaking, self._drained, self.on_settled, outputs_seconds)
        hooks = Hooks(lambda a: self._reports.add(reports.READINESS, a), self.tell_to_stop, self.give_up, in_contact)
        self._serving = Serving(store, self.attempts, around.address, ports, hooks)
        self._launching: Launching
        self._reports: Reports
        self._output: Output

    def connect(self, launching: Launching, reports: Reports, output: Output) -> None:
        """What it works with; before anything else."""
        self._launching, self._reports, self._output = launching, reports, output

    def close(self) -> None:
        """Look after nothing any more. The processes stay."""
        self._folders.close()
        self._keeping.close()
        self._draining.close()
        for attempt in self.attempts.values():
            self._unwatch(attempt)

    def count(self) -> int:
        """How many run."""
        return sum(attempt.running for attempt in self.attempts.values())

    # What the log wants

    @guarded
    def act(self, attempt: Attempt) -> None:
        """Bring an attempt closer to what the log wants of it."""
        if attempt.gone or attempt.stop is not None:
            self._folders.leave(attempt)
        if attempt.exit is not None or attempt.launching or attempt.key in self._felling:
            return
        if attempt.running:
            if attempt.gone:
                grace = attempt.task.grace_seconds if attempt.task.service is not None else 0.0
                attempt.stop = Stop(ExitReason.LOST, grace, "its allocation was released")
            if attempt.stop is not None and not self._serving.drains(attempt, attempt.stop):
                self.tell_to_stop(attempt, attempt.stop)
        elif attempt.gone:
            del self.attempts[attempt.key]
            if attempt.folder is not None:
                self._store.discard_code(attempt.key)
        elif attempt.stop is not None:
            self._ended(attempt, _now(attempt.stop.reason, attempt.stop.message))
        elif self._may_start():
            self._launch(attempt)

    def _launch(self, attempt: Attempt) -> None:
        if self._folders.is_unknown(attempt):
            attempt.launching = True
            self._finding.add(finding := asyncio.create_task(self._find_folder(attempt)))
            finding.add_done_callback(self._finding.discard)
            return
        faults.point(faults.BEFORE_LAUNCH)
        try:
            if attempt.task.keep:
                attempt.task = replace(attempt.task, folder=self._around.folder_of(attempt))
            self._serving.place(attempt)
            spec = self._around.spec(attempt)
            future = self._launching.launch(spec)
        except NoPorts as error:
            self._ended(attempt, _now(ExitReason.SPAWN_FAILED, str(error)))
            return
        except Exception as error:
            log.exception("%s can't be launched", attempt.key)
            self._ended(attempt, _now(ExitReason.SPAWN_FAILED, f"{type(error).__name__}: {error}"))
            return
        attempt.launching = True
        begun = self.read_at
        future.add_done_callback(
            lambda done: None if done.cancelled() else self._launched(attempt, done.result(), begun)
        )

    async def _find_folder(self, attempt: Attempt) -> None:
        problem = ""
        try:
            attempt.folder = await self._folders.find(attempt)
        except Stopped:
            pass  # why is looked at below
        except BundleProblem as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - any error: the other attempts go on
            self.give_up(attempt, error)
            return
        attempt.launching = False
        if problem:
            self._ended(attempt, _now(ExitReason.SPAWN_FAILED, problem))
        else:
            self.act(attempt)

    @guarded
    def _launched(self, attempt: Attempt, answer: Launched, begun: float) -> None:
        faults.point(faults.AFTER_LAUNCH)
        attempt.launching = False
        if answer.error:
            self._ended(attempt, _now(ExitReason.SPAWN_FAILED, answer.error))
            return
        if answer.claimed:
            found = self._store.find(attempt.key)
            if found is None:
                self._ended(attempt, _now(ExitReason.LOST, "its start was cut off"))
            else:
                self.resume(attempt, found)
            return
        attempt.place = None
        attempt.warden, attempt.warden_ticks = answer.warden, answer.warden_ticks
        attempt.pid, attempt.ticks, attempt.started_at = answer.pid, answer.ticks, answer.started_at
        tracing.record("start process", attempt.task.traceparent, begun, job=attempt.task.job_id, pid=answer.pid)
        log.debug(
            "%s: process started %.2f ms after its order was read", attempt.key, (answer.started_at - begun) * 1e3
        )
        self._begun(attempt, True)

    @guarded
    def resume(self, attempt: Attempt, found: Found) -> None:
        """Go on with what an earlier agent, or an earlier launcher, has started."""
        self.attempts[attempt.key] = attempt
        attempt.resumed = True
        attempt.launching = False
        attempt.place = None
        attempt.warden, attempt.warden_ticks = found.warden, found.warden_ticks
        attempt.pid, attempt.ticks, attempt.started_at = found.pid, found.ticks, found.started_at
        attempt.stop, attempt.up = attempt.stop or found.stop, found.up
        self._begun(attempt, found.alive and found.exit is None)

    def _begun(self, attempt: Attempt, alive: bool) -> None:
        self._store.enter(attempt.key)
        self._output.follow(attempt)
        if attempt.pid:
            self._reports.add(reports.STARTED, attempt)
        if alive:
            self._serving.begin(attempt)
            self._watch(attempt)
        else:
            self._gone(attempt)
        self.act(attempt)

    # The warden's end

    def _watch(self, attempt: Attempt) -> None:
        """Learn of the warden's end from the kernel."""
        try:
            attempt.pidfd = os.pidfd_open(attempt.warden)
        except ProcessLookupError:
            self._gone(attempt)
            return
        asyncio.get_running_loop().add_reader(attempt.pidfd, self._gone, attempt)
        reused = attempt.resumed and not proctree.alive(attempt.warden, attempt.warden_ticks)
        if reused or self._store.exit_of(attempt.key) is not None:
            self._gone(attempt)  # it ended before we looked, and its pid may be another's by now

    def _unwatch(self, attempt: Attempt) -> None:
        self._serving.end(attempt)
        if attempt.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(attempt.pidfd)
            os.close(attempt.pidfd)
            attempt.pidfd = -1

    @guarded
    def _gone(self, attempt: Attempt) -> None:
        """The warden has ended: after its task, as a rule."""
        self._unwatch(attempt)
        exit = self._store.exit_of(attempt.key)
        if exit is not None:
            if leftovers.lives(attempt):
                self._not_its_end(attempt)
            elif attempt.resumed:
                self._felling[attempt.key] = asyncio.create_task(self._look_again(attempt, exit))
            else:
                self._ended(attempt, exit)
            return
        log.error("the warden of %s (pid %d) is gone without a note; ending its processes", attempt.key, attempt.warden)
        if attempt.asked is not None:
            self._end_by_force(attempt, _now(attempt.asked.reason, attempt.asked.message))
            return
        message = "its warden was ended before it could note how the task ended; the task itself may have done that"
        self._end_by_force(attempt, _now(ExitReason.UNTRACKED, message))

    async def _look_again(self, attempt: Attempt, exit: Exit) -> None:
        """Of what ended while no agent watched only notes are known: look for its processes by all that tells them."""
        left = await leftovers.dealt_with(attempt, leftovers.count)
        del self._felling[attempt.key]
        if left:
            self._not_its_end(attempt)
        else:
            self._ended(attempt, exit)

    def _not_its_end(self, attempt: Attempt) -> None:
        """There is a note of its end, and it still runs: a warden writes one behind the end of all that it sees."""
        log.error("%s has a note of its end and still runs; ending its processes", attempt.key)
        message = "a note of its end was there while it still ran, which the task itself must have written"
        self._end_by_force(attempt, _now(ExitReason.UNTRACKED, message), noted=False)

    def give_up(self, attempt: Attempt, error: Exception) -> None:
        """An error of the agent's own in dealing with an attempt."""
        log.error("%s can't be followed any further: %s", attempt.key, error, exc_info=error)
        if attempt.exit is None:
            message = f"its node's agent met an error in following it: {type(error).__name__}: {error}"
            self._end_by_force(attempt, _now(ExitReason.UNTRACKED, message))

    def _end_by_force(self, attempt: Attempt, exit: Exit, *, noted: bool = True) -> None:
        """End its processes without its warden, if that still lives, and then the attempt: so as it is `noted`, if it
        is, else as `exit`."""
        if attempt.key not in self._felling:
            self._unwatch(attempt)  # its warden's end is of our doing from now on
            attempt.launching = False
            self._felling[attempt.key] = asyncio.create_task(self._fell(attempt, exit, noted))

    async def _fell(self, attempt: Attempt, exit: Exit, noted: bool) -> None:
        if noted and not leftovers.lives(attempt):
            exit = self._store.last_word(attempt.key) or exit  # what its warden writes from now on is of our doing
        while left := await leftovers.dealt_with(attempt, leftovers.fell):
            log.error("%d processes of %s can't be killed", left, attempt.key)
            await asyncio.sleep(leftovers.AGAIN)
        del self._felling[attempt.key]
        self._ended(attempt, exit)

    # Stops

    @guarded
    def tell_to_stop(self, attempt: Attempt, stop: Stop) -> None:
        attempt.stop = None
        self._serving.stop_probing(attempt)
        if attempt.pidfd < 0:
            return  # it ended by itself just now
        attempt.asked = attempt.asked or stop
        overdue = stop.grace_seconds + OVERDUE
        with suppress(ProcessLookupError):
            try:
                self._store.ask_to_stop(attempt.key, stop)
            except OSError as error:
                log.warning("the warden of %s can't be told to stop (%s); doing it here", attempt.key, error)
                overdue = stop.grace_seconds
                if stop.grace_seconds:
                    leftovers.terminate(leftovers.Prey.of(attempt))
            else:
                signal.pidfd_send_signal(attempt.pidfd, signal.SIGCONT)  # a task may have stopped its warden
                signal.pidfd_send_signal(attempt.pidfd, signal.SIGTERM)
        asyncio.get_running_loop().call_later(overdue, self._take_over, attempt, stop)

    @guarded
    def _take_over(self, attempt: Attempt, stop: Stop) -> None:
        """A stop that is not carried out in time is carried out here."""
        if attempt.exit is None and self.attempts.get(attempt.key) is attempt:
            self._end_by_force(attempt, _now(stop.reason, stop.message))

    async def watch_trees(self) -> None:
        """Keep an eye on each attempt's processes, until cancelled: memory, stopped wardens, who belongs to it."""
        await memory.watch_attempts(self.attempts, self._seen)

    @guarded
    def _seen(self, attempt: Attempt, tree: memory.Tree) -> None:
        attempt.seen = tree.processes
        if tree.stopped and attempt.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(attempt.pidfd, signal.SIGCONT)
        if tree.excess:
            limit = attempt.task.memory_bytes / 2**20
            message = f"used {tree.excess / 2**20:.0f} MiB, its limit is {limit:.0f} MiB; ask for more memory"
            self.tell_to_stop(attempt, Stop(ExitReason.OUT_OF_MEMORY, 0, message))

    # The end

    def _ended(self, attempt: Attempt, exit: Exit) -> None:
        attempt.exit = self._around.told(attempt.task, exit)
        attempt.unsettled = {OUTPUT, SPOOL}
        if not attempt.gone:  # else the log knows already
            attempt.unsettled |= {reports.EXITED, reports.FREED}
        if attempt.task.keep and attempt.started_at:
            attempt.unsettled.add(reports.KEPT)
            self._keeping.add(attempt)
        try:
            if not attempt.warden:
                self._output.follow(attempt)  # so that those who wait for its output learn that there is none
            self._output.finish(attempt)
        except Exception as error:
            log.error("the output of %s can't be followed: %s", attempt.key, error, exc_info=error)
            self.on_settled(attempt, OUTPUT)
        self._output.digest(attempt, self._draining.add)

    def _drained(self, attempt: Attempt) -> None:
        """What it has logged to runs is sent, or not to be waited for any longer."""
        for kind in (reports.EXITED, reports.FREED):
            if kind in attempt.unsettled:
                self._reports.add(kind, attempt)

    def left_behind(self, attempt: Attempt, exit: Exit) -> None:
        """Take an attempt from before the last boot that the log still holds: only its files are left."""
        self.attempts[attempt.key] = attempt
        attempt.exit, attempt.gone, attempt.incomplete, attempt.unsettled = exit, True, True, {reports.KEPT}
        self._keeping.add(attempt)

    def lost_track(self, attempt: Attempt) -> None:
        """Take an attempt that the pool holds for this node and that left no trace: end any processes of it."""
        self.attempts[attempt.key] = attempt
        self._end_by_force(attempt, _now(ExitReason.LOST, f"node {self._around.node} has no trace of it (any more)"))

    def on_settled(self, attempt: Attempt, what: str) -> None:
        """Something that its end had left to be done is done."""
        attempt.unsettled.discard(what)
        if attempt.exit is not None and not attempt.unsettled and self.attempts.pop(attempt.key, None) is not None:
            self._store.leave(attempt.key)
            self.settled.append(attempt)


def _now(reason: ExitReason, message: str) -> Exit:
    return ended_now(reason, message, datetime.now(UTC))
