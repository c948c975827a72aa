"""A short attack in every test run; ``make chaos`` goes on for as long as one likes."""

from __future__ import annotations

import pytest

from tests.chaos.rounds import play

ROUNDS = 3


@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_nothing_is_lost_or_done_twice_whatever_is_killed() -> None:
    said: list[str] = []
    played = await play(11, ROUNDS, only="kill", say=said.append)
    assert [problem for each in played for problem in each.problems] == [], "\n".join(said)
    assert len(played) == ROUNDS
    assert all(each.jobs >= 10 for each in played)
