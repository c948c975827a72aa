"""What the tests of the C files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native import building


@pytest.fixture(scope="session")
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The compiler's flags for them; none where they can't be had."""
    if not building.compiler():
        pytest.skip("there is no C compiler here")
    return building.SANITIZERS if building.has_sanitizers(tmp_path_factory.mktemp("sanitizers")) else ()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory, sanitizers: tuple[str, ...]) -> Path:
    """The program of `driver.c`, with sanitizers where they can be had."""
    program = tmp_path_factory.mktemp("driver") / "driver"
    flags = [*building.PROGRAM, "-I", str(building.LAUNCHER.parent), building.OPTIONS, *sanitizers]
    problem = building.build(Path(__file__).with_name("driver.c"), program, flags)
    assert not problem, problem
    return program
