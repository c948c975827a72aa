"""Which platform a command or a client speaks with: the one that was meant, or none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.process.identity import Identity
from forgelog import AsyncClient, InvalidInput, Unavailable
from forgelog.cli import command_of, spelled_out
from forgelog.embedded.layout import ChildState, Folder, PlatformState, Server, Wanted
from forgelog.embedded.platform import Platform
from forgelog.errors import ForgelogError
from forgelog.where import choose, gateway_address, server_settings
from tests.squatter import squatter

GONE = Identity(1, "another-boot+1")
ADDRESS = "127.0.0.1:7171"
SERVERS = {"kafka": "127.0.0.1:9092", "kafka_config": None, "postgres": "postgresql://db"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No platform is named, and the user has none at home."""
    for name in ("FORGELOG_GATEWAY", "FORGELOG_DATA", "FORGELOG_KAFKA", "FORGELOG_KAFKA_CONFIG", "FORGELOG_POSTGRES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def platform(
    path: Path,
    supervisor: Identity | None = None,
    gateway: str = ADDRESS,
    children: tuple[ChildState, ...] = (),
    wanted: Wanted | None = None,
) -> Path:
    """What a platform leaves in its folder; it runs when its `supervisor` does."""
    folder = Folder(path)
    folder.make()
    folder.write_wanted(wanted or Wanted(Server("embedded"), Server("embedded")))
    folder.write_state(PlatformState(supervisor or GONE, "127.0.0.1:9092", "postgresql://db", gateway, list(children)))
    folder.write_ports({"gateway": 7272})
    return path


def me() -> Identity:
    return Identity.of(os.getpid())


def test_a_given_address_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORGELOG_GATEWAY", "other:1")
    monkeypatch.setenv("FORGELOG_DATA", str(platform(tmp_path / "data", me())))
    assert gateway_address("http://given:2/") == "given:2"
    assert gateway_address() == "other:1"


def test_then_the_platform_of_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    platform(tmp_path / "home" / ".forgelog", me(), "127.0.0.1:1")
    assert gateway_address() == "127.0.0.1:1"
    platform(tmp_path / ".forgelog", me(), "127.0.0.1:2")
    assert gateway_address() == "127.0.0.1:2"
    monkeypatch.setenv("FORGELOG_DATA", str(platform(tmp_path / "data", me(), "127.0.0.1:3")))
    assert gateway_address() == "127.0.0.1:3"
    assert server_settings() == SERVERS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_no_server_is_another_users_program_that_has_taken_the_port(tmp_path: Path, name: str) -> None:
    with squatter() as port:
        path = platform(tmp_path / ".forgelog", me())
        servers = {"kafka": f"127.0.0.1:{port}", "postgres": f"postgresql://forgelog@127.0.0.1:{port}/postgres"}
        state = Folder(path).read_state()
        assert state is not None
        setattr(state, name, servers[name])
        Folder(path).write_state(state)
        with pytest.raises(Unavailable, match=f"a program of nobody listens at 127.0.0.1:{port}, which is {name}'s of"):
            server_settings()
        given = Wanted(Server("given", servers["kafka"]), Server("given", servers["postgres"]))
        Folder(path).write_wanted(given)
        assert server_settings()[name] == servers[name]  # whose program that is was for its user to know


@pytest.mark.parametrize("where", ["FORGELOG_DATA", "nearest", "default"])
@pytest.mark.parametrize("state", ["never started", "down", "died"])
def test_a_platform_that_is_down_is_an_error_and_no_other_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, state: str
) -> None:
    path = {"FORGELOG_DATA": tmp_path / "data", "nearest": tmp_path / ".forgelog"}.get(
        where, tmp_path / "home" / ".forgelog"
    )
    if where == "FORGELOG_DATA":
        monkeypatch.setenv("FORGELOG_DATA", str(path))
    if where == "nearest":
        path.mkdir()
    if state != "never started":
        platform(path, GONE, "" if state == "down" else ADDRESS)
    for ask in (gateway_address, server_settings, AsyncClient):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert str(path) in str(caught.value)
        assert "forgelog up" in str(caught.value)
        assert "--gateway" in str(caught.value)


def test_a_gateway_without_its_supervisor_still_answers(tmp_path: Path) -> None:
    mine = me()
    gateway = ChildState("gateway", "service", "ready", mine.pid, mine.started)
    platform(tmp_path / ".forgelog", GONE, ADDRESS, (gateway,))
    assert gateway_address() == ADDRESS
    with pytest.raises(Unavailable, match="is down"):
        server_settings()


def test_servers_of_one_s_own_stay_where_they_are(tmp_path: Path) -> None:
    given = Wanted(Server("given", "127.0.0.1:9092"), Server("given", "postgresql://db"))
    platform(tmp_path / ".forgelog", GONE, "", wanted=given)
    assert server_settings() == SERVERS


def test_a_platform_that_starts_has_its_port_already(tmp_path: Path) -> None:
    platform(tmp_path / ".forgelog", me(), "")
    assert gateway_address() == "127.0.0.1:7272"


