"""Given a task that harms its warden, its notes or its folder, then its attempt ends, and nothing else does.

Real launchers, wardens and processes; what the log and Kafka would do is only noted down.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from events.language.common import DEFAULT_PROJECT
from events.language.jobs import ExitReason
from events.language.jobs.spec import JobEnvironment, JobLaunch, JobResources, SecretRef
from events.language.resources import AllocationBound
from services.resources.agent import native, proctree, running
from services.resources.agent.attempts import Attempt, Exit, Stop, Task
from services.resources.agent.bundles import Bundles
from services.resources.agent.environment import Around
from services.resources.agent.folders import Folders
from services.resources.agent.launching import Launching
from services.resources.agent.output import Output
from services.resources.agent.reports import EXITED, FREED, STARTED, Reports
from services.resources.agent.running import OUTPUT, Running
from services.resources.agent.store import Found, Store
from tests.unit.agent.wards import running as is_running
from tests.unit.agent.wards import until

GO = "until [ -e go ]; do sleep 0.01; done"
"""Shell that waits for `Node.go`."""


class Told(list[tuple[str, str]]):
    """What would be reported to the log: kind and key."""

    def add(self, kind: str, attempt: Attempt) -> None:
        self.append((kind, attempt.key))


class Shipping:
    """Stands for the output: notes who is followed and who is finished."""

    def __init__(self) -> None:
        self.fails = False
        self.finished: list[str] = []

    def follow(self, attempt: Attempt) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")

    def finish(self, attempt: Attempt) -> None:
        self.finished.append(attempt.key)

    def digest(self, attempt: Attempt, done: Callable[[Attempt], None]) -> None:
        done(attempt)


class Node:
    """An agent's attempts without the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder)
        self.store.open()
        around = Around("n1", folder, folder / "secrets", "", os.environ)
        bundles = Bundles(self.store.bundles, around.objects, 1 << 30, 0o022)
        self.running = Running(self.store, around, lambda: True, Folders(self.store, lambda: bundles))
        self.told, self.shipping = Told(), Shipping()

    def attempt(self, script: str, key: str = "a", grace: float = 5.0, secrets: Sequence[str] = ()) -> Attempt:
        allocation = f"{key}.{os.getpid()}"  # processes are told by it: another run on this machine has others
        launch = JobLaunch(
            name=key,
            command="sh",
            args=("-c", script),
            environment=JobEnvironment(secrets=tuple(SecretRef(name=name) for name in secrets)),
            array_size=1,
            grace_seconds=grace,
        )
        bound = AllocationBound(
            pool="default",
            project=DEFAULT_PROJECT,
            allocation_id=allocation,
            job_id=f"job-{key}",
            node_id="n1",
            tasks="0",
            attempt=1,
            resources=JobResources(),
            launch=launch,
        )
        task = Task(allocation, f"job-{key}", 0, 1, DEFAULT_PROJECT, "boot", grace, 1 << 40, secrets=tuple(secrets))
        made = Attempt(task, bound=bound)
        self.running.attempts[made.key] = made
        return made

    async def started(self, script: str, key: str = "a", grace: float = 5.0) -> Attempt:
        """An attempt whose process runs and has printed ``ready``."""
        attempt = self.attempt(f"echo ready; {script}", key, grace)
        self.running.act(attempt)
        printed = self.store.tasks / attempt.key / "stdout"
        await until(lambda: printed.exists() and "ready" in printed.read_text(), "it does not start")
        await until(lambda: attempt.pid, "its start is not told")
        return attempt

    def go(self, attempt: Attempt) -> None:
        """Let a script of `GO` go on."""
        (self.store.scratch / attempt.key / "work" / "go").touch()

    async def noted(self, attempt: Attempt) -> None:
        """Wait until its warden has nothing more to write before its end."""
        await until((self.store.tasks / attempt.key / "started.json").exists, "its start is not noted")

    async def ended(self, attempt: Attempt) -> Exit:
        """How it ended, once that is told."""
        exit = await until(lambda: attempt.exit, f"{attempt.key} does not end")
        assert [kind for kind, key in self.told if key == attempt.key][-2:] == [EXITED, FREED]
        assert not attempt.pid or not is_running(attempt.pid)
        return cast(Exit, exit)


