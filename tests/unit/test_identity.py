"""Which process it is: a number with the moment of its start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.process import identity as identities
from events.process.identity import Identity


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def test_a_process_is_found_by_its_identity_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(child.pid)
    assert identity.alive
    assert not Identity(child.pid, "another start").alive
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive  # nobody has waited for it yet
    child.wait()
    assert not identity.alive


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc")
def test_a_process_that_ends_while_it_is_looked_at_has_ended(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity.of(child.pid)

    class Ending(type(Path())):  # type: ignore[misc]
        def open(self, *args: Any, **options: Any) -> Any:
            file = super().open(*args, **options)
            child.kill()
            child.wait()
            return file

    monkeypatch.setattr(identities, "Path", Ending)
    assert identity.process() is None
