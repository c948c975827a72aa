"""The engine at work: follows the log, proposes values for the trials that wait for them, and gives up trials that do
not promise well.

One proposal of a tuning is under way at a time, so each is made knowing the ones before. Two engines may work side by
side, after a restart say: a proposal's command has an id that follows from its trial, and the first one counts.

A trial is judged at each of its reports, by the events up to that report. An engine that has just begun judges nothing
while it reads what there was. Then it goes through the history of the searches that still run, and finds what is to be
given up.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka.errors import KafkaError

from events.language.common import CommandRejected, ErrorCode
from events.language.experiments import ProposeTrial, StopTuning, TrialReported
from events.language.experiments.tuning_following import PruneTrial
from events.log.envelope import Recorded
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing, Publisher
from events.log.tail import LogLost, NoTopic, Tail
from events.log.wire import Undecodable
from events.process.settings import Settings
from services.experiments.engine.judging import judged, outstanding
from services.experiments.engine.known import Search, Searches
from services.experiments.engine.sampling import VERSION, Proposal, propose

log = logging.getLogger("forgelog.engine")

CONTEXT = "experiments"

_OVERTAKEN = (ErrorCode.FAILED_PRECONDITION, ErrorCode.NOT_FOUND)
"""Refusals of a proposal whose trial or tuning has ended meanwhile, as the fold will say."""


async def work(settings: Settings) -> None:
    """Propose until cancelled."""
    pause = 0.2
    while True:
        try:
            async with Publisher(settings) as publisher, Tail(settings, (CONTEXT,)) as tail:
                await _Engine(publisher, tail).run()
        except LogLost as error:
            log.error("%s; reading the log anew", error)
        except (OSError, KafkaError, NoTopic) as error:
            log.warning("%s; trying again in %.1f s", error, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 5.0)


class _Engine:
    def __init__(self, publisher: Publisher, tail: Tail) -> None:
        self._publisher = publisher
        self._tail = tail
        self._searches = Searches()
        self._sent: dict[str, int] = {}
        """Tuning → the trial whose proposal is under way."""
        self._prunes: list[PruneTrial] = []
        """Trials that are to be given up, and were not yet."""
        self._given_up: set[tuple[str, int, int]] = set()
        """Tuning, trial and attempt: those that are."""
        self._refused: dict[str, str] = {}
        """Tuning → why a proposal for it was refused. It would be refused again, so the tuning is stopped."""

    async def run(self) -> None:
        ends = await self._tail.ends()
        self._searches.keeping = True
        while True:
            for raw in await self._tail.poll_raw(1.0):
                if raw.is_marker or self._tail.stands_before(raw):
                    continue
                try:
                    self._take(raw.decode())
                except Undecodable as error:
                    log.error("the engine stands still at %s: %s", raw.position, error)
                    self._tail.stop_at(raw)
            if all(self._tail.positions.get(place, ReaderPosition()).offset >= end for place, end in ends.items()):
                if self._searches.keeping:
                    await self._catch_up()
                await self._prune()
                await self._propose()

    async def _catch_up(self) -> None:
        """Find what is to be given up by what was there at the beginning."""
        self._searches.keeping = False
        for search in self._searches.by_id.values():
            events, search.history = search.history, None
            running = {each.number for each in search.under_way()}
            if events and running:
                self._prunes += await asyncio.to_thread(outstanding, events, running)

    async def _prune(self) -> None:
        prunes, self._prunes = self._prunes, []
        outgoing = [
            _outgoing(search, command, f"prune.{command.number}.{command.attempt}")
            for command in prunes
            if (search := self._searches.by_id.get(command.tuning_id)) is not None
        ]
        if outgoing:
            await self._publisher.publish_many(outgoing)

    def _take(self, recorded: Recorded) -> None:
        self._searches.fold(recorded.data, recorded.meta.actor)
        if isinstance(event := recorded.data, TrialReported) and not self._searches.keeping:
            self._judge(event)
        if (
            isinstance(refusal := recorded.data, CommandRejected)
            and refusal.command_type == ProposeTrial.type_name()
            and refusal.code not in _OVERTAKEN
        ):
            self._refused[refusal.subject_id] = refusal.message

    def _judge(self, event: TrialReported) -> None:
        search = self._searches.by_id.get(event.tuning_id)
        if search is None or (event.tuning_id, event.number, event.attempt) in self._given_up:
            return
        if (command := judged(search, event)) is not None:
            self._given_up.add((event.tuning_id, event.number, event.attempt))
            self._prunes.append(command)

    async def _propose(self) -> None:
        """Propose for each search's next trial, if that is not under way."""
        stops = [
            self._stop(search, f"a proposal for it was refused: {message}")
            for id, message in self._refused.items()
            if (search := self._searches.by_id.get(id)) is not None
        ]
        self._refused.clear()
        outgoing = [
            command
            for search, number in self._searches.waiting()
            if self._sent.get(search.tuning_id) != number and (command := await self._proposal(search, number))
        ]
        if stops or outgoing:
            await self._publisher.publish_many([*stops, *outgoing])

    async def _proposal(self, search: Search, number: int) -> Outgoing:
        told, under_way, adopted = search.told(), search.under_way(), list(search.adopted)
        self._sent[search.tuning_id] = number
        try:
            found = await asyncio.to_thread(propose, search.plan, search.directions, told, under_way, number, adopted)
        except Exception as error:  # an algorithm's own; it would fail again
            log.exception("the search of tuning %s fails at trial %d", search.tuning_id, number)
            return self._stop(search, f"its search failed at trial {number}: {type(error).__name__}: {error}")
        return _outgoing(search, _command(search, number, found), f"{number}")

    @staticmethod
    def _stop(search: Search, reason: str) -> Outgoing:
        return _outgoing(search, StopTuning(tuning_id=search.tuning_id, reason=reason[:500]), "stop")


def _outgoing(search: Search, command: ProposeTrial | PruneTrial | StopTuning, part: str) -> Outgoing:
    """A command with an id that follows from what it is about: a second one is a repeat."""
    id = f"{search.tuning_id}.engine.{part}"
    return Outgoing(command, id=id, project=search.project, actor=search.owner, source="forgelog/engine")


def _command(search: Search, number: int, found: Proposal) -> ProposeTrial:
    return ProposeTrial(
        tuning_id=search.tuning_id,
        number=number,
        parameters=found.parameters,
        system_attributes=found.system_attributes,
        known_events=search.events,
        algorithm_version=VERSION,
    )