@pytest.fixture(params=["python", "native"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    program = None
    if request.param == "native" and (program := native.launcher()) is None:
        pytest.skip("there is no C compiler here")
    made = Node(tmp_path)
    async with Launching(made.store.spare, program) as launching:
        made.running.connect(launching, cast(Reports, made.told), cast(Output, made.shipping))
        watching = asyncio.create_task(made.running.watch_trees())
        yield made
        watching.cancel()
        for attempt in made.running.attempts.values():
            if attempt.exit is None and attempt.warden:
                os.kill(attempt.warden, signal.SIGKILL)
                await made.ended(attempt)
        made.running.close()
        made.store.close()


async def test_a_task_that_kills_its_warden_fails_untracked(node: Node) -> None:
    attempt = await node.started(f"setsid sleep 1000 & {GO}; kill -9 $PPID; sleep 1000")
    node.go(attempt)
    exit = await node.ended(attempt)
    assert exit.reason is ExitReason.UNTRACKED
    assert "before it could note how the task ended" in exit.message


async def test_what_a_task_says_of_its_end_is_told_without_its_secrets(node: Node) -> None:
    secret = node.folder / "secrets" / "db"
    secret.write_text("s3cret-word\n")
    say = 'printf "no table\\n at db:%s" "$(cat $FORGELOG_SECRETS/db)" >"$FORGELOG_EXIT_MESSAGE"'
    attempt = node.attempt(f"{say}; exit 3", secrets=["db"])
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code, exit.message) == (ExitReason.EXITED, 3, "no table at db:[redacted]")


async def test_nothing_is_told_where_a_secret_is_not_known_any_more(node: Node) -> None:
    secret = node.folder / "secrets" / "db"
    secret.write_text("s3cret-word\n")
    attempt = node.attempt('cat $FORGELOG_SECRETS/db >"$FORGELOG_EXIT_MESSAGE"; rm ../../../secrets/db', secrets=["db"])
    node.running.act(attempt)
    message = (await node.ended(attempt)).message
    assert "its secret 'db', which must not be in it, can't be read any more" in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ("ln -s /etc/passwd $FORGELOG_EXIT_MESSAGE", ""),
        ("mkfifo $FORGELOG_EXIT_MESSAGE", ""),
        ("mkdir $FORGELOG_EXIT_MESSAGE", ""),
        ("head -c 70000 /dev/zero >$FORGELOG_EXIT_MESSAGE", "64 KiB or more; write a line"),
        ("printf '\\377\\000x' >$FORGELOG_EXIT_MESSAGE", "x"),
    ],
)
async def test_a_message_that_is_none_harms_nobody(node: Node, left: str, told: str) -> None:
    attempt = node.attempt(f"{left}; exit 4")
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert exit.exit_code == 4
    assert told in exit.message
    assert "root:" not in exit.message
    assert "\0" not in attempt.end().message


async def test_a_task_that_writes_its_own_end_and_lives_on_is_not_believed(node: Node) -> None:
    note = '{"reason": "exited", "ended_at": 1, "exit_code": 0}'
    notes = "../../../tasks/$(basename $(dirname $PWD))"
    attempt = await node.started(
        f"{GO}; echo '{note}' >{notes}/new; mv {notes}/new {notes}/exit.json; kill -9 $PPID; sleep 1000"
    )
    node.go(attempt)
    exit = await node.ended(attempt)
    assert exit.reason is ExitReason.UNTRACKED
    assert "still ran" in exit.message


async def test_nor_is_one_that_writes_what_a_warden_keeps(node: Node) -> None:
    attempt = await node.started("exec sleep 1000")
    kept = '{"reason": "exited", "ended_at": 1, "exit_code": 0}'
    (node.store.tasks / attempt.key / "exit.json.new").write_text(kept)
    os.kill(attempt.warden, signal.SIGKILL)
    assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED


async def test_nor_is_one_that_does_it_while_no_agent_runs(node: Node) -> None:
    other = await node.started("exec sleep 1000", "b")
    os.kill(other.warden, signal.SIGSTOP)  # nobody watches, nobody learns of its end
    attempt = Attempt(other.task, bound=other.bound)
    exit = Exit(ExitReason.EXITED, 1.0, exit_code=0)
    note = '{"reason": "exited", "ended_at": 1, "exit_code": 0}'
    (node.store.tasks / attempt.key / "exit.json").write_text(note)
    node.running.resume(attempt, Found(other.task, 0, 0, 0, 0, 0.0, alive=False, exit=exit))
    try:
        assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED
        assert not is_running(other.pid)
    finally:
        os.kill(other.warden, signal.SIGKILL)  # stopped, and known to nobody any more


async def test_nor_is_one_that_only_writes_it(node: Node) -> None:
    """Its warden lives, and writes over it in the end."""
    notes = "../../../tasks/$(basename $(dirname $PWD))"
    attempt = await node.started(f'{GO}; echo \'{{"reason": "exited", "exit_code": 0}}\' >{notes}/exit.json; exit 3')
    node.go(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)


