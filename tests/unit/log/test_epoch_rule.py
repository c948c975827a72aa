"""The epoch rule at the beginning of a log: who has read it from there has seen every marker."""

from __future__ import annotations

import pytest

from events.log.positions import EpochRule
from events.log.wire import EPOCH, Raw


def event(offset: int, epoch: int) -> Raw:
    headers = (("ce_type", b"forgelog.jobs.v1.JobQueued"), (EPOCH, str(epoch).encode()))
    return Raw("events.jobs", 0, offset, 0, b"j", b"{}", headers)


@pytest.mark.parametrize(("offset", "epoch"), [(0, 0), (1, 0), (40, 30)])
def test_what_the_writer_of_a_lost_log_appends_to_the_new_one_is_void(offset: int, epoch: int) -> None:
    rule = EpochRule(begun=0)
    assert not rule.admits(event(offset, epoch))
    assert rule.epoch == -1


def test_a_reader_that_began_later_learns_of_the_marker_before_from_the_first_record_of_its_writer() -> None:
    rule = EpochRule(begun=35)
    assert rule.admits(event(40, 30))
    assert rule.epoch == 30
    assert not rule.admits(event(41, 36))  # a marker there would have been seen


def test_a_reader_that_passed_over_a_marker_learns_of_it_from_the_records_of_its_writer() -> None:
    rule = EpochRule(begun=0)
    rule.missed(12)  # a damaged batch, 10 to 12
    assert rule.admits(event(13, 11))
    assert rule.epoch == 11
    assert not rule.admits(event(20, 13))
