"""Why a publication changes nothing: something else was published there."""

from __future__ import annotations

from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


def superseded(version: int, newer: int, where: str) -> StageError:
    """A newer version is there than the one that is to be published."""
    problem = f"version {newer} is published at {where}, and this is version {version}: nothing was changed"
    return StageError("", problem, "if no worker woke late, something else writes there: give the sink its own place")


def other_attempt(version: int, attempt: str, where: str) -> StageError:
    """The version is there, and it is another attempt's."""
    problem = f"version {version} at {where} is of the attempt {shown(attempt)}: nothing was changed"
    return StageError("", problem, "something else writes there: give the sink a place of its own")
