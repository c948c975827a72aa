"""What a projection reads of other contexts. The rest is passed over before it is decoded."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from events.language.base import Event
from events.language.registry import event_types
from events.log.envelope import Meta, Position, Recorded
from events.log.wire import Raw, headers_of
from events.projections.replaying import RebuildFailed, decode_batch
from proto.golden import FOLDER
from services.scheduling.projections import PROJECTION

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = {name: kind for name, kind in event_types().items() if kind.context in PROJECTION.inputs}
READ = PROJECTION.reads or frozenset()
UNREAD = [name for name, kind in EVENTS.items() if kind.context != PROJECTION.context and kind not in READ]


def sample(name: str) -> bytes:
    return orjson.dumps(orjson.loads((FOLDER / f"{name}.json").read_bytes())["value"])


def record(context: str, name: str, value: bytes) -> Raw:
    meta = Meta("e", name, "subject", NOW, "local/default", "owner")
    return Raw(f"events.{context}", 0, 0, 0, b"key", value, headers_of(meta))


def recorded(name: str, event: Event) -> Recorded:
    meta = Meta("e", name, event.subject(), NOW, "local/default", "owner")
    return Recorded(event, meta, event.key(), Position(f"events.{event.context}", 0, 0))


@pytest.mark.parametrize("name", [name for name, kind in EVENTS.items() if kind.context != PROJECTION.context])
def test_events_of_others_that_are_read_are_those_that_touch_rows(name: str) -> None:
    touched = list(PROJECTION.touches(recorded(name, EVENTS[name].model_validate_json(sample(name)))))
    assert bool(touched) == (EVENTS[name] in READ)


@pytest.mark.parametrize("name", UNREAD)
def test_an_event_of_others_that_is_not_read_stops_nobody_however_broken(name: str) -> None:
    assert decode_batch(PROJECTION, [record("resources", name, b"{broken")]) == ([], [])


def test_an_event_of_others_that_is_read_is_folded_and_is_no_history() -> None:
    for kind in READ:
        batch, history = decode_batch(PROJECTION, [record("resources", kind.type_name(), sample(kind.type_name()))])
        assert [type(each.data) for each in batch] == [kind]
        assert history == []
        with pytest.raises(RebuildFailed):
            decode_batch(PROJECTION, [record("resources", kind.type_name(), b"{broken")])


def test_every_event_of_its_own_is_history_and_must_decode() -> None:
    for name, kind in EVENTS.items():
        if kind.context == PROJECTION.context:
            batch, history = decode_batch(PROJECTION, [record("scheduling", name, sample(name))])
            assert (len(batch), len(history)) == (1, 1)
            with pytest.raises(RebuildFailed):
                decode_batch(PROJECTION, [record("scheduling", name, b"{broken")])


@pytest.mark.parametrize("context", PROJECTION.inputs)
def test_a_type_that_is_not_known_stops_the_tables(context: str) -> None:
    with pytest.raises(RebuildFailed, match="unknown type"):
        decode_batch(PROJECTION, [record(context, f"forgelog.{context}.v9.Unheard", b"{}")])
