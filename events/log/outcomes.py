"""Outcomes of commands, as a reader of the log sees them. (A producer's ack says nothing about the outcome.)

`Outcomes` follows all event topics from now on, and resolves a future for each expected command id. Call `expect`
before publishing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from aiokafka.errors import KafkaError

from events.language.base import Command, Event
from events.language.common import CommandNoted, CommandRejected, ErrorCode, Refused
from events.log.conclusions import Until, search
from events.log.envelope import Position, Recorded
from events.log.first_outcomes import FirstOutcomes, project_of
from events.log.positions import ReaderPosition
from events.log.tail import LogLost, NoTopic, Tail
from events.log.topics import CONTEXTS
from events.log.wire import Raw, Undecodable
from events.process.settings import Settings
from events.process.tasks import end_all

_SEARCHES = 2
"""Searches for conclusions in the log at a time, each with its own connection."""

log = logging.getLogger("forgelog.outcomes")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command: its events, or its refusal, or that it changed nothing."""

    command_id: str
    subject: str
    """Id of the aggregate that the command was about."""
    events: tuple[Recorded, ...] = ()
    """The events that the command led to directly; for a repeat, those of the first time."""
    rejected: CommandRejected | None = None
    noted: CommandNoted | None = None
    """Set if the command was a repeat, or changed nothing."""
    conclusion: Recorded | None = None
    """The event that concludes the creation, if the caller waited for it and the command was accepted."""

    @property
    def position(self) -> Position:
        """The position of the last of its records; usable as `at_least`."""
        return self.events[-1].position

    @property
    def refused(self) -> Refused | None:
        """Why the command was refused, by its own refusal or by its conclusion; None if it was not."""
        if self.rejected is not None:
            return Refused(self.rejected.code, self.rejected.message, self.rejected.errors)
        event = self.conclusion.data if self.conclusion is not None else None
        reason = event.refusal() if isinstance(event, Event) else ""
        return Refused(ErrorCode.FAILED_PRECONDITION, reason) if reason else None


_NOTED = CommandNoted.type_name()
_ANSWERS = frozenset((CommandRejected.type_name(), _NOTED))


@dataclass(slots=True, eq=False)
class _Waiting:
    future: asyncio.Future[Outcome]
    digest: str
    project: str = ""
    bare: bool = False
    parts: dict[int, Recorded | None] = field(default_factory=dict)
    """None for events that a `bare` wait does not decode."""
    cause: Position | None = None
    """The record of the command that caused these. A repeat may be answered before all events of the first came."""
    until: Until | None = None
    outcome: Outcome | None = None
    """The command's own outcome, while its conclusion is missing."""
    conclusion: Recorded | None = None
    """A conclusion that came before the outcome, since partitions are read in any order. It counts only if the command
    was accepted."""

    def concludes(self, outcome: Outcome) -> bool:
        """Whether a wait with this outcome of the command still needs a conclusion."""
        return (
            self.until is not None and outcome.rejected is None and not isinstance(outcome.events[0].data, CommandNoted)
        )

    def came(self, outcome: Outcome) -> None:
        """Take the command's own outcome."""
        if self.concludes(outcome):
            self.outcome = outcome
            self.conclude(self.conclusion)
        else:
            self.future.set_result(outcome)

    def conclude(self, conclusion: Recorded | None) -> None:
        """Take a conclusion. The first one taken counts."""
        self.conclusion = self.conclusion or conclusion
        if self.outcome is not None and self.conclusion is not None:
            self.future.set_result(replace(self.outcome, conclusion=self.conclusion))


