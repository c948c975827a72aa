"""Waiting for a start: given what the children do, then whether they are waited for, and what is said meanwhile."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from events.process.identity import Identity
from forgelog.cli import up_progress
from forgelog.cli.up_progress import UpProgress
from forgelog.embedded import platform as platform_module
from forgelog.embedded import process as process_module
from forgelog.embedded.contexts import undecided
from forgelog.embedded.keeper import Keeper, Plan
from forgelog.embedded.layout import ChildState, Folder, Lock, PlatformState, Server, Wanted
from forgelog.embedded.platform import Platform
from forgelog.embedded.process import EmbeddedError, Slow, Spec, run_through, until
from forgelog.embedded.router import ROUTER
from forgelog.embedded.standing import LOOK_SECONDS, Standing
from forgelog.embedded.waiting import FAILED_SECONDS, LONGEST_SECONDS, awaited, given_up, not_up, not_up_already
from tests import PATIENCE

SLEEPS = "import time; time.sleep(600)"
BEFORE = {"kafka": 2}


def child(state: str, **more: Any) -> ChildState:
    return ChildState("kafka", "server", state, **more)


STARTING = child("starting", pid=1, restarts=2)
SLOW = child("not_ready", restarts=2, problem="it does not answer within 3 s", slow=True)
FAILED = [
    child("restarting", restarts=3, last_exit="exit 1"),
    child("starting", restarts=3),
    child("starting", restarts=2, problem="a program of eve's has taken its port, 9092"),
    child("held", restarts=2, problem="the disk is full"),
]


@pytest.mark.parametrize(
    ("of", "waited", "over"),
    [
        *(([each], LONGEST_SECONDS - 1, False) for each in (STARTING, SLOW)),
        *(([each], LONGEST_SECONDS + 1, True) for each in (STARTING, SLOW)),
        *(([STARTING, each], FAILED_SECONDS - 1, False) for each in FAILED),
        *(([STARTING, each], FAILED_SECONDS + 1, True) for each in FAILED),
        ([child("ready", restarts=7), STARTING], FAILED_SECONDS + 1, False),  # it has failed, and is up
    ],
)
def test_what_lives_and_has_not_failed_is_waited_for(of: list[ChildState], waited: float, over: bool) -> None:
    assert given_up(of, BEFORE, waited, None) == over


@pytest.mark.parametrize("of", [STARTING, *FAILED])
def test_a_time_that_is_given_is_what_counts(of: ChildState) -> None:
    assert not given_up([of], BEFORE, 2000.0, 3000.0)
    assert given_up([of], BEFORE, 31.0, 30.0)


def test_what_is_waited_for_is_named() -> None:
    children = [child("ready"), SLOW, child("restarting", last_exit="exit 1", problem="The end of its log:\n  no room")]
    assert awaited(children) == [
        "kafka (not_ready: it does not answer within 3 s)",
        "kafka (restarting, last exit 1: The end of its log:)",
    ]


class Given(Platform):
    """A platform whose supervisor is a program that is given, and supervises as soon as a list says so."""

    def __init__(self, data: Path, codes: Iterable[str], supervised: Callable[[], bool]) -> None:
        super().__init__(data)
        self.folder.make()
        self.started: list[subprocess.Popen[bytes]] = []
        self._codes = iter(codes)
        self._supervised = supervised

    @property
    def supervised(self) -> bool:
        return self._supervised()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.folder.log("supervisor").open("ab") as log:
            self.started.append(subprocess.Popen([sys.executable, "-c", next(self._codes)], stderr=log))
        return self.started[-1]

    def end(self) -> None:
        for each in self.started:
            each.kill()
            each.wait()


def minutes_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each look at the clock is so much later than the one before."""
    now = itertools.count(0.0, seconds)
    monkeypatch.setattr(platform_module, "time", SimpleNamespace(monotonic=lambda: next(now)))


async def test_a_supervisor_that_lives_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([False] * 5 + [True])
    here, said = Given(tmp_path, [SLEEPS], lambda: next(looks)), list[str]()
    minutes_pass(monkeypatch, 60.0)
    try:
        await here.supervise(seen=said.append)
    finally:
        here.end()
    assert said == ["supervisor (starting)"] * 5


