"""Given what stands still, when it is met again, then it is told since when."""

from __future__ import annotations

import logging

from events.log.envelope import Position
from events.writer.stops import Stops

PLACE, AT = "stream logs.jobs", Position("stream.logs.jobs", 0, 0)


def test_a_place_that_is_met_at_the_same_record_again_stands_since_the_first_time() -> None:
    stops = Stops(logging.getLogger("test"))
    first = stops.add(PLACE, LookupError("first"), at=AT)
    again = stops.add(PLACE, LookupError("again"), at=AT)
    assert (again.since, again.cause) == (first.since, "LookupError: again")
    assert [stop.cause for stop in stops] == [again.cause]


def test_a_place_that_went_on_stands_anew() -> None:
    stops = Stops(logging.getLogger("test"))
    first = stops.add(PLACE, LookupError("first"), at=AT)
    elsewhere = stops.add(PLACE, LookupError("behind it"), at=AT._replace(offset=1))
    stops.lift(PLACE)
    anew = stops.add(PLACE, LookupError("first"), at=AT)
    assert first.since is not elsewhere.since is not anew.since
