"""A router that can't work with what it is told: it ends at once, with a code of its own, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import signed


def started(folder: Path, **told: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORGELOG_")}
    environment |= {"FORGELOG_DATA": str(folder / "data"), "FORGELOG_ENVOY": "/bin/true", **told}
    command = [sys.executable, "-P", "-m", "services.deployments.router"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("case", ["no file", "another's key", "a password"])
def test_a_certificate_that_it_cannot_use_is_named(tmp_path: Path, case: str) -> None:
    chain, key = signed(tmp_path / "own", password="secret" if case == "a password" else "")
    if case == "another's key":
        _, key = signed(tmp_path / "other")
    if case == "no file":
        key.unlink()
    code, said = started(tmp_path, FORGELOG_ROUTER_CERT=str(chain), FORGELOG_ROUTER_KEY=str(key))
    assert code == os.EX_CONFIG
    (line,) = said.splitlines()
    assert line.startswith("router: FORGELOG_ROUTER_")
    assert str(key) in line
    assert "; give " in line


def test_an_envoy_that_is_no_program_is_named(tmp_path: Path) -> None:
    code, said = started(tmp_path, FORGELOG_ENVOY=str(tmp_path))
    assert (code, said.split(":")[:2]) == (os.EX_CONFIG, ["router", " FORGELOG_ENVOY"])
