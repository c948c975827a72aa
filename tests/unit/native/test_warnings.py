"""The C files compile without a warning, with more of them on than builds have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native import building

pytestmark = pytest.mark.skipif(not building.compiler(), reason="there is no C compiler here")


@pytest.mark.skipif(not building.has_headers(), reason="Python's headers are not installed")
def test_the_log_s_helper_has_no_warning(tmp_path: Path) -> None:
    flags = [*building.WARNINGS, *building.MODULE, '-DSOURCE="test"']
    assert building.build(building.RECORDS, tmp_path / "_records.so", flags) == ""


def test_the_launcher_has_no_warning(tmp_path: Path) -> None:
    assert building.build(building.LAUNCHER, tmp_path / "launcher", [*building.WARNINGS, *building.PROGRAM]) == ""


def test_a_warning_is_an_error_here(tmp_path: Path) -> None:
    source = tmp_path / "narrow.c"
    source.write_text("int main(int count, char **values) { (void)values; char narrow = count; return narrow; }\n")
    assert "-Werror=conversion" in building.build(source, tmp_path / "narrow", building.WARNINGS)