class Outcomes:
    """An async context manager; follows the log while it is open."""

    def __init__(
        self,
        settings: Settings,
        saw: Callable[[Raw], None] | None = None,
        contexts: Sequence[str] = CONTEXTS,
        gather: float = 0.0,
    ) -> None:
        """`saw`: called with every valid event. `contexts`: those to follow; the caller may give records of others to
        `take`. `gather`: seconds to pause after each read, for a caller that is in no hurry: else every new record of
        the log would wake it."""
        self._saw = saw
        self._gather = gather
        self._firsts = FirstOutcomes(settings)
        self._settings = settings
        self._waiting: dict[str, list[_Waiting]] = {}
        self._concluding: dict[bytes, list[_Waiting]] = {}
        """Id of an aggregate → the waits for the conclusion of its creation."""
        self._searching = asyncio.Semaphore(_SEARCHES)
        self._tail = Tail(settings, contexts, start="end", patient=True)
        self._task: asyncio.Task[None] | None = None
        self._resolving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Outcomes:
        await self._tail.start()
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await end_all([self._task, *self._resolving])
        await self._firsts.close()
        await self._tail.stop()
        for waiting in [waiting for same in self._waiting.values() for waiting in same]:
            waiting.future.cancel()

    async def lasting(self) -> None:
        """Wait without an end. Raises the error that ended the reading of the log; no outcome comes after that."""
        if self._task is None:
            raise RuntimeError("Outcomes is used outside its `async with` block")
        await asyncio.wait([self._task])
        self._task.result()

    def expect(
        self,
        command_id: str,
        context: str = "",
        digest: str = "",
        *,
        project: str = "",
        bare: bool = False,
        until: Command | None = None,
    ) -> asyncio.Future[Outcome]:
        """A future of the command's outcome. Call it before publishing; cancel the future to stop waiting.

        `payload_digest`: only the outcome of the command with this body counts, in case another command has the same
        id. Each call with it has its own future; calls without it share one for each id.
        `project`: only the outcome of this project's command counts.
        `bare`: the outcome only says whether the command was refused. Its events are not decoded and left out.
        `until`: the command, with its aggregate's id. The outcome then comes with the event that concludes it
        (`Command.concluded_by`), unless the command is refused or changes nothing. For a repeat, a conclusion that is
        in the log already counts. Raises ValueError for a command without a conclusion.
        """
        if until is not None:
            return self._wait(command_id, digest, project, until=Until.of(until))
        for known in self._waiting.get(command_id, ()) if not digest else ():
            shared = (known.digest, known.project, known.bare, known.until) == ("", project, bare, None)
            if shared and not known.future.done():
                return known.future
        return self._wait(command_id, digest, project, bare)

    def _wait(
        self, command_id: str, digest: str, project: str, bare: bool = False, until: Until | None = None
    ) -> asyncio.Future[Outcome]:
        waiting = _Waiting(asyncio.get_running_loop().create_future(), digest, project, bare, until=until)
        self._waiting.setdefault(command_id, []).append(waiting)
        if until is not None:
            self._concluding.setdefault(until.subject.encode(), []).append(waiting)
        waiting.future.add_done_callback(lambda _: self._forget(command_id, waiting))
        return waiting.future

    def _forget(self, command_id: str, waiting: _Waiting) -> None:
        same = self._waiting[command_id]
        same.remove(waiting)
        if not same:
            del self._waiting[command_id]
        if waiting.until is not None:
            subject = waiting.until.subject.encode()
            self._concluding[subject].remove(waiting)
            if not self._concluding[subject]:
                del self._concluding[subject]

    @property
    def expected(self) -> int:
        """The number of outcomes that are still missing."""
        return sum(len(same) for same in self._waiting.values())

    async def _follow(self) -> None:
        while True:
            try:
                raws = await self._tail.poll_raw(1.0)
                for raw in raws:
                    if self._saw is not None and not raw.is_marker:
                        self._saw(raw)
                    self.take(raw)
                if raws and self._gather:
                    self._tail.rest()
                    await asyncio.sleep(self._gather)
                    self._tail.go_on()
            except LogLost as error:
                log.error("outcomes: %s; reading what is there now", error)
                for place in error.places:
                    self._tail.seek(place, ReaderPosition())
            except (OSError, KafkaError) as error:
                log.warning("outcomes: %s; trying again", error)
                await asyncio.sleep(0.2)

    def take(self, raw: Raw) -> None:
        """Take a valid record: of the contexts that this follows, or of one that the caller follows."""
        if self._concluding and (concerned := self._concluding.get(raw.get("ce_subject") or b"")):
            self._conclude(raw, concerned)
        causation = raw.get("ce_causationid")
        if causation is None or raw.is_marker:
            return
        same = self._waiting.get(causation.decode(errors="replace"))
        if same is None:
            return
        cause = raw.cause
        if cause is None or not cause.position.topic.startswith("commands."):
            return
        project = project_of(raw, cause)
        wanted = [
            each
            for each in same
            if not each.future.done()
            and (each.outcome is None or raw.type == _NOTED)
            and each.digest in ("", cause.mark)
            and each.project in ("", project)
        ]
        if not wanted:
            return
        recorded: Recorded | None = None
        if raw.type in _ANSWERS or not all(waiting.bare for waiting in wanted):
            try:
                recorded = raw.decode()
            except Undecodable as error:
                for waiting in wanted:
                    waiting.future.set_exception(error)
                return
        for waiting in wanted:
            if waiting.cause != cause.position:
                waiting.cause = cause.position
                waiting.parts.clear()
            waiting.parts[cause.part] = recorded
            if len(waiting.parts) == cause.parts:
                self._resolve(waiting, raw)

    def _conclude(self, raw: Raw, concerned: Sequence[_Waiting]) -> None:
        for waiting in concerned:
            if waiting.future.done() or waiting.until is None or not waiting.until.met(raw):
                continue
            try:
                waiting.conclude(raw.decode())
            except Undecodable as error:
                waiting.future.set_exception(error)

    def _resolve(self, waiting: _Waiting, last: Raw) -> None:
        """`last`: that of the command's records which was read last."""
        parts = tuple(part for _, part in sorted(waiting.parts.items()) if part is not None)
        if not parts:
            waiting.future.set_result(Outcome(last.text("ce_causationid"), last.text("ce_subject")))
            return
        first = parts[0].data
        noted = first if isinstance(first, CommandNoted) else None
        if noted is not None and noted.repeat:
            task = asyncio.create_task(self._resolve_repeat(waiting, noted, last))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)
            waiting.future.add_done_callback(lambda _: task.cancel())  # a cancelled wait gives up its place
            return
        rejected = first if isinstance(first, CommandRejected) else None
        waiting.came(Outcome(last.text("ce_causationid"), parts[0].meta.subject, parts, rejected, noted))

    async def _resolve_repeat(self, waiting: _Waiting, noted: CommandNoted, at: Raw) -> None:
        """Resolve a repeat with the outcome, and the conclusion, of the first command. A conclusion that the log has
        already counts before one that came since."""
        try:
            parts = await self._firsts.read(at, noted.first_offset)
            first = parts[0].data
            rejected = first if isinstance(first, CommandRejected) else None
            outcome = Outcome(noted.command_id, parts[0].meta.subject, tuple(parts), rejected, noted)
            found = None
            if waiting.until is not None and waiting.concludes(outcome):
                async with self._searching:
                    found = await search(self._settings, waiting.until, parts[0])
            if not waiting.future.done():
                waiting.conclusion = found or waiting.conclusion
                waiting.came(outcome)
        except (OSError, KafkaError, NoTopic, Undecodable) as error:
            if waiting.outcome is not None:  # it was seen, so the conclusion may still be
                log.warning("outcomes: the log can't be searched for the conclusion of %s: %s", noted.command_id, error)
            elif not waiting.future.done():
                waiting.future.set_exception(error)
