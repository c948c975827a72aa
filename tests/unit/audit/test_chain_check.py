"""What is found of a partition whose records or heads somebody changed, and at which offset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.audit.chain_check import MOST_PROBLEMS, ChainCheck, Verified
from events.audit.heads import Head, HeadStore
from events.language.common import RecordSkipped
from events.log.positions import EpochRule
from events.log.repairs import Repairs, digest_of
from events.log.wire import HASH, Damage, Raw, value_of
from events.writer.encoding import Unit
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider
from tests.unit.writer.test_epochs import START, Log, raw_command

PLACE = "events.jobs/0"


def writer(log: Log) -> Partition:
    epoch = log.marker("w")
    partition: Partition = Partition(SampleDecider(), 0, 1)
    for record in log.valid():
        partition.fold(record)
    partition.next_offset, partition.epoch = epoch + 1, epoch
    return partition


def submit(log: Log, partition: Partition, number: int) -> None:
    unit = partition.command(raw_command(number, f"c{number}", f"job-{number}"), START + timedelta(seconds=number))
    assert isinstance(unit, Unit)
    partition.appended(unit, log.append(unit.records))


def history(commands: int = 6, *, branch: str = "") -> list[Raw]:
    """A marker and an event a command; a second writer takes over in the middle, and the first one writes once more."""
    log = Log()
    first = writer(log)
    for number in range(commands // 2):
        submit(log, first, number)
    second = writer(log)
    submit(log, first, 900)
    for number in range(commands // 2, commands):
        submit(log, second, number + (500 if branch else 0))
    return log.records


def heads(records: Sequence[Raw], *offsets: int) -> list[Head]:
    """The heads that a service signs: a valid record's own hash."""
    return [Head(offset, (records[offset].get(HASH) or b"").decode()) for offset in offsets]


def checked(
    records: Sequence[Raw],
    signed: Sequence[Head] = (),
    *,
    since: Head | None = None,
    end: int | None = None,
    place: str = PLACE,
    signed_until: int | None = None,
    latest: int = 1 << 62,
    repairs: Repairs | None = None,
) -> Verified:
    check = ChainCheck(place, iter(signed), repairs or Repairs(), since)
    for raw in records:
        check.feed(raw)
    span = None if signed_until is None else (signed_until, latest)
    return check.finish(len(records) if end is None else end, span)


def with_(record: Raw, offset: int | None = None, timestamp: int | None = None, **parts: Any) -> Raw:
    """A record with some of its parts changed."""
    whole: Any = {"key": record.key, "value": record.value, "headers": record.headers, **parts}
    at = record.timestamp if timestamp is None else timestamp
    return Raw(PLACE.split("/")[0], 0, record.offset if offset is None else offset, at, **whole)


def placed(records: Sequence[Raw]) -> list[Raw]:
    """The records one behind the other, as if they had been written so."""
    return [with_(record, offset) for offset, record in enumerate(records)]


def valid_offsets(records: Sequence[Raw]) -> list[int]:
    """Of records that are part of the history and have a hash."""
    rule = EpochRule(begun=0)
    return [record.offset for record in records if rule.admits(record) and record.get(HASH)]


def test_a_history_as_it_was_written_is_intact() -> None:
    records = history()
    found = checked(records, heads(records, 2, 8), signed_until=1 << 62)
    assert (found.problems, found.records, found.void, found.heads) == ([], 8, 1, 2)
    assert found.unsigned == 0
    assert found.digest == (records[-1].get(HASH) or b"").decode()


@pytest.mark.parametrize("part", ["value", "key", "header", "hash"])
def test_a_flipped_byte_is_named_by_its_offset(part: str) -> None:
    records = history()
    record = records[6]
    if part in ("value", "key"):
        changed = with_(record, **{part: getattr(record, part)[:-1] + bytes([getattr(record, part)[-1] ^ 1])})
    else:
        name = HASH if part == "hash" else "ce_actor"
        changed = with_(
            record, headers=[(n, v[:-1] + bytes([v[-1] ^ 1]) if n == name else v) for n, v in record.headers]
        )
    records[6] = changed
    assert checked(records).problems[0].startswith("offset 6: was changed")


