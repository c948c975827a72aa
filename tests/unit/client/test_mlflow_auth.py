"""Given a request of MLflow's client, then it gets the platform's key if it goes to the platform, and else none."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from events.process.keys import new_api_key
from forgelog.mlflow_auth import Bearer, ForgelogAuth

KEY = new_api_key()


@pytest.fixture(autouse=True)
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.delenv("FORGELOG_TOKEN", raising=False)
    monkeypatch.setenv("FORGELOG_TOKEN_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("FORGELOG_GATEWAY", "127.0.0.1:7070")


def sent(url: str, **headers: str) -> dict[str, str]:
    request: Any = SimpleNamespace(url=url, headers=dict(headers))
    return dict(Bearer()(request).headers)


def test_the_platform_gets_its_key() -> None:
    assert sent("http://127.0.0.1:7070/mlflow/a/b/api/2.0/mlflow/runs/get?x=1") == {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:7071/", "http://example.com/127.0.0.1:7070", "http://a@127.0.0.1:7070"]
)
def test_nobody_else_gets_it(url: str) -> None:
    assert sent(url) == {}


def test_credentials_that_are_there_stay() -> None:
    assert sent("http://127.0.0.1:7070/", Authorization="Bearer other") == {"Authorization": "Bearer other"}


def test_without_a_key_the_gateway_is_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_TOKEN_FILE", "/nowhere")
    assert sent("http://127.0.0.1:7070/") == {}


def test_mlflow_finds_the_plugin() -> None:
    (found,) = entry_points(group="mlflow.request_auth_provider", name="forgelog")
    assert found.load() is ForgelogAuth
    assert ForgelogAuth().get_name() == "forgelog"
    assert isinstance(ForgelogAuth().get_auth(), Bearer)
