"""The lists of `make chaos` that say something about each context say it about all of them."""

from __future__ import annotations

import pytest

from events.language.contexts import contexts
from tests.chaos import broken, poison


@pytest.mark.parametrize(
    "listed",
    [{**broken.HEARD, **dict.fromkeys(broken.UNHEARD)}, poison.REFUSED, poison.COMMANDS],
    ids=["HEARD", "REFUSED", "COMMANDS"],
)
def test_a_list_of_chaos_has_every_context(listed: dict[str, object]) -> None:
    assert listed.keys() == contexts().keys()


def test_what_a_context_hears_is_another_context() -> None:
    assert {*broken.HEARD.values()} <= contexts().keys()
    assert all(context != heard for context, heard in broken.HEARD.items())
