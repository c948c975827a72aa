"""The overload's reader counts no command as decided that it has not counted as sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.process.tasks import end_all
from events.writer.writer import Writer
from tests import PATIENCE
from tests.overload.watch import Story
from tests.unit.writer.sample import SampleDecider

SPEC = JobSpec(metadata=JobMetadata(name="x"), command="true")


async def test_what_is_sent_and_decided_amid_a_look_is_never_decided_but_not_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.ensure_topics(settings)
    writer = asyncio.create_task(Writer(SampleDecider(), settings).run())
    try:
        async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:

            async def submit(id: str) -> None:
                future = outcomes.expect(id)
                await publisher.publish(SubmitJob(job_id=id, spec=SPEC), id=id)
                await asyncio.wait_for(future, PATIENCE)

            number = 0

            def amid(read: Callable[[Story], Awaitable[None]]) -> Callable[[Story], Awaitable[None]]:
                async def then(story: Story) -> None:
                    nonlocal number
                    await read(story)
                    number += 1
                    await submit(f"amid-{number}")

                return then

            monkeypatch.setattr(Story, "_read_commands", amid(Story._read_commands))
            monkeypatch.setattr(Story, "_read_events", amid(Story._read_events))
            story = Story(settings)
            await submit("before")
            for _ in range(3):
                await story.read()
                assert {id: times for id, times in story.outcomes.items() if times > story.commands.get(id, 0)} == {}
            assert story.commands.keys() >= {"before", "amid-1", "amid-2", "amid-3"}
    finally:
        await end_all([writer])
