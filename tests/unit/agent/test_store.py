"""What an agent's folder says of itself: which instance it is, and what a copy of it may take over. Nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from events.log.identity import Stand
from events.log.tail import ReaderPosition
from events.runtime.settings import SettingsError
from services.resources.agent import warden
from services.resources.agent.store import Store


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.open()
    return store


def instance(folder: Path) -> str:
    store = opened(folder)
    store.close()
    return store.instance_id


def test_a_folder_keeps_its_instance(tmp_path: Path) -> None:
    assert instance(tmp_path / "a") == instance(tmp_path / "a") != instance(tmp_path / "b")


def test_a_moved_folder_keeps_its_instance(tmp_path: Path) -> None:
    before = instance(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert instance(tmp_path / "b") == before


def test_a_copy_is_an_instance_of_its_own_that_knows_no_task_and_no_position(tmp_path: Path) -> None:
    store = opened(tmp_path / "a")
    store.save_position("log", Stand(ReaderPosition(7), "origin"))
    (store.tasks / "alloc-0-1").mkdir()
    warden.write_json(str(store.tasks / "alloc-0-1" / warden.TASK), {"allocation_id": "alloc"})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = opened(tmp_path / "b")
    assert copy.instance_id != store.instance_id
    assert (copy.found(), copy.load_position("log")) == ([], None)
    assert store.has("alloc-0-1")
    copy.close()
    assert instance(tmp_path / "b") == copy.instance_id


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(SettingsError, match="in use by another agent"):
        opened(tmp_path)
    store.close()


def test_an_earlier_agents_word_on_its_membership_is_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save_membership({"registered": True})
    assert store.membership.exists()
    store.close()
    assert not opened(tmp_path).membership.exists()


def test_a_position_is_kept_with_the_log_it_was_taken_in(tmp_path: Path) -> None:
    store = opened(tmp_path / "a")
    assert store.load_position("pool") is None
    store.save_position("pool", Stand(ReaderPosition(7, 2), "origin"))
    assert store.load_position("pool") == Stand(ReaderPosition(7, 2), "origin")
    assert store.load_position("other") is None
    # as an earlier version wrote it
    warden.write_json(str(store.folder / "position.json"), {"log": "pool", "offset": 7, "epoch": 2})
    assert store.load_position("pool") == Stand(ReaderPosition(7, 2), "")
