"""Conditions of stages, as expressions of CEL."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from events.language.pipelines.conditions import holds, problems

LOAD = {"load": {"rows": 3}}


def test_conditions_hold_where_another_library_has_put_its_own_file_into_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cel

    bare = ModuleType("cel")
    bare.__path__ = list(cel.__path__)
    monkeypatch.setitem(sys.modules, "cel", bare)

    assert holds("stages.load.rows > 2", LOAD, {}, {})
    assert not holds("stages.load.rows > 3", LOAD, {}, {})
    assert problems("stages.load.rows >", ("load",), {}, "condition")[0].field == "condition"
