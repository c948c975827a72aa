"""What flows of MLflow's client have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mlflow.exceptions import MlflowException

from tests import PATIENCE


async def flow(steps: Callable[[], Any]) -> Any:
    """What a program does with the client, which blocks."""
    return await asyncio.to_thread(steps)


async def answered(http: httpx.AsyncClient, path: str) -> Any:
    """What a query of the platform's own answers about something that a client has just made: the tables hear of it a
    moment later, and only who made it may wait for its position."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await http.get(path)).status_code in (404, 503):
            await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(runs: Any) -> list[str]:
    return [run.info.run_name for run in runs]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The code and the text of what the client raises."""
    with pytest.raises(MlflowException) as caught:
        call()
    return caught.value.error_code, caught.value.message
