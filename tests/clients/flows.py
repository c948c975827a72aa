"""What flows of MLflow's client have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException


async def flow(steps: Callable[[], Any]) -> Any:
    """What a program does with the client, which blocks."""
    return await asyncio.to_thread(steps)


def names(runs: Any) -> list[str]:
    return [run.info.run_name for run in runs]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The code and the text of what the client raises."""
    with pytest.raises(MlflowException) as caught:
        call()
    return caught.value.error_code, caught.value.message
