"""Given rows that are read one after the other, when a rollout is waited for, then what comes is of after its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from forgelog.client.deployments import AsyncDeployments
from forgelog.client.rows import DeploymentRevisionRow, DeploymentRow
from forgelog.errors import Timeout


def deployment(status: str, *, revision: int = 0, newest: int = 1, reason: str = "") -> DeploymentRow:
    rollout = {"rollout_revision": 0, "rollout_strategy": "", "rollout_weight": 0}
    row = {"deployment_id": "ghost", "status": status, "reason": reason, "revision": revision, **rollout}
    return DeploymentRow({**row, "newest_revision": newest})


class Told(AsyncDeployments):
    """A platform whose tables go on between two questions."""

    def __init__(self, watched: list[DeploymentRow], later: list[DeploymentRow]) -> None:
        self._watched, self._later = watched, iter(later)

    async def watch(self, names: Any = (), *, project: str = "") -> AsyncIterator[DeploymentRow]:
        for row in self._watched:
            yield row
        raise TimeoutError

    async def get(self, name: str, *, at: Any = None) -> DeploymentRow:
        return next(self._later)

    async def revision(self, name: str, revision: int, *, at: Any = None) -> DeploymentRevisionRow:
        return DeploymentRevisionRow({"status": "rejected"})


async def test_a_row_of_before_the_rejection_is_read_anew() -> None:
    ended = deployment("failed", reason="there is no model")
    told = Told([deployment("pending")], [ended])
    assert await told.wait("ghost", revision=1) == ended


async def test_a_status_that_has_yet_to_follow_is_waited_for() -> None:
    ended = deployment("failed", reason="there is no model")
    told = Told([deployment("pending"), ended], [deployment("pending"), ended])
    assert await told.wait("ghost", revision=1) == ended


async def test_nothing_follows_for_a_revision_that_a_newer_one_stands_in_for() -> None:
    stays = deployment("pending", newest=2)
    assert await Told([stays], [stays]).wait("ghost", revision=1) == stays


async def test_a_deployment_in_place_stays_as_it_is() -> None:
    stays = deployment("running", revision=1, newest=2)
    assert await Told([stays], [stays]).wait("ghost", revision=2) == stays


async def test_the_wait_has_its_limit() -> None:
    with pytest.raises(Timeout, match="revision 1 of ghost is still on its way"):
        await Told([deployment("pending")], [deployment("pending")]).wait("ghost", revision=1)
