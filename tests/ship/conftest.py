"""The wheel that the tests share, and where it is installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ship.installing import UV, build_wheel, locked, python, ran


@pytest.fixture(scope="session")
def outside() -> Iterator[Path]:
    """A folder that others may pass through, unlike pytest's own: Postgres runs as another user when root starts it."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-ship-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def wheel(outside: Path) -> Path:
    folder = outside / "wheel"
    folder.mkdir()
    return build_wheel(folder)


@pytest.fixture(scope="session")
def installed(outside: Path, wheel: Path) -> Path:
    """The programs of a fresh environment with the wheel."""
    venv = outside / "venv"
    ran(UV, "venv", "--quiet", "--python", python(), venv, cwd=outside)
    constraints = ("--constraint", locked(outside))
    ran(UV, "pip", "install", "--quiet", "--python", venv / "bin/python", *constraints, wheel, cwd=outside)
    return venv / "bin"