async def test_processes_that_hide_from_a_killed_warden_are_ended_too(node: Node) -> None:
    attempt = await node.started("env -i setsid sleep 1000 & echo $!; sleep 1000")
    await until(lambda: len(attempt.seen) == 3, "its processes were not seen")
    hidden = [pid for pid in attempt.seen if pid != attempt.pid]
    os.kill(attempt.warden, signal.SIGKILL)
    assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED
    assert not [pid for pid in hidden if is_running(pid)]


async def test_a_process_that_has_a_dead_warden_s_pid_is_not_taken_for_it(node: Node) -> None:
    other = await node.started("exec sleep 1000", "b")
    attempt = node.attempt("true")
    found = Found(attempt.task, other.warden, other.warden_ticks - 1, 0, 0, 0.0, alive=True, exit=None)
    node.running.resume(attempt, found)  # it lived when its folder was read, and its pid is another's now
    assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED
    assert is_running(other.warden)
    assert is_running(other.pid)


async def test_a_task_that_stops_its_warden_does_not_stop_time(node: Node) -> None:
    attempt = await node.started(f"{GO}; kill -STOP $PPID; exit 3")
    node.go(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)


async def test_a_stop_reaches_a_task_whose_notes_are_gone(node: Node) -> None:
    attempt = await node.started("exec sleep 1000", grace=0.1)
    await node.noted(attempt)
    shutil.rmtree(node.store.tasks / attempt.key)
    attempt.stop = Stop(ExitReason.STOPPED, 0.1, "cancelled")
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.message) == (ExitReason.STOPPED, "cancelled")
    assert not is_running(attempt.warden)


async def test_a_stop_that_the_warden_does_not_carry_out_is_carried_out(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "OVERDUE", 0.1)
    monkeypatch.setattr(running.memory, "CHECK_EVERY", 1000.0)
    attempt = await node.started("exec sleep 1000")
    monkeypatch.setattr(node.store, "ask_to_stop", lambda *_: None)  # as if the task had taken the request away
    attempt.stop = Stop(ExitReason.STOPPED, 0, "cancelled")
    node.running.act(attempt)
    assert (await node.ended(attempt)).reason is ExitReason.STOPPED


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"reason": "finished", "ended_at": 1}',
        '{"reason": "exited", "ended_at": 1e300, "exit_code": 0}',
        '{"reason": "exited", "ended_at": NaN, "exit_code": 0}',
        '{"reason": "exited", "ended_at": 1, "exit_code": 1000}',
        '{"reason": "exited", "ended_at": 1, "exit_code": 0, "max_rss_bytes": -1}',
        '{"reason": "lost", "ended_at": 1}',
        '{"reason": "stopped", "ended_at": 1}',
        "[" * 100_000,
    ],
)
async def test_a_forged_note_of_its_end_is_none(node: Node, note: str) -> None:
    attempt = await node.started("exec sleep 1000")
    (node.store.tasks / attempt.key / "exit.json").write_text(note)
    os.kill(attempt.warden, signal.SIGKILL)
    assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED


@pytest.mark.parametrize(
    ("note", "wanted"),
    [
        ('{"reason": "exited", "ended_at": 1, "exit_code": 3}', (ExitReason.EXITED, 3)),
        ('{"reason": "lost", "ended_at": 1}', (ExitReason.UNTRACKED, None)),
        ('{"reason": "exited", "ended', (ExitReason.UNTRACKED, None)),
        ("\0" * 4096, (ExitReason.UNTRACKED, None)),
    ],
    ids=["whole", "forged", "cut", "only the room for it"],
)
async def test_a_note_that_its_warden_could_not_publish_counts_once_it_is_gone(
    node: Node, note: str, wanted: tuple[ExitReason, int | None]
) -> None:
    attempt = await node.started("exec sleep 1000")
    (node.store.tasks / attempt.key / "exit.json.new").write_text(note)
    assert node.store.exit_of(attempt.key) is None
    os.kill(attempt.warden, signal.SIGKILL)
    os.kill(attempt.pid, signal.SIGKILL)
    _until_dead(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code) == wanted


def _renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def _replaced(folder: Path) -> None:
    _renamed(folder)
    folder.mkdir()


def _copied(folder: Path) -> None:
    _renamed(folder)
    shutil.copytree(folder.with_name("elsewhere"), folder)


tampered = pytest.mark.parametrize("tamper", [_renamed, _replaced, _copied])


@tampered
async def test_a_task_that_renames_its_control_folder_is_stopped_as_any(
    node: Node, tamper: Callable[[Path], None]
) -> None:
    attempt = await node.started("exec sleep 1000")
    await node.noted(attempt)
    tamper(node.store.tasks / attempt.key)
    node.running.tell_to_stop(attempt, Stop(ExitReason.STOPPED, 100.0, "by the test"))
    exit = await node.ended(attempt)
    assert (exit.reason, exit.signal, exit.message) == (ExitReason.STOPPED, signal.SIGTERM, "by the test")


