"""The room on a disk: given so much is left, then the broker may go on or not."""

from __future__ import annotations

from pathlib import Path

from forgelog.embedded.disk import MIB, Room, free


def test_the_broker_is_held_below_the_reserve_and_comes_back_well_above_it() -> None:
    room = Room(Path("/data"), 100 * MIB)
    assert room.judge(100 * MIB) == ""
    said = room.judge(100 * MIB - 1)
    assert "99 MiB left" in said
    assert "125 MiB are free" in said
    assert "/data" in said
    assert room.judge(124 * MIB)
    assert room.judge(125 * MIB) == ""
    assert room.judge(101 * MIB) == ""


def test_without_a_reserve_there_is_always_room() -> None:
    assert Room(Path("/data"), 0).judge(0) == ""


def test_a_disk_is_asked(tmp_path: Path) -> None:
    assert free(tmp_path) > 0
    assert Room(tmp_path, 1 << 62).look()
    assert Room(tmp_path, 1).look() == ""
