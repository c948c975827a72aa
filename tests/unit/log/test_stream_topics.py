"""A stream's topic says how it is kept."""

from __future__ import annotations

import pytest

from events.language.contexts import ContextsError
from events.language.streams import OUTPUT, StreamTopic
from events.log.topics import STREAMS, check_streams, stream_config, wanted
from events.process.settings import Settings

DAY = 86_400_000


def test_a_topic_keeps_its_records_for_the_days_of_its_setting_or_without_limit() -> None:
    days = Settings(output_days=3)
    assert stream_config(OUTPUT, days, {})["retention.ms"] == str(3 * DAY)
    assert "compression.type" not in stream_config(OUTPUT, days, {})
    kept = stream_config(StreamTopic("points.lab", compression="zstd"), days, {})
    assert (kept["retention.ms"], kept["compression.type"]) == ("-1", "zstd")


@pytest.mark.parametrize("days", ["nonsense", "output_bytes_", "kafka"])
def test_the_days_of_a_topic_are_a_setting(days: str) -> None:
    with pytest.raises(
        ContextsError, match=f"the stream points.lab: days names no setting .*'{days}'; write one of output"
    ):
        check_streams([StreamTopic("points.lab", days=days)])
    check_streams([OUTPUT, StreamTopic("points.lab")])


def test_the_topics_of_all_streams_are_made() -> None:
    made = wanted(8, Settings(output_days=3))
    assert OUTPUT in STREAMS
    for stream in STREAMS:
        assert made[stream.name] == (8, stream_config(stream, Settings(output_days=3), {}))
    assert wanted(8)[OUTPUT.name][1]["retention.ms"] == str(Settings.model_fields["output_days"].default * DAY)
