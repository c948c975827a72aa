"""Builds wheels of this checkout and installs them elsewhere. Must not import what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests import PATIENCE

ROOT = Path(__file__).parents[2]
UV = ROOT / "build/uv/bin/uv"
"""`make setup` has put it there."""


def python() -> str:
    """The interpreter that builds and installs."""
    return os.environ.get("FORGELOG_TEST_PYTHON") or sys.executable


def ran(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What the command prints on both streams; a failure is the test's, with that."""
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Of this process's environment the command gets nothing that could lead it into the checkout."""
    return subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**outside(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )


def outside() -> Mapping[str, str]:
    """This process's environment without what leads Python or Forgelog somewhere."""
    kept = ("PYTHON", "FORGELOG_", "VIRTUAL_ENV", "UV_PROJECT")
    return {name: value for name, value in os.environ.items() if not name.startswith(kept)}


@cache
def locked(folder: Path) -> Path:
    """The locked packages as constraints, so that what others publish today changes no test."""
    file = folder / "locked.txt"
    ran(UV, "export", "--frozen", "--quiet", "--all-groups", "--no-hashes", "--no-emit-project", "-o", file, cwd=ROOT)
    return file


def build_wheel(target: Path, **environment: str) -> Path:
    """A wheel of the checkout, in an empty folder."""
    ran(UV, "build", "--quiet", "--wheel", "--python", python(), "--out-dir", target, ROOT, cwd=target, **environment)
    (wheel,) = target.glob("*.whl")
    return wheel