def test_a_damaged_batch_is_named_and_what_is_behind_it_is_still_checked() -> None:
    records = history()
    damage = Damage.at("events.jobs", 0, 6, 6, "its checksum is wrong", b"")
    found = checked([*records[:6], damage, *records[7:]], heads(records, 8))
    assert found.problems[0].startswith("offset 6: was changed (up to 6: its checksum is wrong)")


def test_reordered_records_are_named() -> None:
    records = history()
    records[6], records[7] = with_(records[7], 6), with_(records[6], 7)
    assert checked(records).problems[0].startswith("offset 6: was changed")


def test_a_removed_record_is_named_whether_its_offset_is_missing_or_given_to_the_next() -> None:
    records = history()
    assert checked([*records[:6], *records[7:]], end=9).problems[0] == "offset 6: records up to 6 are missing"
    assert checked(placed([*records[:6], *records[7:]])).problems[0].startswith("offset 6: was changed")


def test_an_inserted_record_is_named() -> None:
    records = history()
    forged = with_(records[6], headers=[h for h in records[6].headers if h[0] != HASH])
    assert checked(placed([*records[:6], forged, *records[6:]])).problems == ["offset 6: has no hash"]
    again = placed([*records[:7], records[6], *records[7:]])
    assert checked(again).problems[0].startswith("offset 7: was changed")


def test_a_cut_tail_is_named_by_a_head_of_what_was_behind_it() -> None:
    records = history()
    assert checked(records[:7]).intact, "a chain alone does not know its end"
    (problem,) = checked(records[:7], heads(records, 2, 6, 8)).problems
    assert problem == "offset 7: the log was cut; a signed head names 8"


def test_a_cut_beginning_is_named() -> None:
    records = history()
    assert "offset 0: records up to 2 are missing" in checked(records[3:], end=9).problems
    assert checked([], end=9).problems == ["offset 0: records up to 8 are missing"]


def test_a_forked_view_is_named_between_the_heads_that_agree_and_those_that_do_not() -> None:
    ours, theirs = history(), history(branch="b")
    assert checked(theirs, heads(theirs, 2, 7)).intact
    (problem,) = checked(theirs, heads(ours, 2, 7)).problems
    assert problem.startswith("offset 7: the history up to here is not the one that was signed; up to offset 2 it is")
    (saved,) = checked(theirs, [head._replace(saved=True) for head in heads(ours, 7)]).problems
    assert saved == "offset 7: the history up to here is not the one that was signed (a saved head)"


def test_two_signed_histories_are_told_as_a_fork_though_one_of_them_is_this() -> None:
    ours, theirs = history(), history(branch="b")
    both = sorted([*heads(ours, 7), *heads(theirs, 7)])
    (problem,) = checked(theirs, both).problems
    assert problem == "offset 7: the log was forked: another history was signed up to here, too"


def test_another_partition_s_history_in_this_one_s_place_is_told() -> None:
    records = history()
    problems = checked(records, heads(records, 8), place="events.jobs/1").problems
    assert problems[0] == "offset 0: is of 'jobs/0': this is not the history of jobs/1"


def test_records_that_no_head_covers_are_a_problem_once_they_should_have_one() -> None:
    records = history()
    found = checked(records, heads(records, 6))
    assert (found.intact, found.unsigned) == (True, 2)
    now = records[-1].timestamp + 1
    (problem,) = checked(records, heads(records, 6), signed_until=now).problems
    assert problem.startswith("offset 7: no signed head covers the 2 records from here on (the newest one is at 6)")
    (problem,) = checked(records, signed_until=now).problems
    assert problem.startswith("offset 1: no signed head covers the 6 records from here on (there is none that agrees)")
    assert checked(records, heads(records, 6), signed_until=records[7].timestamp).intact, "they are too new"


