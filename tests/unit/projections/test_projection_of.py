"""Which projection a context has, and what is said where it has none, or one that can't be imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from events.language.contexts import ContextSpec
from events.projections import rebuild
from events.projections.rebuild import NoProjection, projection_of
from services.jobs.projections import PROJECTION

Make = Callable[[str | None], None]


@pytest.fixture
def noting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the context ``notes`` the only one; its module of projections has this text, or is not there."""

    def make(text: str | None) -> None:
        package = tmp_path / f"noting{tmp_path.name}"
        package.mkdir()
        (package / "__init__.py").touch()
        if text is not None:
            (package / "projections.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        spec = ContextSpec("notes", "what people write", service=package.name)
        monkeypatch.setattr(rebuild, "contexts", lambda: {"notes": spec})

    return make


def test_a_context_has_the_projection_of_its_service() -> None:
    assert projection_of("jobs") is PROJECTION


def test_an_unknown_context_is_told() -> None:
    with pytest.raises(NoProjection, match="there is no context 'notes'"):
        projection_of("notes")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"has no projections: there is no module \w+\.projections"),
        ("", r"has no projections: \w+\.projections has no"),
    ],
)
def test_a_context_without_projections_is_told(noting: Make, text: str | None, said: str) -> None:
    noting(text)
    with pytest.raises(NoProjection, match=f"the context 'notes' {said}"):
        projection_of("notes")


@pytest.mark.parametrize(
    ("text", "error"), [("{}['x']", KeyError), ("import nowhere", ModuleNotFoundError), ("str.nothing", AttributeError)]
)
def test_what_the_module_raises_itself_is_not_taken_for_that(noting: Make, text: str, error: type[Exception]) -> None:
    noting(text)
    with pytest.raises(error) as raised:
        projection_of("notes")
    assert not isinstance(raised.value, NoProjection)
