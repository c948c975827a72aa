"""The access log is read once from begin to end, whatever ends between."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.deployments.router.spool import CHUNK, Part, Spool, aside, segments

MANY = 1 << 30


class Log:
    """An access log in a folder, as Envoy writes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.log"
        self.written = 0

    def write(self, count: int, padding: int = 0) -> None:
        with self.path.open("ab") as file:
            for _ in range(count):
                self.written += 1
                file.write(json.dumps({"n": self.written, "padding": "x" * padding}).encode() + b"\n")

    def rotate(self) -> None:
        if self.path.exists():
            self.path.replace(aside(self.path))


def read(spool: Spool) -> list[Part]:
    found = []
    while (part := spool.next()) is not None:
        found.append(part)
        spool.done()
    return found


def numbers(parts: list[Part]) -> list[int]:
    return [line["n"] for part in parts for line in part.lines]


def test_lines_come_once_and_are_counted(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    assert spool.next() is None  # Envoy has not begun
    log.write(3)
    first = read(spool)
    log.write(2)
    second = read(spool)
    assert numbers(first) == [1, 2, 3]
    assert numbers(second) == [4, 5]
    assert [(part.sequence, part.number) for part in first + second] == [(1, 1), (2, 4)]
    assert spool.next() is None


def test_a_part_that_was_not_done_comes_again_after_a_restart_though_more_was_written(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    log.write(3)
    given = spool.next()
    log.write(4)
    again = Spool(log.path, MANY)
    assert again.next() == given
    again.done()
    assert numbers(read(again)) == [4, 5, 6, 7]


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    log.write(1)
    with log.path.open("ab") as file:
        file.write(b'{"n": 2')
    assert numbers(read(spool)) == [1]
    with log.path.open("ab") as file:
        file.write(b"}\n")
    assert numbers(read(spool)) == [2]


def test_a_line_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    log.write(1)
    with log.path.open("ab") as file:
        file.write(b'{"n": \n')
    log.write(1)
    assert [(part.number, numbers([part])) for part in read(spool)] == [(1, [1, 2])]


def test_what_is_beyond_the_bound_goes_oldest_first_and_is_counted(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", 3 * CHUNK)
    log.write(1)
    assert numbers(read(spool)) == [1]
    for _ in range(4):
        log.write(2, CHUNK // 2)
        log.rotate()
    log.write(1)
    read_after = numbers(read(spool))
    assert read_after == sorted(read_after)
    assert read_after[-1] == log.written
    assert len(read_after) < log.written - 1
    assert spool.lost_bytes > 0


def test_files_that_were_read_go_but_the_last_one(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    for _ in range(4):
        log.write(1)
        log.rotate()
    log.write(1)
    assert numbers(read(spool)) == [1, 2, 3, 4, 5]
    assert [path.name for path in segments(log.path)] == ["access.log.4", "access.log"]


def test_a_log_that_somebody_removed_begins_another_source(tmp_path: Path) -> None:
    log, spool = Log(tmp_path), Spool(tmp_path / "access.log", MANY)
    log.write(2)
    (before,) = read(spool)
    log.path.unlink()
    log.write(1)
    spool.close()
    (after,) = read(Spool(log.path, MANY))
    assert numbers([after]) == [3]
    assert after.source != before.source


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 5)),
        st.tuples(st.just("rotate"), st.just(0)),
        st.tuples(st.just("give"), st.just(0)),
        st.tuples(st.just("done"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(STEPS)
def test_each_line_has_one_number_whenever_the_reader_is_killed(steps: list[tuple[str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log, spool = Log(Path(folder)), Spool(Path(folder) / "access.log", MANY)
        said: dict[int, int] = {}
        parts: dict[int, Part] = {}
        given: Part | None = None

        def note(part: Part) -> None:
            assert parts.setdefault(part.sequence, part) == part
            for number, line in enumerate(part.lines, part.number):
                assert said.setdefault(number, line["n"]) == line["n"]

        for step, count in steps:
            if step == "write":
                log.write(count)
            elif step == "rotate":
                log.rotate()
            elif step == "give" and (given := spool.next()) is not None:
                note(given)
            elif step == "done" and given is not None:
                spool.done()
                given = None
            elif step == "kill":
                spool.close()
                spool, given = Spool(log.path, MANY), None
        while (part := spool.next()) is not None:
            note(part)
            spool.done()
        spool.close()
        assert said == {number: number for number in range(1, log.written + 1)}