async def test_a_supervisor_that_never_comes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Given(tmp_path, [SLEEPS], lambda: False)
    minutes_pass(monkeypatch, LONGEST_SECONDS / 2)
    try:
        with pytest.raises(EmbeddedError, match="the supervisor has not started after 1350 s"):
            await here.supervise()
    finally:
        here.end()


async def test_a_supervisor_that_has_ended_is_told_of_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Given(tmp_path, ["import sys; sys.exit('no room')"], lambda: False)
    minutes_pass(monkeypatch, 0.0)  # no time passes: only its end can end the wait
    with pytest.raises(EmbeddedError, match=r"the supervisor has ended \(exit 1\)\. The end of (?s:.*)no room"):
        await here.supervise()
    here.end()


async def test_a_folder_that_another_process_holds_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    """Such as a `down` that ends what a killed supervisor left."""
    taken = f"import sys; sys.exit({Lock.TAKEN})"
    here = Given(tmp_path, [taken, taken, SLEEPS], lambda: len(here.started) == 3)
    try:
        await here.supervise()
    finally:
        here.end()


def test_a_second_supervisor_says_that_the_folder_is_taken(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    lock = Lock(folder)
    assert lock.acquire()
    command = [sys.executable, "-m", "forgelog.embedded.supervisor", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (Lock.TAKEN, f"{tmp_path} has a supervisor already\n")
    lock.release()


@pytest.mark.parametrize(
    ("of", "seconds", "told"),
    [
        (STARTING, None, r"after 950 s:\n  kafka: starting, 2 restarts\. See "),
        (FAILED[3], None, r"after 150 s:\n  kafka: held, 2 restarts\. the disk is full"),
        (STARTING, 70.0, r"after 100 s:"),
    ],
)
async def test_what_is_not_up_in_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: ChildState, seconds: float | None, told: str
) -> None:
    here = Platform(tmp_path)
    here.folder.make()
    here.folder.write_wanted(Wanted(Server("embedded"), Server("embedded"), services=False))
    here.folder.write_state(PlatformState(Identity.of(os.getpid()), children=[of]))
    minutes_pass(monkeypatch, 50.0)
    monkeypatch.setattr(platform_module, "POLL", 0)
    with pytest.raises(EmbeddedError, match=f"not everything was ready {told}"):
        await here.wait(seconds)


REFUSED = "router: FORGELOG_ROUTER_KEY: /tls.key has a password; give the key without one"


def refusing(state: str = "restarting", **more: Any) -> ChildState:
    told = f"The end of /router.log:\n  it listened\n  {REFUSED}"
    return ChildState("router", ROUTER, state, **{"restarts": 1, "last_exit": "exit 78", "problem": told} | more)


@pytest.mark.parametrize("limit", [None, 600.0])
def test_a_router_that_refuses_what_it_is_told_is_told_of_once_the_others_are_up(limit: float | None) -> None:
    for state in ("restarting", "starting"):
        assert given_up([child("ready"), refusing(state)], {}, 1.0, limit)
    assert not given_up([STARTING, refusing()], {}, 1.0, limit)
    assert not given_up([child("ready"), refusing()], {"router": 1}, 1.0, limit)  # it may be mended: its next try says
    assert not given_up([child("ready"), refusing(last_exit="exit 1")], {}, 1.0, limit)
    assert not given_up([child("restarting", restarts=3, last_exit="exit 78")], {}, 1.0, limit)


def test_what_a_router_refuses_is_told_with_what_to_do() -> None:
    told = not_up(PlatformState(Identity(1, ""), children=[child("ready"), refusing()]), 3.0)
    assert told.startswith(f"the platform runs, but its router can't start:\n  {REFUSED}\n")
    assert "'forgelog down' and 'forgelog up'" in told


def test_what_has_failed_already_is_told_without_a_wait() -> None:
    def told(*children: ChildState) -> str:
        return not_up_already(PlatformState(Identity(1, ""), children=list(children)))

    starting = child("starting")
    assert told() == told(child("ready"), starting, child("not_ready", problem="it is late", slow=True)) == ""
    assert told(child("ready", restarts=2), refusing()) == not_up(
        PlatformState(Identity(1, ""), children=[refusing()]), 0.0
    )
    assert told(starting, refusing()).startswith(
        "not everything is ready:\n  router: restarting, 1 restarts, last exit 78"
    )
    assert told(FAILED[3]) == "not everything is ready:\n  kafka: held, 2 restarts. the disk is full"


async def test_a_record_at_which_places_stand_still_is_told_of_and_not_waited_for() -> None:
    stops = iter([{"events.jobs/2@7": "it has just begun"}, {"events.jobs/3@23": "its checksum is wrong"}] * 2)
    asked: list[float] = []

    async def ask() -> list[dict[str, Any]]:
        asked.append(now)
        return [{"stopped": {}}, {"stopped": next(stops)}]

    standing = Standing(ask)
    for now in (0.0, LOOK_SECONDS, LOOK_SECONDS + 1, 2 * LOOK_SECONDS, 3 * LOOK_SECONDS):
        await standing.look(now)  # another record each time: they were tried again
    assert asked == [LOOK_SECONDS, 2 * LOOK_SECONDS, 3 * LOOK_SECONDS]
    next(stops)
    stops = iter([{"events.jobs/2@7": "its checksum is wrong"}])
    now = 4 * LOOK_SECONDS
    with pytest.raises(EmbeddedError, match=r"(?s)  events\.jobs/2@7: its checksum is wrong\n'forgelog repair' shows"):
        await standing.look(now)


def test_a_program_that_prepares_something_is_ended_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that the keeper of a child knows, so that it says so and tries again."""
    monkeypatch.setattr(process_module, "STEP_SECONDS", 0.01)
    with pytest.raises(EmbeddedError, match="formatting took longer than 0 s, and was ended"):
        run_through("formatting", [sys.executable, "-c", SLEEPS])


async def test_a_child_that_only_answers_late_has_not_failed(tmp_path: Path) -> None:
    answers: list[EmbeddedError | bool] = [Slow("it does not answer within 3 s"), EmbeddedError("taken"), True]
    seen: list[tuple[str, str, bool]] = []

    async def probe() -> bool:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, EmbeddedError):
            raise answer
        return answer

    spec = Spec("child", [sys.executable, "-c", SLEEPS], tmp_path / "child.log", {"MARK": str(tmp_path)}, grace=2.0)
    plan = Plan("child", "service", lambda: spec, lambda: None, probe)
    keeper = Keeper(plan, lambda: seen.append((keeper.state.state, keeper.state.problem, keeper.state.slow)))
    keeper.start()
    assert await until(lambda: keeper.up, PATIENCE)
    await keeper.stop()
    late, taken, up = (
        ("starting", "it does not answer within 3 s", True),
        ("starting", "taken", False),
        ("ready", "", False),
    )
    assert [each for each in seen if each in (late, taken, up)] == [late, taken, up]


def test_without_a_terminal_a_line_now_and_then_says_what_is_waited_for_and_one_at_once_what_has_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(up_progress, "time", SimpleNamespace(monotonic=lambda: now))

    def look(*children: ChildState) -> list[str]:
        progress.children(PlatformState(Identity(1, ""), children=list(children)))
        return capsys.readouterr().err.splitlines()

    with UpProgress() as progress:
        assert look(STARTING) == []
        now = 15.0
        assert look(STARTING) == ["waiting for kafka (starting)"]
        now = 20.0
        assert look(STARTING) == []
        assert look(child("restarting", restarts=3, last_exit="exit 1", problem="The end of its log:\n  no room")) == [
            "kafka has failed (exit 1), and is tried again: no room"
        ]
        assert look(child("starting", restarts=3)) == []
        assert look(child("ready", restarts=3)) == []
        now = 60.0
        assert look(child("ready", restarts=3)) == []


def test_orders_that_wait_for_an_answer_are_not_told_of() -> None:
    """A service that is asked may be down for as long as the start takes."""
    stops = [
        SimpleNamespace(position=f"events.jobs/0@{number}", cause="why", skippable=skippable, kind=kind)
        for number, (skippable, kind) in enumerate(
            [(True, "orders"), (True, "input"), (False, "writer"), (True, "tables")]
        )
    ]
    assert undecided(stops) == {"events.jobs/0@1": "why", "events.jobs/0@3": "why"}
