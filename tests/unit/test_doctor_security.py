"""`forgelog doctor --security`: what it finds off, and what it says of each."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from events.process.keys import OWNER, ensure_key, key_path
from forgelog.embedded import security
from forgelog.embedded.doctor import Check


def results(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.result for check in checks}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "logs").mkdir(mode=0o700)
    (data / "logs" / "a.log").touch(mode=0o600)
    return data


def test_a_folder_that_only_its_user_may_enter_is_fine(folder: Path) -> None:
    assert results(security.files(folder)) == {"data folder": "ok", "modes": "ok"}


def test_a_folder_that_others_may_enter_is_off(folder: Path) -> None:
    folder.chmod(0o711)
    (folder / "logs" / "a.log").chmod(0o640)
    found = security.files(folder)
    assert results(found) == {"data folder": "failed", "modes": "failed"}
    assert "0711" in found[0].found
    assert "a.log" in found[1].found
    folder.chmod(0o700)
    assert results(security.files(folder)) == {"data folder": "ok", "modes": "note"}


def test_what_tasks_wrote_is_theirs(folder: Path) -> None:
    work = folder / "agents" / "node" / "scratch" / "a" / "work"
    work.mkdir(parents=True)
    for path in (work, *work.parents):
        if path.is_relative_to(folder):
            path.chmod(0o700)
    (work / "model").touch()
    (work / "model").chmod(0o666)
    assert results(security.files(folder))["modes"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_another_user_is_off_but_for_the_database_s(folder: Path) -> None:
    (folder / "postgres").mkdir(mode=0o700)
    os.chown(folder / "postgres", 65_534, 65_534)
    assert "owners" not in results(security.files(folder))
    os.chown(folder / "logs" / "a.log", 65_534, 65_534)
    assert results(security.files(folder))["owners"] == "failed"


def test_a_folder_above_that_everybody_may_change_is_off(folder: Path) -> None:
    folder.parent.chmod(0o777)
    assert security.parents(folder).result == "failed"
    folder.parent.chmod(0o1777)
    assert security.parents(folder).result == "ok", "nobody may rename what is another's there"


def test_keys_are_there_and_private(folder: Path) -> None:
    assert set(results(security.keys(folder)).values()) == {"note"}, "the platform was never started"
    (folder / "platform.json").touch()
    assert set(results(security.keys(folder)).values()) == {"failed"}
    key = ensure_key(key_path(folder, OWNER))
    assert results(security.keys(folder))["keys/owner.key"] == "ok"
    key_path(folder, OWNER).chmod(0o644)
    (folder / "keys" / "postgres.pgpass").touch()
    (folder / "keys" / "postgres.pgpass").chmod(0o604)
    found = security.keys(folder)
    assert results(found)["keys/owner.key"] == results(found)["keys/postgres.pgpass"] == "failed"
    assert key not in str(found)


def test_listeners_beyond_this_machine_are_off() -> None:
    fine = [("gateway", "127.0.0.1"), ("jobs", "::1"), ("kafka", "::ffff:127.0.0.1")]
    assert results(security.listeners(fine)) == {"listeners": "ok"}
    (check,) = security.listeners([*fine, ("kafka", "0.0.0.0")])
    assert (check.result, check.found) == ("failed", "kafka listens on 0.0.0.0")


def test_the_listeners_of_a_process_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert ("me", "127.0.0.1") in list(security.listening([{"name": "me", "pid": os.getpid()}]))
        assert list(security.listening([{"name": "gone", "pid": None}])) == []


@pytest.mark.parametrize(
    ("dsn", "result"),
    [
        ("postgresql://me@127.0.0.1:1/db?passfile=/a", "ok"),
        ("postgresql://me:pw@localhost/db", "ok"),
        ("postgresql:///db?host=/run/postgresql&passfile=/a", "ok"),
        ("postgresql://me@127.0.0.1/db", "failed"),
        ("postgresql://me:pw@db.example/db", "failed"),
        ("postgresql://me:pw@db.example/db?sslmode=prefer", "failed"),
        ("postgresql://me:pw@db.example,127.0.0.1/db?sslmode=verify-full", "ok"),
    ],
)
def test_a_database_s_address(dsn: str, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    check = security.database(dsn)
    assert check.result == result
    assert "pw" not in check.found + check.fix


async def test_a_broker_that_nobody_answers_for_is_no_fault() -> None:
    assert (await security.broker("127.0.0.1:1")).result == "note"


def test_swap_that_is_not_encrypted_is_told(tmp_path: Path) -> None:
    table = tmp_path / "swaps"
    table.write_text("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 -2\n")
    assert security.swap(table).result == "ok"
    table.write_text(table.read_text() + "/swapfile file 1 0 -2\n")
    assert security.swap(table).result == "note"
    assert "/swapfile" in security.swap(table).found
