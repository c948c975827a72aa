"""What the tests of agents share."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.resources.agent import native


@pytest.fixture(params=["python", "native"])
def program(request: pytest.FixtureRequest) -> Path | None:
    """Both launchers make the same promises."""
    if request.param == "python":
        return None
    built = native.launcher()
    if built is None:
        pytest.skip("there is no C compiler here")
    return built
