"""Which tests run side by side in a parallel run, as `make test` is one: a worker takes one file after the other.

Files that start platforms come first: they take longest, and the many short files at the end keep both workers busy to
the last.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

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
