"""`audit verify` tells what was not checked apart from what differs, and ends well."""

from __future__ import annotations

import pytest

from events.audit import audit as runtime
from events.audit.chain_check import Verified
from events.process.settings import Settings
from forgelog.cli import audit
from forgelog.cli.render import Format

UNCHECKED = Verified("events.notes/0", unchecked="no context 'notes' is known here; set FORGELOG_CONTEXTS")


def test_a_place_that_was_not_checked_is_named_and_is_no_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def verify(*_: object, **__: object) -> list[Verified]:
        return [Verified("events.jobs/0", records=3), UNCHECKED]

    monkeypatch.setattr(runtime, "verify", verify)
    monkeypatch.setattr(audit, "platform_settings", lambda **_: Settings())
    audit.verify(output=Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"events.notes/0: not checked: {UNCHECKED.unchecked}"
    assert [line.split()[-1] for line in lines[1:3]] == ["ok", "checked"]


def test_as_json_it_is_neither_intact_nor_not() -> None:
    assert [audit.verified_data(UNCHECKED)[name] for name in ("intact", "problems", "not_checked")] == [
        None,
        [],
        UNCHECKED.unchecked,
    ]
    assert audit.verified_data(Verified("events.jobs/0"))["intact"] is True
    assert audit.verified_data(Verified("events.jobs/0", problems=["offset 0: x"]))["intact"] is False