@pytest.mark.parametrize("moved", ["to come", "the first to come"])
def test_a_record_of_a_time_to_come_needs_a_head_at_once(moved: str) -> None:
    """Else an attacker who removes heads writes later times into the records: no hash covers them."""
    records = history()
    now = records[-1].timestamp + 1
    later = now + 3_600_000
    for offset in (7, 8) if moved == "to come" else (7,):
        records[offset] = with_(records[offset], timestamp=later)
    signed_until, latest = (records[6].timestamp, now) if moved == "to come" else (now, later + 1)
    (problem,) = checked(records, heads(records, 6), signed_until=signed_until, latest=latest).problems
    assert problem.startswith("offset 7: no signed head covers the 2 records from here on")


def skipped(raw: Raw, *, first: int, last: int) -> Repairs:
    """An operator's decision to skip a span of records after a look at `raw`."""
    event = RecordSkipped(
        subject_id=f"{PLACE}@{first}",
        position=f"{PLACE}@{first}",
        last_offset=last,
        digest=digest_of(raw),
        record_type="x",
        reason="the disk is broken",
    )
    headers = [("ce_id", b"skip"), ("ce_type", event.type_name().encode()), ("ce_time", b"2026-01-01T00:00:00Z")]
    repairs = Repairs()
    assert repairs.add([Raw("repairs", 0, 0, 0, b"k", value_of(event), headers)])
    return repairs


def test_what_an_operator_passed_over_needs_no_head() -> None:
    records = history()
    found = checked(
        records, heads(records, 7), repairs=skipped(records[8], first=8, last=8), signed_until=1 << 62, latest=1 << 62
    )
    assert (found.problems, found.unsigned) == ([], 0)


def test_a_repair_excuses_no_record_but_the_one_that_was_seen() -> None:
    records = history()
    repairs = skipped(records[8], first=0, last=1 << 60)
    found = checked(records, repairs=repairs, signed_until=1 << 62, latest=1 << 62)
    (problem,) = found.problems
    assert problem.startswith("offset 1: no signed head covers the 5 records from here on")


def test_behind_a_saved_head_only_what_follows_is_read() -> None:
    records = history()
    (since,) = heads(records, 6)
    signed = heads(records, 6, 8)
    found = checked(records, signed, since=since, end=9, signed_until=1 << 62)
    assert (found.problems, found.first, found.records, found.heads) == ([], 6, 3, 2)
    assert found.digest == checked(records).digest

    changed = [*records[:7], with_(records[7], value=b"{}"), records[8]]
    assert checked(changed, signed, since=since, end=9).problems[0].startswith("offset 7: was changed")
    changed = [*records[:2], with_(records[2], value=b"{}"), *records[3:]]
    assert checked(changed, signed, since=since, end=9).intact, "what lies before was verified before"


@pytest.mark.parametrize(
    "changed",
    [
        {"headers": {"fl_epoch": b"0"}},
        {"headers": {"fl_epoch": b"5"}},
        {"headers": {"fl_epoch": b"1000000"}},
        {"headers": {"ce_actor": b"mallory"}},
        {"value": b"{}"},
        {"key": b"another"},
    ],
    ids=str,
)
def test_the_record_of_a_saved_head_is_checked_itself(changed: dict[str, Any]) -> None:
    """Its epoch says which of the records behind it are void: who may change that may hide all of them."""
    records = history()
    (since,) = heads(records, 6)
    headers = dict(records[6].headers) | changed.get("headers", {})
    records[6] = with_(records[6], **{**changed, "headers": list(headers.items())})
    records[7:] = [with_(raw, value=b"{}") for raw in records[7:]]
    problems = checked(records, [since], since=since).problems
    assert problems[0] == "offset 6: was changed (its content does not match its hash)"


@pytest.mark.parametrize("at", [1, 6, 7])
def test_a_saved_head_may_be_of_any_record(at: int) -> None:
    """The first one, the first of a writer that took over, and one behind what a writer that was replaced wrote."""
    records = history()
    records = placed([*records[:7], records[5], *records[7:]]) if at == 7 else records
    (since,) = heads(records, at + (at == 7))
    assert checked(records, [since], since=since).problems == []