def test_servers_alone_take_no_commands(tmp_path: Path) -> None:
    platform(tmp_path / ".forgelog", me(), "", wanted=Wanted(Server("embedded"), Server("embedded"), services=False))
    with pytest.raises(Unavailable, match="servers only"):
        gateway_address()


@pytest.mark.parametrize("address", ["7070", "host:", "host:0", "host:70700", ":1"])
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"^the given address: .*host:port"):
        gateway_address(address)
    with pytest.raises(InvalidInput, match=r"^--gateway: .*host:port"):
        choose(address, None)
    monkeypatch.setenv("FORGELOG_GATEWAY", address)
    with pytest.raises(InvalidInput, match=r"^FORGELOG_GATEWAY: .*host:port"):
        gateway_address()


def test_options_go_before_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORGELOG_GATEWAY", "other:1")
    monkeypatch.setenv("FORGELOG_DATA", "elsewhere")
    choose(None, platform(tmp_path / "data", me()))
    assert gateway_address() == ADDRESS
    choose("given:2", None)
    assert gateway_address() == "given:2"


@pytest.mark.parametrize(
    ("typed", "command"),
    [("ps -a", "ps"), ("--data ps status", "status"), ("--gateway a:1 --data=x why j", "why"), ("--help", None)],
)
def test_the_command_is_found_behind_the_options(typed: str, command: str | None) -> None:
    assert command_of(typed.split()) == command


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("help", "--help"),
        ("help queue create", "queue create --help"),
        ("run -- help", "run -- help"),
        ("--data x help", "--data x help"),
        ("", ""),
    ],
)
def test_help_is_a_command_too(typed: str, meant: str) -> None:
    assert spelled_out(typed.split()) == meant.split()


@pytest.mark.parametrize("command", ["ps", "run -- true", "watch", "rebuild jobs", "audit verify"])
def test_every_command_says_which_platform_is_down(tmp_path: Path, command: str) -> None:
    folder = platform(tmp_path / "data", GONE)
    done = subprocess.run(
        [sys.executable, "-c", "from forgelog.cli import main; main()", "--data", str(folder), *command.split()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == os.EX_UNAVAILABLE, done
    assert f"the platform of {folder} (named by --data" in done.stderr
    assert "is down" in done.stderr


def test_status_says_when_commands_go_elsewhere(tmp_path: Path) -> None:
    folder = platform(tmp_path / "data", me())
    typed = [sys.executable, "-c", "from forgelog.cli import main; main()", "status", "--data", str(folder)]
    done = subprocess.run(
        typed, capture_output=True, text=True, timeout=60, env={**os.environ, "FORGELOG_GATEWAY": "other:1"}
    )
    assert "'ps' go to other:1" in done.stderr
    same = subprocess.run(
        typed, capture_output=True, text=True, timeout=60, env={**os.environ, "FORGELOG_GATEWAY": ADDRESS}
    )
    assert same.stderr == ""


@pytest.mark.parametrize("command", ["rebuild jobs", "audit verify", "deadletters list", "repair --decided"])
def test_an_address_names_no_servers_of_another_platform(tmp_path: Path, command: str) -> None:
    folder = platform(tmp_path / ".forgelog", me())
    environment = {**os.environ, "FORGELOG_GATEWAY": "127.0.0.1:9999"}
    for given, env in (["--gateway", "127.0.0.1:9999"], os.environ), ([], environment):
        done = subprocess.run(
            [sys.executable, "-c", "from forgelog.cli import main; main()", *given, *command.split()],
            capture_output=True,
            text=True,
            timeout=60,
            env=env,
        )
        assert done.returncode == os.EX_UNAVAILABLE, done
        assert "the Kafka and Postgres of the platform at 127.0.0.1:9999" in done.stderr
        assert f"{folder} is not its data folder; name that by --data" in done.stderr
        assert "FORGELOG_KAFKA" in done.stderr


def test_the_address_of_the_folder_s_own_platform_names_its_servers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    platform(tmp_path / ".forgelog", me())
    for address in (ADDRESS, ADDRESS.replace("127.0.0.1", "localhost")):
        monkeypatch.setenv("FORGELOG_GATEWAY", address)
        assert server_settings() == SERVERS
    platform(tmp_path / ".forgelog", me(), "")
    monkeypatch.setenv("FORGELOG_GATEWAY", "127.0.0.1:7272")
    assert server_settings() == SERVERS


def test_another_user_s_folder_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = platform(tmp_path / ".forgelog", me())

    def denied(allowed: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Path, *given: Any, **options: Any) -> Any:
            if path in (self, *self.parents):  # root may do all
                raise PermissionError(13, "Permission denied", str(self))
            return allowed(self, *given, **options)

        return method

    monkeypatch.setattr(Path, "open", denied(Path.open))
    monkeypatch.setattr(Path, "mkdir", denied(Path.mkdir))
    for ask in (gateway_address, server_settings, Folder(path).read_state, Folder(path).make, Platform(path).report):
        with pytest.raises(ForgelogError, match=f"{path} is another user's; choose one of your own with --data"):
            ask()
