"""Idle workers give way to those of other pipelines that find no place."""

from __future__ import annotations

from events.language.pipelines.run_commands import ReleaseWorker
from events.language.pipelines.run_events import WorkerReleased
from events.language.pipelines.stages import StageSpec
from services.pipelines.making_room import MOST_RELEASES, chosen
from tests.unit.pipelines.desk import ID, RunDesk


def test_each_worker_that_waits_gets_the_place_of_an_idle_one() -> None:
    idle = [{"worker": f"i{number}", "pipeline_id": f"p{number}", "project": "local/default"} for number in range(3)]
    releases = {"w1": 0, "w2": MOST_RELEASES, "w3": 2}
    found = [(each.id, each.command) for each in chosen(releases, idle)]
    assert found == [
        ("room.w1.i0", ReleaseWorker(pipeline_id="p0", worker="i0", reason="w1 waits for its place")),
        ("room.w3.i1", ReleaseWorker(pipeline_id="p1", worker="i1", reason="w3 waits for its place")),
    ]
    assert releases == {"w1": 1, "w2": MOST_RELEASES, "w3": 3}
    assert chosen({"w1": 0}, []) == []


def test_a_worker_goes_at_once_if_it_has_nothing_to_do_and_not_while_it_works() -> None:
    desk = RunDesk(StageSpec(id="load"))
    desk.run()
    worker = desk.order("load").worker
    release = ReleaseWorker(pipeline_id=ID, worker=worker, reason="w1 waits for its place")
    assert desk.send(release) == []
    desk.complete("load")
    released = desk.send(release)
    assert released == [WorkerReleased(pipeline_id=ID, worker=worker, reason="w1 waits for its place")]
    assert desk.send(release) == []
    assert desk.send(ReleaseWorker(pipeline_id=ID, worker="another")) == []