@tampered
async def test_the_end_of_a_task_that_renames_its_control_folder_is_known(
    node: Node, tamper: Callable[[Path], None]
) -> None:
    attempt = await node.started(f"{GO}; exit 3")
    await node.noted(attempt)
    tamper(node.store.tasks / attempt.key)
    node.go(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)


async def test_an_agent_that_finds_another_folder_in_place_of_a_task_s_stops_it_all_the_same(node: Node) -> None:
    attempt = await node.started("exec sleep 1000")
    await node.noted(attempt)
    _copied(node.store.tasks / attempt.key)
    node.store.leave(attempt.key)  # as a new agent, which knows the folder by its path
    node.running.tell_to_stop(attempt, Stop(ExitReason.STOPPED, 100.0, "by the test"))
    assert (await node.ended(attempt)).reason is ExitReason.STOPPED


async def test_a_pipe_in_place_of_a_note_holds_nothing_up(node: Node) -> None:
    attempt = await node.started("exec sleep 1000")
    os.mkfifo(node.store.tasks / attempt.key / "exit.json")
    os.kill(attempt.warden, signal.SIGKILL)
    assert (await node.ended(attempt)).reason is ExitReason.UNTRACKED


async def test_an_error_in_one_attempt_is_its_end_and_no_other_s(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await node.started("sleep 0.5; exit 4", "b")
    attempt = await node.started("exec sleep 1000")
    monkeypatch.setattr(node.store, "ask_to_stop", broken_for(attempt.key, node.store.ask_to_stop))
    attempt.stop = Stop(ExitReason.STOPPED, 0, "cancelled")
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert exit.reason is ExitReason.UNTRACKED
    assert "its node's agent met an error in following it: RuntimeError: broken" in exit.message
    assert (await node.ended(other)).exit_code == 4


def broken_for(key: str, step: Callable[..., Any]) -> Callable[..., Any]:
    def breaks(each: str, *more: Any) -> Any:
        if each == key:
            raise RuntimeError("broken")
        return step(each, *more)

    return breaks


async def test_an_attempt_that_can_t_be_described_is_told_as_not_started(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = node.attempt("true")
    monkeypatch.setattr(node.running._around, "spec", lambda _: {}["folder"])
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.message) == (ExitReason.SPAWN_FAILED, "KeyError: 'folder'")


async def test_output_that_can_t_be_followed_does_not_keep_the_end_from_being_told(node: Node) -> None:
    attempt = node.attempt("true")
    attempt.stop = Stop(ExitReason.STOPPED, 0, "cancelled")
    node.shipping.fails = True
    node.running.act(attempt)
    await node.ended(attempt)
    assert attempt.unsettled == {EXITED, FREED}


async def test_what_the_pool_believes_to_run_here_and_is_not_found_is_ended_and_told(node: Node) -> None:
    attempt = await node.started("exec sleep 1000")
    del node.running.attempts[attempt.key]  # as a restarted agent that finds no folder of it
    again = Attempt(attempt.task)
    node.running.lost_track(again)
    exit = await node.ended(again)
    assert (exit.reason, exit.message) == (ExitReason.LOST, "node n1 has no trace of it (any more)")
    assert not is_running(attempt.pid)
    assert (STARTED, again.key) in node.told  # the first one's


async def test_a_task_that_ended_and_is_settled_is_put_away(node: Node) -> None:
    attempt = await node.started("exit 3")
    await node.ended(attempt)
    for what in (EXITED, FREED, OUTPUT):
        node.running.on_settled(attempt, what)
    assert node.running.settled == [attempt]
    assert node.running.attempts == {}
    note = json.loads((node.store.tasks / attempt.key / "exit.json").read_text())
    assert (note["reason"], note["exit_code"]) == ("exited", 3)


async def test_many_failed_attempts_leave_no_descriptor_and_no_folder(node: Node) -> None:
    before = len(os.listdir("/proc/self/fd"))
    attempts = [node.attempt("exit 3", f"a{number}") for number in range(60)]
    for attempt in attempts:
        node.running.act(attempt)
    for attempt in attempts:
        assert (await node.ended(attempt)).exit_code == 3
        for what in (EXITED, FREED, OUTPUT):
            node.running.on_settled(attempt, what)
        node.store.retire(attempt.key, keep=False)
    await asyncio.to_thread(node.store.tidy)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert node.running.attempts == {}
    left = [path for name in ("tasks", "scratch", "trash") for path in (node.folder / name).iterdir()]
    assert left == []


def _until_dead(attempt: Attempt) -> None:
    """Blocks, so that the agent, which runs in this thread, learns of nothing before."""
    while proctree.alive(attempt.pid, attempt.ticks):
        time.sleep(0.001)
