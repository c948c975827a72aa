"""What is sent of a session, in which order, and what is left of it when the platform is away or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from forgelog.errors import NotFound, Refused, Unavailable
from forgelog.tracking import capturing
from forgelog.tracking.draining import DROPPED_TAG, IN_FLIGHT, Draining, Later, Sent
from forgelog.tracking.points import Batch
from forgelog.tracking.segments import Writer
from forgelog.tracking.spool import CAPTURED, JOURNAL, SENDING, STATE, State
from tests.unit.tracking.inputs import Away, Platform, logged, session


async def drained(folder: Path, platform: Platform, *, own_files: bool = False) -> Sent:
    draining = Draining(folder, only_own_files=own_files)
    try:
        return await draining.once(platform)
    finally:
        draining.close()


async def test_the_run_comes_first_its_points_before_its_end_and_nothing_is_left(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    logged(made, 1, 2)
    made.note("LogRunData", {"params": {"lr": "0.1"}}, "c2")
    logged(made, 3)
    made.note("EndRun", {"status": "finished"}, "c3")
    made.close()
    sent = await drained(made.folder, platform)
    assert platform.kinds == ["CreateRun", "LogRunData", "points", "points", "EndRun"]
    assert platform.came[0][1] == {"experiment": "digits", "run_id": "r1", "id": "c1"}
    assert [(point.step, point.value) for point in platform.points_of()] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert (sent.points, sent.commands, sent.over) == (3, 3, True)
    assert made.spool.sessions() == []
    assert [*made.spool.path.iterdir()] == []


async def test_while_its_program_lives_only_what_is_new_is_sent(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    writer = made.segment()
    assert writer is not None
    draining = Draining(made.folder)
    for step in range(3):
        writer.add(step, 5, {"loss": 1.0})
        assert not (await draining.once(platform)).over
        made.note("LogRunData", {"tags": {"step": str(step)}}, f"t{step}")
    assert [len(points) for kind, points in platform.came if kind == "points"] == [1, 1, 1]
    assert platform.kinds.count("CreateRun") == 1
    draining.close()
    await drained(made.folder, platform)  # another process goes on
    assert len(platform.points_of()) == 3
    assert platform.kinds.count("LogRunData") == 3


async def test_a_platform_that_is_away_gets_all_when_it_is_back_and_what_is_sent_anew_is_the_same(
    tmp_path: Path,
) -> None:
    made, away = session(tmp_path), Away("points")
    platform = Platform(away)
    logged(made, *range(20_000))
    made.note("EndRun", {"status": "finished"}, "c3")
    made.close()
    with pytest.raises(Later, match="no platform answers"):
        await drained(made.folder, platform)
    assert platform.kinds == ["CreateRun"]
    assert "no platform answers" in State.read(made.folder).away
    away.on = False
    (made.folder / STATE).unlink()  # as if it had been killed before it could note how far it came
    await drained(made.folder, platform)
    assert platform.kinds[1:] == ["CreateRun", "points", "points", "points", "EndRun"]
    assert platform.came[0] == platform.came[1]
    assert sorted(point.step for point in platform.points_of()) == [*range(20_000)]


async def test_when_the_answer_to_points_was_lost_they_come_again(tmp_path: Path) -> None:
    made, away = session(tmp_path), Away("points")
    draining = Draining(made.folder)
    platform = Platform(away)
    logged(made, 1, 2)
    with pytest.raises(Later):
        await draining.once(platform)
    away.on = False
    await draining.once(platform)
    assert [point.step for point in platform.points_of()] == [1, 2]
    draining.close()


async def test_a_run_whose_program_is_gone_without_a_word_is_killed(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    made.close()
    await drained(made.folder, platform)
    (_, end) = platform.came[-1]
    assert (platform.kinds, end["status"]) == (["CreateRun", "EndRun"], "killed")
    assert "had not said" in end["reason"]


async def test_in_a_job_the_platform_says_how_the_process_ended(tmp_path: Path) -> None:
    made, platform = session(tmp_path, in_job=True), Platform()
    made.close()
    assert (await drained(made.folder, platform)).over
    assert platform.kinds == ["CreateRun"]


async def test_a_run_that_said_its_end_before_is_not_killed(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    made.note("EndRun", {"status": "failed"}, "c2")
    await drained(made.folder, platform)  # while the program still has it
    made.close()
    await drained(made.folder, platform)
    assert [body["status"] for kind, body in platform.came if kind == "EndRun"] == ["failed"]


async def test_what_was_dropped_is_counted_by_a_tag(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    for size, count in ((4096, 3), (Writer.LEAST, 4)):
        writer = made.segment(size)
        assert writer is not None
        writer.count_dropped(count)
    writer.end()
    made.close()
    await drained(made.folder, platform)
    assert [body["tags"] for kind, body in platform.came if kind == "LogRunData"] == [{DROPPED_TAG: "7"}]


async def test_a_refusal_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    def refuse(what: str) -> None:
        if what in ("LogRunData", "points"):
            raise Refused("invalid_argument", f"{what} is wrong")

    made, platform = session(tmp_path), Platform(refuse)
    made.note("LogRunData", {"params": {"a": "b"}}, "c2")
    logged(made, 1)
    made.note("EndRun", {"status": "finished"}, "c3")
    draining = Draining(made.folder)
    await draining.once(platform)
    assert platform.kinds == ["CreateRun", "EndRun"]
    assert draining.state.problems == [
        "LogRunData was refused: LogRunData is wrong",
        "points were refused: points is wrong",
    ]
    assert draining.state.refused == 1
    draining.close()


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (Refused("already_exists", "there is a run 'r1' already"), False),
        (Refused("failed_precondition", "experiment digits is archived"), False),
        (Refused("invalid_argument", "experiment: is wrong"), True),
        (Refused("unauthenticated", "the key is wrong"), True),
        (NotFound("there is no such thing"), True),
    ],
)
async def test_a_run_that_is_refused_keeps_all_unless_it_is_there(tmp_path: Path, error: Exception, kept: bool) -> None:
    def refuse(what: str) -> None:
        if what == "CreateRun":
            raise error

    made, platform = session(tmp_path), Platform(refuse)
    logged(made, 1)
    made.close()
    if kept:
        with pytest.raises(Later):
            await drained(made.folder, platform)
        assert (platform.kinds, made.folder.exists()) == ([], True)
    else:
        assert (await drained(made.folder, platform)).over
        failed_already = getattr(error, "code", "") == "failed_precondition"
        assert platform.kinds == ["points", *["EndRun"] * (not failed_already)]


async def test_points_of_a_run_that_is_not_there_are_kept(tmp_path: Path) -> None:
    def refuse(what: str) -> None:
        if what == "points":
            raise NotFound("there is no run 'r1'")

    made = session(tmp_path)
    logged(made, 1)
    made.close()
    with pytest.raises(Later, match="no run"):
        await drained(made.folder, Platform(refuse))
    platform = Platform()
    await drained(made.folder, platform)
    assert len(platform.points_of()) == 1


async def test_files_come_from_the_spool_once_and_are_gone_then(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    place = made.place()
    (place / "model").mkdir()
    (place / "model" / "weights").write_text("w")
    made.note("artifacts", {"place": place.name}, "c2")
    outside = tmp_path / "large"
    outside.write_text("l")
    made.note("artifacts", {"source": str(outside), "folder": "deep/er", "named": True}, "c3")
    await drained(made.folder, platform)
    assert [body for kind, body in platform.came if kind == "files"] == [{"model/weights": "w"}, {"deep/er/large": "l"}]
    assert not place.exists()
    assert outside.exists()


async def test_what_a_program_made_up_is_not_followed(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    secret = tmp_path / "secret"
    secret.write_text("s")
    place = made.place()
    (place / "link").symlink_to(secret)
    made.note("artifacts", {"place": place.name}, "c2")
    made.note("artifacts", {"place": "../../secret"}, "c3")
    made.note("artifacts", {"source": str(secret)}, "c4")
    made.note("DeleteRun", {"run_id": "r2"}, "c5")
    made.note("LogRunData", {"run_id": "r2", "tags": {"a": "b"}}, "c6")
    draining = Draining(made.folder, only_own_files=True)
    await draining.once(platform)
    assert platform.kinds == ["CreateRun", "LogRunData"]
    assert platform.came[1][1]["run_id"] == "r1"
    assert len(draining.state.problems) == 3
    draining.close()


@pytest.mark.parametrize(
    "junk", [b"{", b"[]\n", b"\n\n", b'{"kind": 1}\n', b"\xff\xfe\n", b'{"kind":"LogRunData","id":"x","body":[1]}\n']
)
async def test_a_line_that_was_cut_or_makes_no_sense_takes_no_other_with_it(tmp_path: Path, junk: bytes) -> None:
    made, platform = session(tmp_path), Platform()
    journal = made.folder / JOURNAL
    journal.write_bytes(journal.read_bytes() + junk)
    made.note("EndRun", {"status": "finished"}, "c2")
    await drained(made.folder, platform)
    assert platform.kinds == ["CreateRun", "EndRun"]


async def test_what_the_program_runs_is_sent_once_before_its_end(tmp_path: Path) -> None:
    made, away = (
        session(tmp_path, program={"argv": ["python", "train.py"], "folder": str(tmp_path), "seeds": {"np": 7}}),
        Away("capture"),
    )
    platform = Platform(away)
    capturing.keep(made.folder, made.about)
    made.note("EndRun", {"status": "finished"}, "c2")
    with pytest.raises(Later):
        await drained(made.folder, platform)
    away.on = False
    made.close()
    await drained(made.folder, platform)
    assert platform.kinds == ["CreateRun", "capture", "EndRun"]
    captured = platform.came[1][1]
    assert captured.capture.program.argv == ("python", "train.py")
    assert captured.capture.seeds["np"] == 7
    assert {blake3(data).hexdigest() for data in captured.objects.values()} == captured.objects.keys()


async def test_points_do_not_wait_for_what_the_program_runs_and_the_end_does(tmp_path: Path) -> None:
    made = session(tmp_path, program={"argv": ["python", "train.py"], "folder": str(tmp_path), "seeds": {}})
    platform = Platform()
    capture = asyncio.get_running_loop().create_future()
    draining = Draining(made.folder, capturing=capture)
    logged(made, 1)
    assert (await draining.once(platform)).points == 1
    assert platform.kinds == ["CreateRun", "points"]
    made.note("EndRun", {"status": "finished"}, "c2")
    ending = asyncio.create_task(draining.once(platform))
    done, _ = await asyncio.wait([ending], timeout=0.01)
    assert (done, platform.kinds) == (set(), ["CreateRun", "points"])
    capturing.keep(made.folder, made.about)
    capture.set_result(None)
    await ending
    assert platform.kinds == ["CreateRun", "points", "capture", "EndRun"]
    draining.close()


async def test_what_somebody_puts_in_place_of_a_capture_is_left(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    (made.folder / CAPTURED).mkdir()
    (made.folder / CAPTURED / "capture.json").write_text("{")
    made.close()
    assert (await drained(made.folder, platform)).over
    assert platform.kinds == ["CreateRun", "EndRun"]


async def test_only_one_process_sends_a_session(tmp_path: Path) -> None:
    made = session(tmp_path)
    first = Draining(made.folder)
    with pytest.raises(Later, match="another process"):
        Draining(made.folder)
    first.close()
    Draining(made.folder).close()
    assert (made.folder / SENDING).exists()


async def test_batches_are_as_large_as_the_platform_takes_them(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Platform()
    writer = made.segment()
    assert writer is not None
    for step in range(20):
        writer.add(step, 5, {f"{number:04d}" + "é" * 246: 1.0 for number in range(200)})
    await drained(made.folder, platform)
    sizes = [len(points) for kind, points in platform.came if kind == "points"]
    assert sum(sizes) == 4_000
    assert max(sizes) <= 10_000
    named = [{point.series[0] for point in points} for kind, points in platform.came if kind == "points"]
    assert (
        max(sum(len(key.encode()) for key in keys) + 40 * size for keys, size in zip(named, sizes, strict=True)) < 10**6
    )


class Slow(Platform):
    """Takes batches when it is told to, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Batch, asyncio.Future[None]]] = []

    async def points(self, batch: Batch) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((batch, answer))
        await answer
        await super().points(batch)


