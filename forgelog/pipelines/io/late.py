"""Attempts that come late: why a publication changes nothing, and what earlier attempts have left aside. Pure."""

from __future__ import annotations

from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


class Superseded(StageError):
    """A newer version is there than the one that is to be published."""

    location = ""
    """Where that is."""


def superseded(version: int, newer: int, where: str) -> Superseded:
    """A newer version is there: what is to be done about that is for the dataset to say."""
    problem = f"version {newer} is published at {where}, and this is version {version}: nothing was changed"
    found = Superseded("", problem, "if no worker woke late, something else writes there: give the sink its own place")
    found.location = where
    return found


def other_attempt(version: int, attempt: str, where: str) -> StageError:
    """The version is there, and it is another attempt's."""
    problem = f"version {version} at {where} is of the attempt {shown(attempt)}: nothing was changed"
    return StageError("", problem, "something else writes there: give the sink a place of its own")


def earlier(attempt: str) -> list[str]:
    """The attempts of the same stage run before this one, which is published: nobody will publish what they wrote."""
    stem, _, number = attempt.rpartition(".")
    return [f"{stem}.{each}" for each in range(1, int(number))] if stem and number.isdigit() else []
