"""Which tests run side by side in a parallel run, as `make test` is one: a worker takes one file after the other.

Files that start platforms come first: they take longest, and the many short files at the end keep both workers busy to
the last.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

LONG = (
    "tests/integration/test_docs.py",
    "tests/judges/test_schemathesis.py",
    "tests/integration/test_cli.py",
)
"""The longest files, which come first, longest first."""


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Every file is one piece of work, in the order of the files."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # By number of tests, as usual, some file of many short tests could come first.
        self.config.option.loadscopereorder = False


def rank(file: str, on_calm_platform: AbstractSet[str]) -> int:
    """Where a file stands in the order of a run: the lowest first."""
    if file in LONG:
        return LONG.index(file)
    # A worker's calm platform runs from its first test to the end of the run: the short tests alone come after that.
    return len(LONG) + (file in on_calm_platform) + 2 * file.startswith("tests/unit/")


def import_own_part(session: pytest.Session) -> None:
    """Import those modules of tests with which no other worker begins, so that each is rewritten by one of them.

    Every worker imports them all, but what pytest makes of a module's asserts is kept: a worker that comes to it later
    reads it.
    """
    given = [Path(argument.partition("::")[0]).resolve() for argument in session.config.args]
    files = sorted(file for path in given for file in path.rglob("test_*.py"))
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for file in files[len(files) * worker // workers : len(files) * (worker + 1) // workers]:
        name = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
        # what is wrong with it is said when it is collected, which imports it again
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)
