"""What a client's queries carry of its own writes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forgelog.client.core import Core


@pytest.mark.parametrize("at", [None, datetime(2026, 1, 1, tzinfo=UTC)], ids=["now", "then"])
def test_queries_wait_for_the_newest_write_of_their_context(at: datetime | None) -> None:
    core = Core("127.0.0.1:1")
    core.wrote(["events.jobs/3@17", "events.jobs/3@16", "events.experiments/0@2"])
    options = core.options("jobs", at)
    assert list(options.at_least) == ["events.jobs/3@17"]
    assert options.HasField("as_of") == (at is not None)
    assert not core.options("pipelines", at).at_least