async def _until(so: Callable[[], bool]) -> None:
    while not so():
        await asyncio.sleep(0)


async def test_several_batches_are_under_way_and_all_come_though_they_are_answered_in_any_order(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Slow()
    logged(made, *range(60_000))
    draining = Draining(made.folder)
    task = asyncio.create_task(draining.once(platform))
    while not task.done():
        await _until(lambda: task.done() or bool(platform.waiting))
        await _until(lambda: task.done() or len(platform.waiting) == min(IN_FLIGHT, len(platform.waiting)))
        assert len(platform.waiting) <= IN_FLIGHT
        if platform.waiting:
            platform.waiting.pop()[1].set_result(None)
            await asyncio.sleep(0)
    assert task.result().points == 60_000
    assert sorted(point.step for point in platform.points_of()) == [*range(60_000)]
    assert not [*made.folder.glob("points-*")]
    draining.close()


async def test_behind_a_batch_that_fails_nothing_counts_as_sent(tmp_path: Path) -> None:
    made, platform = session(tmp_path), Slow()
    logged(made, *range(60_000))
    draining = Draining(made.folder)
    task = asyncio.create_task(draining.once(platform))
    await _until(lambda: len(platform.waiting) == IN_FLIGHT)
    (first, _), *_ = platform.waiting
    for number, (_, answer) in enumerate(platform.waiting):
        if number == 1:
            answer.set_exception(Unavailable("no platform answers"))
        else:
            answer.set_result(None)
    with pytest.raises(Later, match="no platform answers"):
        await task
    draining.close()
    state, again = State.read(made.folder), Platform()
    assert len(state.segments) == 1
    made.close()
    await drained(made.folder, again)
    assert [point.step for point in again.points_of()] == [*range(first.count, 60_000)]