def test_a_saved_head_that_is_not_on_the_chain_is_told() -> None:
    ours, theirs = history(), history(branch="b")
    (since,) = heads(ours, 7)
    (problem,) = checked(theirs, [since], since=since, end=9).problems
    assert problem.startswith("offset 7: the history up to here is not the one that was signed")
    (problem,) = checked(theirs[:5], [since], since=since, end=5).problems
    assert problem == "offset 5: the log was cut; a signed head names 7"
    (since,) = heads(ours, 2)
    assert (
        checked([*ours[:2], *ours[3:]], [since], since=since, end=9).problems[0]
        == "offset 2: records up to 2 are missing"
    )


def test_of_very_many_problems_the_first_are_told_and_the_others_counted() -> None:
    records = history()
    epoch = [("fl_epoch", b"0")]
    found = checked([records[0], *(with_(records[6], 1 + n, headers=epoch) for n in range(MOST_PROBLEMS + 7))])
    assert len(found.problems) == MOST_PROBLEMS + 1
    assert found.problems[-1] == "and 7 more problems in this partition"


def test_heads_are_kept_by_place_and_offset_however_they_come() -> None:
    with HeadStore() as store:
        for offset in (7, 3, 7, 5):
            store.add(PLACE, Head(offset, f"d{offset}"))
        store.add("events.jobs/1", Head(1, "x", saved=True))
        assert [head.offset for head in store.of(PLACE)] == [3, 5, 7]
        assert list(store.of(PLACE, 6)) == [Head(7, "d7")]
        assert store.places() == [PLACE, "events.jobs/1"]
        assert list(store.of("events.jobs/1")) == [Head(1, "x", saved=True)]


@st.composite
def histories(draw: st.DrawFn) -> list[Raw]:
    """Writers that take over from each other, and go on writing though they were replaced."""
    log, writers, number = Log(), [], 0
    writers.append(writer(log))
    for step in draw(st.lists(st.sampled_from(["submit", "zombie", "take over"]), min_size=2, max_size=12)):
        if step == "take over":
            writers.append(writer(log))
            continue
        number += 1
        submit(log, writers[-1] if step == "submit" else draw(st.sampled_from(writers)), number)
    return log.records


@given(histories(), st.data())
def test_any_change_to_a_signed_history_is_found_and_none_is_found_where_there_is_none(
    records: list[Raw], data: st.DataObject
) -> None:
    valid = valid_offsets(records)
    if not valid:
        return
    inner = data.draw(st.lists(st.sampled_from(valid), unique=True))
    signed = heads(records, *sorted({*inner, valid[-1]}))
    assert checked(records, signed, signed_until=1 << 62).problems == []
    since = data.draw(st.sampled_from(signed))
    behind = checked(records, [h for h in signed if h >= since], since=since, end=len(records))
    assert behind.problems == []

    at = data.draw(st.sampled_from(valid))
    index = valid.index(at)
    attack = data.draw(st.sampled_from(["flip", "remove", "close up", "repeat", "swap", "cut", "no hash"]))
    if attack == "flip":
        value = bytearray(records[at].value or b"")
        value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        changed = [*records[:at], with_(records[at], value=bytes(value)), *records[at + 1 :]]
    elif attack == "remove":
        changed = [*records[:at], *records[at + 1 :]]
    elif attack == "close up":
        changed = placed([*records[:at], *records[at + 1 :]])
    elif attack == "repeat":
        changed = placed([*records[: at + 1], records[at], *records[at + 1 :]])
    elif attack == "swap" and index + 1 < len(valid):
        other = valid[index + 1]
        changed = list(records)
        changed[at], changed[other] = records[other], records[at]
        changed = placed(changed)
    elif attack == "no hash":
        bare = [header for header in records[at].headers if header[0] != HASH]
        changed = [*records[:at], with_(records[at], headers=bare), *records[at + 1 :]]
    else:
        changed = records[:at]
    end = len(records) if attack == "remove" else len(changed)
    found = checked(changed, signed, end=end)
    assert found.problems, attack
    told = int(found.problems[0].split()[1].rstrip(":"))
    assert at <= told if attack != "cut" else told == at
    if attack in ("flip", "no hash", "remove"):
        assert told == at
