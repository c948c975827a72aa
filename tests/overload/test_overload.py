"""A short overload in every test run; ``make overload`` goes on for a minute, with the bounds that users have."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.language.resources import NodeRegistered
from events.process.settings import Settings
from tests.integration.cluster import cluster
from tests.overload.rush import Target, play


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_too_much_is_refused_with_a_hint_and_nothing_accepted_is_lost(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGELOG_GATEWAY_REQUESTS", "100")
    async with cluster(settings, tmp_path, gateway=True) as platform:
        await platform.event(NodeRegistered)
        pids = {name: process.pid for name, process in platform._processes.items()}

        def living() -> dict[str, int]:
            return {name: pid for name, pid in pids.items() if platform._processes[name].poll() is None}

        target = Target(platform.gateway, platform.key, settings, living)
        result = await play(target, seconds=4, times=5, flooded=1_000, pace_seconds=1.5)
    assert result.problems == []
    assert result.tally.accepted
    assert result.tally.refused
