"""What a program is configured with by the platform."""

from __future__ import annotations

import pytest

import forgelog
from forgelog.errors import InvalidInput


def test_a_program_has_the_parameters_of_its_job_s_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGELOG_CONFIG", raising=False)
    assert forgelog.config() == {}
    monkeypatch.setenv("FORGELOG_CONFIG", '{"lr": 0.1, "net.opt": "adam"}')
    assert forgelog.config() == {"lr": 0.1, "net.opt": "adam"}


@pytest.mark.parametrize("text", ["config.json", "[1]", "{"])
def test_what_is_no_configuration_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FORGELOG_CONFIG", text)
    with pytest.raises(InvalidInput, match=r"FORGELOG_CONFIG: .* is no JSON object; leave it to the platform"):
        forgelog.config()
