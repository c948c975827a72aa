"""Secrets in files: given what is there, then this is made, read or refused."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from events.process.keys import OWNER, KeyFileProblem, ensure_key, key_path, new_api_key, read_key


def test_a_key_is_made_once_for_its_user_only(tmp_path: Path) -> None:
    path = key_path(tmp_path / "data", OWNER)
    made = ensure_key(path)
    assert ensure_key(path) == made == read_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [OWNER]


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """A setting may name a file in a folder that is for other things too, such as /etc."""
    tmp_path.chmod(0o755)
    ensure_key(tmp_path / "owner.key")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o600


def test_those_who_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    path = key_path(tmp_path, OWNER)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: ensure_key(path), range(32)))) == 1


def test_a_key_says_what_it_is_and_is_never_the_same() -> None:
    first, second = new_api_key(), new_api_key()
    assert first != second
    kind, id, secret = first.split("_", 2)
    assert (kind, len(id), len(secret)) == ("flk", 12, 43)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "there is no"), ("", "damaged"), ("two\nlines", "damaged"), ("\x00", "damaged"), ("x" * 5000, "damaged")],
)
def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "some.key"
    if content is not None:
        path.touch(0o600)
        path.write_text(content)
    with pytest.raises(KeyFileProblem, match=problem) as raised:
        read_key(path)
    assert str(path) in str(raised.value)
    assert not content or content not in str(raised.value)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = key_path(tmp_path, OWNER)
    ensure_key(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileProblem, match="other users"):
        read_key(path)


def test_a_link_leads_to_the_key_as_where_secrets_are_mounted(tmp_path: Path) -> None:
    key = ensure_key(tmp_path / "real.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    assert read_key(tmp_path / "link.key") == key
    (tmp_path / "real.key").chmod(0o644)
    with pytest.raises(KeyFileProblem, match="other users"):
        read_key(tmp_path / "link.key")


def test_what_is_no_plain_file_is_no_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.key", 0o600)
    for path in (tmp_path / "pipe.key", tmp_path):
        with pytest.raises(KeyFileProblem, match="is no plain file"):
            read_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o400, True), (0o460, False), (0o444, False)])
def test_another_user_takes_root_s_file_by_its_group(tmp_path: Path, mode: int, taken: bool) -> None:
    key = ensure_key(tmp_path / "root.key")
    os.chown(tmp_path / "root.key", 0, 65534)
    (tmp_path / "root.key").chmod(mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 65534)
        if taken:
            assert read_key(tmp_path / "root.key") == key
        else:
            with pytest.raises(KeyFileProblem, match="other users"):
                read_key(tmp_path / "root.key")
