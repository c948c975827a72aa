"""What an agent's folder says of itself and of its tasks: which instance it is, what a copy of it may take over
(nothing), and what becomes of what tasks leave."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from events.log.identity import StoredPosition
from events.log.positions import ReaderPosition
from events.process.settings import SettingsError
from services.resources.agent import store as store_module
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


def test_a_folder_below_a_link_is_as_good(tmp_path: Path) -> None:
    """As /scratch often is. Who runs the agent made that link; a task's are in the folders below."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "disk")
    before = instance(tmp_path / "scratch" / "agent")
    assert instance(tmp_path / "scratch" / "agent") == before == instance(tmp_path / "disk" / "agent")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "agent")
    assert instance(tmp_path / "link") == before


def test_a_moved_folder_keeps_its_instance(tmp_path: Path) -> None:
    before = instance(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert instance(tmp_path / "b") == before


def test_a_copy_is_an_instance_of_its_own_that_knows_no_task_and_no_position(tmp_path: Path) -> None:
    store = opened(tmp_path / "a")
    store.save_position("log", StoredPosition(ReaderPosition(7), "origin"))
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
    store.save_position("pool", StoredPosition(ReaderPosition(7, 2), "origin"))
    assert store.load_position("pool") == StoredPosition(ReaderPosition(7, 2), "origin")
    assert store.load_position("other") is None
    # as an earlier version wrote it
    warden.write_json(str(store.folder / "position.json"), {"log": "pool", "offset": 7, "epoch": 2})
    assert store.load_position("pool") == StoredPosition(ReaderPosition(7, 2), "")


# What tasks leave in their folders and do to their notes


def test_what_is_no_attempt_s_folder_is_put_aside(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (store.tasks / "empty").mkdir()
    (store.tasks / "nonsense").mkdir()
    (store.tasks / "nonsense" / "task.json").write_text('{"warden": "x"}')
    (store.tasks / "list").mkdir()
    (store.tasks / "list" / "task.json").write_text("[]")
    (store.tasks / "pipe").mkdir()
    os.mkfifo(store.tasks / "pipe" / "task.json")
    (store.scratch / "nobody-s").mkdir()
    assert store.found() == []
    assert list(store.tasks.iterdir()) == list(store.scratch.iterdir()) == []
    store.close()


TASK = {
    "allocation_id": "a",
    "job_id": "job",
    "task": 0,
    "attempt": 1,
    "project": "local/default",
    "boot_id": "boot",
    "grace_seconds": 5.0,
    "memory_bytes": 1 << 30,
    "gpus": [0, 1],
    "warden": 4_000_000,
    "warden_ticks": 5,
}
STARTED = {"pid": 4_000_001, "ticks": 6, "started_at": 1.5}


def noted(store: Store, task: object, started: object) -> None:
    (store.tasks / "a-0-1").mkdir()
    (store.tasks / "a-0-1" / "task.json").write_text(json.dumps(task))
    (store.tasks / "a-0-1" / "started.json").write_text(json.dumps(started))


def test_an_attempt_is_found_by_its_notes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    noted(store, TASK | {"of another version": 1}, STARTED)
    (found,) = store.found()
    assert (found.task.key, found.task.gpus, found.pid, found.alive) == ("a-0-1", (0, 1), 4_000_001, False)
    store.close()


@pytest.mark.parametrize(
    ("task", "started"),
    [
        (TASK | {"allocation_id": "b"}, STARTED),
        (TASK | {"task": "x"}, STARTED),
        (TASK | {"job_id": "NO JOB"}, STARTED),
        (TASK | {"job_id": 1}, STARTED),
        (TASK | {"gpus": None}, STARTED),
        (TASK | {"warden": None}, STARTED),
        (TASK, STARTED | {"pid": 1 << 40}),
        (TASK, STARTED | {"pid": -1}),
        (TASK, STARTED | {"started_at": float("nan")}),
        (TASK, STARTED | {"started_at": 1e300}),
        (TASK, [1]),
        ({name: value for name, value in TASK.items() if name != "project"}, STARTED),
    ],
)
def test_notes_that_could_not_be_told_to_the_log_are_none(tmp_path: Path, task: object, started: object) -> None:
    store = opened(tmp_path)
    noted(store, task, started)
    assert store.found() == []
    store.close()


def test_a_failed_task_s_folder_is_kept_without_its_secrets(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (store.tasks / "a").mkdir()
    (store.scratch / "a" / "work").mkdir(parents=True)
    (store.scratch / "a" / "secrets").mkdir()
    (store.scratch / "a" / "work" / "evidence").touch()
    store.retire("a", keep=True)
    (kept,) = (tmp_path / "ended").iterdir()
    assert (kept / "scratch" / "work" / "evidence").exists()
    assert not (kept / "scratch" / "secrets").exists()
    store.close()


def test_a_link_in_place_of_a_task_s_folder_is_put_away_and_not_followed(tmp_path: Path) -> None:
    store = opened(tmp_path / "agent")
    (store.tasks / "a").mkdir()
    (tmp_path / "other" / "secrets").mkdir(parents=True)
    (store.scratch / "a").symlink_to(tmp_path / "other")
    store.retire("a", keep=True)
    store.tidy()
    assert (tmp_path / "other" / "secrets").exists()
    assert not (store.scratch / "a").is_symlink()
    store.close()


def test_what_is_put_away_goes_even_without_its_control_folder(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (store.scratch / "a" / "work").mkdir(parents=True)
    store.retire("a", keep=True)
    store.retire("never-there", keep=False)
    store.tidy()
    assert list(store.scratch.iterdir()) == list((tmp_path / "trash").iterdir()) == []
    store.close()


def test_control_folders_are_open_as_far_as_there_are_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MOST_ENTERED", 2)
    store = opened(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for key in ("a", "b", "c"):
        (store.tasks / key).mkdir()
        (store.tasks / key / warden.EXIT).write_text('{"ended_at": 1.5, "reason": "exited", "exit_code": 3}')
        store.enter(key)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    for key in ("a", "b", "c"):
        assert (exit := store.exit_of(key)) is not None
        assert exit.exit_code == 3
    for key in ("a", "b", "c"):
        store.leave(key)
    assert len(os.listdir("/proc/self/fd")) == before
    store.close()


def test_a_control_folder_that_can_t_be_entered_is_looked_for_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.enter("a")
    assert store.exit_of("a") is None
    (store.tasks / "a").mkdir()
    (store.tasks / "a" / warden.EXIT).write_text('{"ended_at": 1.5, "reason": "exited", "exit_code": 3}')
    assert store.exit_of("a") is not None
    store.close()


def test_what_can_t_be_removed_is_said_once_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    tries: list[str] = []
    rmdir = os.rmdir

    def busy(name: str, *, dir_fd: int) -> None:
        tries.append(name)
        if name == "stuck":
            raise OSError(errno.EBUSY, "x: busy")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", busy)
    for _ in range(3):
        for name in ("stuck", "z"):
            (tmp_path / "trash" / name).mkdir(exist_ok=True)
        store.tidy()
    assert tries.count("stuck") == 1
    assert tries.count("z") == 3
    assert caplog.text.count("x: busy") == 1
    store.close()


def test_a_folder_of_before_there_was_a_scratch_folder_is_found_and_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    noted(store, TASK, STARTED)
    (store.tasks / "a-0-1" / "work").mkdir()
    (store.tasks / "a-0-1" / "work" / "evidence").touch()
    (store.tasks / "a-0-1" / "exit.json").write_text('{"ended_at": 1.5, "reason": "exited", "exit_code": 3}')
    (found,) = store.found()
    assert found.exit is not None
    assert found.exit.exit_code == 3
    store.retire("a-0-1", keep=True)
    (kept,) = (tmp_path / "ended").iterdir()
    assert (kept / "work" / "evidence").exists()
    store.close()
