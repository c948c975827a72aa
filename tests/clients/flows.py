"""What flows of MLflow's client have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mlflow.exceptions import MlflowException


async def flow(steps: Callable[[], Any]) -> Any:
    """What a program does with the client, which blocks."""
    return await asyncio.to_thread(steps)


async def answered(http: httpx.AsyncClient, path: str) -> Any:
    """What a query of the platform's own answers: about what a client has just made, too."""
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(runs: Any) -> list[str]:
    return [run.info.run_name for run in runs]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The code and the text of what the client raises."""
    with pytest.raises(MlflowException) as caught:
        call()
    return caught.value.error_code, caught.value.message
