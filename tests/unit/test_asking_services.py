"""`status` and `doctor` ask services with the platform's key: they make none, and tell it to no stranger."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from events.process.keys import SERVICES, ensure_key, key_path
from forgelog.embedded.layout import Folder
from forgelog.embedded.platform import Platform
from forgelog.embedded.roster import asked
from tests.squatter import squatter


def report(address: str) -> dict[str, Any]:
    return {"children": [{"name": "jobs", "kind": "service", "address": address, "pid": 1}]}


async def test_a_key_that_is_gone_is_told_and_not_made_anew(tmp_path: Path) -> None:
    """A new one would be another than the services', and a service that starts again would take it."""
    (told,) = await Platform(tmp_path).contexts(report("127.0.0.1:1"))
    assert not told["ready"]
    assert "there is no" in told["waits"]["service"]
    assert "restart the platform" in told["waits"]["service"]
    assert told["late"] == []
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_a_strangers_program_is_named_and_not_asked(tmp_path: Path) -> None:
    ensure_key(key_path(tmp_path, SERVICES))
    with squatter() as port:
        (told,) = await Platform(tmp_path).contexts(report(f"127.0.0.1:{port}"))
    assert not told["ready"]
    assert told["waits"]["service"] == f"a program of nobody has taken its port, {port}: it is not asked"


def test_contexts_that_are_together_are_asked_at_their_process(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    folder.write_ports({"jobs": 1, "notes": 2, "mail": 2, "gateway": 3})
    children = [
        {"name": name, "kind": kind, "address": address, "pid": pid}
        for name, kind, address, pid in (
            ("kafka", "server", "127.0.0.1:9", 1),
            ("jobs", "service", "127.0.0.1:1", 1),
            ("services", "service", "127.0.0.1:2", 1),
            ("gateway", "service", "127.0.0.1:3", 1),
        )
    ]
    assert asked(folder, children) == {"jobs": "127.0.0.1:1", "notes": "127.0.0.1:2", "mail": "127.0.0.1:2"}
    children[2]["pid"] = None
    assert asked(folder, children) == {"jobs": "127.0.0.1:1"}
