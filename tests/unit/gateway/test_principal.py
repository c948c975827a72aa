"""Whose a key is: the owner's, as its file has it now; anybody else's is nobody's."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from events.process.keys import OWNER, ensure_key, key_path
from events.process.settings import Settings, SettingsError
from services.gateway import principal
from services.gateway.errors import DoorError
from services.gateway.principal import Access, Principal


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(Settings(data=tmp_path))


def opens(access: Access, key: str) -> bool:
    try:
        return access.principal(f"Bearer {key}") == Principal("owner")
    except DoorError:
        return False


def test_the_key_is_made_once_and_names_the_owner(tmp_path: Path, access: Access) -> None:
    key = ensure_key(key_path(tmp_path, OWNER))
    assert opens(access, key)
    assert opens(Access(Settings(data=tmp_path)), key)
    assert not opens(access, key[:-1])


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_a_scheme_has_no_case(tmp_path: Path, access: Access, scheme: str) -> None:
    assert access.principal(f"{scheme} {ensure_key(key_path(tmp_path, OWNER))}").name == "owner"


def test_a_key_that_is_replaced_opens_at_once_and_the_old_one_no_more(tmp_path: Path, access: Access) -> None:
    path = key_path(tmp_path, OWNER)
    old = ensure_key(path)
    assert opens(access, old)
    path.unlink()
    new = ensure_key(path)
    assert opens(access, new)
    assert not opens(access, old)


def test_a_key_that_is_taken_away_opens_nothing(
    tmp_path: Path, access: Access, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(principal, "LOOK_SECONDS", 0.0)
    path = key_path(tmp_path, OWNER)
    key = ensure_key(path)
    assert opens(access, key)
    kept = path.read_text()
    path.unlink()
    with caplog.at_level(logging.ERROR):
        assert not any(opens(access, each) for each in (key, "", "None"))
    assert caplog.text.count("no key opens the gateway") == 1
    path.write_text(kept)
    path.chmod(0o644)  # for all to read: no key any more
    assert not opens(access, key)
    path.chmod(0o600)
    assert opens(access, key)


def test_a_key_in_another_file(tmp_path: Path) -> None:
    access = Access(Settings(data=tmp_path, owner_key_file=tmp_path / "elsewhere" / "key"))
    assert opens(access, ensure_key(tmp_path / "elsewhere" / "key"))
    assert not key_path(tmp_path, OWNER).exists()


def test_a_gateway_without_a_key_does_not_start(tmp_path: Path) -> None:
    key_path(tmp_path, OWNER).parent.mkdir()
    key_path(tmp_path, OWNER).write_text("")
    key_path(tmp_path, OWNER).chmod(0o644)
    with pytest.raises(SettingsError, match=r"owner\.key can be read by other users.*FORGELOG_OWNER_KEY_FILE"):
        Access(Settings(data=tmp_path))


def test_only_the_owner_may(tmp_path: Path, access: Access) -> None:
    access.authorize(access.principal(f"Bearer {ensure_key(key_path(tmp_path, OWNER))}"), "forgelog.jobs.v1.SubmitJob")
    with pytest.raises(DoorError, match="ada may not do"):
        access.authorize(Principal("ada"), "forgelog.jobs.v1.SubmitJob")
