"""What a warden promises: one start, the whole tree ended, and the truth written down. Real processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from events.language.jobs import ExitReason
from services.resources.agent import native
from tests.unit.agent.wards import Wards, running, until, wards

DAEMON = """
import os, time
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.write(tell, b".")
        time.sleep(1000)
    os._exit(0)
os.wait()
os.read(told, 1)
"""
"""Python that leaves a daemon: forked twice, in a session of its own, its parents gone."""


SHOWS = """
import os, resource, time
print(os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE)[0], "ready", sep="\\n", flush=True)
time.sleep(1000)
"""
"""Python that shows where it runs and stays."""


def until_told(folder: Path) -> str:
    """A script that waits until there is a file `go` in the folder."""
    return f"while [ ! -e '{folder}/go' ]; do sleep 0.02; done"


def of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.fixture
async def ward(tmp_path: Path, program: Path | None) -> AsyncIterator[Wards]:
    async with wards(tmp_path, program) as made:
        yield made


async def test_a_command_s_exit_code_and_output_are_kept(ward: Wards) -> None:
    before = time.time()
    answer = await ward.start("a", "sh", "-c", "echo out; echo err >&2; exit 3")
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code, exit.signal) == (ExitReason.EXITED, 3, None)
    assert (ward.file("a", "stdout"), ward.file("a", "stderr")) == ("out\n", "err\n")
    assert before <= answer.started_at <= exit.ended_at <= time.time()
    assert json.loads(ward.file("a", "task.json")) == {
        "note": "kept",
        "warden": answer.warden,
        "warden_ticks": answer.warden_ticks,
    }
    started = {"pid": answer.pid, "ticks": answer.ticks, "started_at": answer.started_at}
    assert json.loads(ward.file("a", "started.json")) == started


REOPENS = """
echo one; echo two > /dev/stdout; echo three
echo e1 >&2; echo e2 > /dev/stderr; echo e3 | tee /dev/stderr > /dev/null; echo e4 >&2
"""


async def test_what_was_printed_before_a_stream_is_opened_anew_is_kept(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", REOPENS)
    assert (await ward.exit("a")).exit_code == 0
    assert ward.file("a", "stdout").split() == ["one", "two", "three"]
    assert ward.file("a", "stderr").split() == ["e1", "e2", "e3", "e4"]


async def test_output_beyond_the_limit_is_counted_and_blocks_nobody(ward: Wards) -> None:
    script = "head -c 300000 /dev/zero; head -c 50000 /dev/zero >&2"
    await ward.start("a", "sh", "-c", script, output_bytes=100_000)
    assert (await ward.exit("a")).exit_code == 0
    kept = [len(ward.file("a", name)) for name in ("stdout", "stderr")]
    cut = json.loads(ward.file("a", "cut.json"))
    assert sum(kept) == 100_000
    assert (kept[0] + cut["stdout"], kept[1] + cut["stderr"]) == (300_000, 50_000)


async def test_a_silent_task_has_no_files_of_its_streams(ward: Wards) -> None:
    await ward.start("a", "true")
    await ward.exit("a")
    assert {path.name for path in (ward.tasks / "a").iterdir()} == {"task.json", "started.json", "exit.json"}


@pytest.mark.parametrize("make", ["mkfifo", "ln -s ../../other", "mkdir"])
async def test_what_a_task_puts_in_place_of_its_output_stops_nobody(ward: Wards, tmp_path: Path, make: str) -> None:
    place = f"'{ward.tasks / 'a' / 'stdout'}'"
    await ward.start("a", "sh", "-c", f"rm -f {place}; {make} {place}; echo lost; echo kept >&2")
    assert (await ward.exit("a")).exit_code == 0
    assert ward.file("a", "stderr") == "kept\n"
    assert json.loads(ward.file("a", "cut.json")) == {"stdout": 5, "stderr": 0}
    assert not (tmp_path / "other").exists()


async def test_output_within_the_limit_is_whole_and_nothing_is_cut(ward: Wards) -> None:
    await ward.start("a", "head", "-c", "1000000", "/dev/zero", output_bytes=1_000_000)
    assert (await ward.exit("a")).exit_code == 0
    assert (ward.tasks / "a" / "stdout").stat().st_size == 1_000_000
    assert not (ward.tasks / "a" / "cut.json").exists()


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("kill -SEGV $$", None, signal.SIGSEGV),
        ("kill -9 $$", None, signal.SIGKILL),
        ("exit 137", 137, None),
        ("exit 255", 255, None),
        ("cat", 0, None),
    ],
)
async def test_a_signal_is_told_from_an_exit_code(
    ward: Wards, script: str, code: int | None, number: signal.Signals | None
) -> None:
    await ward.start("a", "sh", "-c", script)
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code, exit.signal) == (ExitReason.EXITED, code, number)


async def test_a_command_of_many_arguments_runs(ward: Wards) -> None:
    await ward.start("a", "true", *["x" * 100] * 9_000)
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 0)


async def test_an_argument_that_the_kernel_refuses_is_said(ward: Wards) -> None:
    await ward.start("a", "true", "x" * 131_072)
    exit = await ward.exit("a")
    assert (exit.reason, exit.message) == (ExitReason.SPAWN_FAILED, "'true' can't be started: Argument list too long")


async def test_usage_counts_the_whole_tree(ward: Wards) -> None:
    work = "x = bytearray(60_000_000)\nfor i in range(3_000_000): pass"
    await ward.start("a", "sh", "-c", f"'{sys.executable}' -S -c '{work}' & wait")
    exit = await ward.exit("a")
    assert exit.exit_code == 0
    assert exit.max_rss_bytes > 60_000_000
    assert exit.cpu_seconds > 0.01


async def test_a_process_stands_alone(ward: Wards) -> None:
    # Python, since a shell forks and executes: amid that it has signals blocked and files open that are not the task's.
    answer = await ward.start("a", sys.executable, "-S", "-c", SHOWS)
    await ward.printed("a", "ready")
    folder, cores, _ = ward.file("a", "stdout").splitlines()
    assert folder == str(ward.scratch / "a" / "work")
    assert cores == "0"
    assert os.getsid(answer.pid) == answer.pid != os.getsid(answer.warden) == answer.warden
    opened = {os.readlink(f"/proc/{answer.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{answer.pid}/fd")}
    assert len(opened) == 3
    assert os.devnull in opened
    assert sum(name.startswith("pipe:") for name in opened) == 2
    blocked = next(line for line in of_process(answer.pid, "status").splitlines() if b"SigBlk" in line)
    assert int(blocked.split()[1], 16) == 0


async def test_variables_and_secrets_are_in_no_argv(ward: Wards) -> None:
    answer = await ward.start("a", "sh", "-c", "echo ready; sleep 1000", env={"TOKEN": "s3cret-value"})
    await ward.printed("a", "ready")
    assert b"TOKEN=s3cret-value" in of_process(answer.pid, "environ").split(b"\0")
    seen = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]  # None: a zombie's
    assert any("sleep 1000" in line for line in seen)
    assert not [line for line in seen if "s3cret-value" in line]


async def test_secret_files_are_private_and_go_with_the_task(ward: Wards) -> None:
    script = 'stat -c %a "$FORGELOG_SECRETS" "$FORGELOG_SECRETS/key"; cat "$FORGELOG_SECRETS/key"'
    where = str(ward.scratch / "a" / "secrets")
    await ward.start("a", "sh", "-c", script, env={"FORGELOG_SECRETS": where}, secrets={"key": "value\n"})
    assert (await ward.exit("a")).exit_code == 0
    assert ward.file("a", "stdout").splitlines() == ["700", "400", "value"]
    assert not os.listdir(where)


async def test_an_environment_larger_than_a_message_arrives(ward: Wards) -> None:
    big = "x" * 100_000
    await ward.start("a", "sh", "-c", 'printf %s "$BIG" | wc -c', env={"BIG": big})
    assert (await ward.exit("a")).exit_code == 0
    assert ward.file("a", "stdout").strip() == "100000"


async def test_a_stop_ends_the_whole_tree(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", "sleep 1000 & sleep 1000 & echo $$ $!; wait")
    await ward.printed("a", "\n")
    tree = psutil.Process(ward.started["a"].pid).children(recursive=True)
    assert len(tree) == 2
    ward.stop("a", grace=1000)
    exit = await ward.exit("a")
    assert (exit.reason, exit.signal) == (ExitReason.STOPPED, signal.SIGTERM)
    assert not [process for process in tree if running(process.pid)]


async def test_a_task_may_end_gracefully(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    await ward.printed("a", "ready")
    ward.stop("a", grace=20)
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code) == (ExitReason.STOPPED, 0)
    assert "saved" in ward.file("a", "stdout")


async def test_who_ignores_term_is_killed_after_the_grace(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
    await ward.printed("a", "ready")
    ward.stop("a", grace=0.5)
    exit = await ward.exit("a")
    assert (exit.reason, exit.signal) == (ExitReason.STOPPED, signal.SIGKILL)
    assert "asked" in ward.file("a", "stdout")


async def test_a_more_urgent_stop_shortens_the_grace(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
    await ward.printed("a", "ready")
    ward.stop("a", grace=1000)
    await ward.printed("a", "asked")
    ward.stop("a", reason="lost", grace=0)
    exit = await ward.exit("a")
    assert (exit.reason, exit.signal) == (ExitReason.STOPPED, signal.SIGKILL)


@pytest.mark.parametrize("deaf", [False, True], ids=["", "that ignores TERM"])
async def test_a_daemon_does_not_get_away(ward: Wards, deaf: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else ""
    await ward.start("a", sys.executable, "-S", "-c", ignore + DAEMON, grace=0.2 if deaf else 5)
    exit = await ward.exit("a")
    daemon = int(ward.file("a", "stdout"))
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 0)
    assert not running(daemon)


async def test_a_runtime_limit_is_kept(ward: Wards) -> None:
    await ward.start("a", "sleep", "1000", max_runtime=0.3)
    exit = await ward.exit("a")
    assert (exit.reason, exit.signal) == (ExitReason.TIMEOUT, signal.SIGTERM)
    assert exit.message == "still ran after 0.3 s, its max_runtime_seconds"


@pytest.mark.parametrize(
    ("command", "cwd", "problem"),
    [
        ("no-such-command", "", "'no-such-command' is not found; PATH on this node is "),
        ("/etc/passwd", "", "'/etc/passwd' can't be started: Permission denied"),
        ("/tmp", "", "'/tmp' can't be started: Permission denied"),
        ("/no/such/file", "", "'/no/such/file' can't be started: No such file or directory"),
        ("true", "/no/such/folder", "'true': working_directory '/no/such/folder' can't be entered: No such file"),
        ("a\0b", "", "'a\\x00b' can't be started: embedded null"),
    ],
)
async def test_what_can_t_be_started_says_why(ward: Wards, command: str, cwd: str, problem: str) -> None:
    answer = await ward.start("a", command, cwd=cwd)
    exit = await ward.exit("a")
    assert (answer.pid, exit.reason) == (0, ExitReason.SPAWN_FAILED)
    assert exit.message.startswith(problem)


async def test_an_attempt_is_started_once(ward: Wards) -> None:
    first = await ward.start("a", "sleep", "1000")
    folders = {"folder": str(ward.tasks / "a"), "task_folder": str(ward.scratch / "a")}
    second = await ward.launching.launch(
        {"key": "a", **folders, "record": {}, "command": "true", "args": [], "env": {}}
    )
    assert (second.claimed, second.pid) == (True, 0)
    assert running(first.pid)


async def test_a_folder_that_can_t_be_made_is_said(ward: Wards) -> None:
    folders = {"folder": "/no/such/folder/x", "task_folder": str(ward.scratch / "x")}
    answer = await ward.launching.launch({"key": "x", **folders, "record": {}})
    assert "can't be made: No such file or directory" in answer.error


async def test_tasks_outlive_launcher_and_agent(tmp_path: Path, program: Path | None) -> None:
    async with wards(tmp_path, program) as ward:
        answer = await ward.start("a", "sh", "-c", f"{until_told(tmp_path)}; exit 7")
        launcher = ward.launching.pid
        ward.started.clear()  # the agent forgets; the warden is on its own
    await until(lambda: not running(launcher), "the launcher has not ended with its agent")
    assert running(answer.warden)
    (tmp_path / "go").touch()
    assert (await ward.exit("a")).exit_code == 7


async def test_a_killed_launcher_is_replaced_and_no_task_lost(ward: Wards, tmp_path: Path) -> None:
    first = await ward.start("a", "sh", "-c", f"{until_told(tmp_path)}; exit 4")
    launcher = ward.launching.pid
    os.kill(launcher, signal.SIGKILL)
    for number in range(20):
        await ward.start(f"b{number}", "true")
    assert ward.launching.pid != launcher
    assert running(first.warden)
    for number in range(20):
        assert (await ward.exit(f"b{number}")).exit_code == 0
    (tmp_path / "go").touch()
    assert (await ward.exit("a")).exit_code == 4


async def test_a_launcher_that_left_a_process_with_its_socket_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was killed right after it forked: the socket's end is never told, and nobody answers."""
    built = native.launcher()
    if built is None:
        pytest.skip("there is no C compiler here")
    monkeypatch.setattr("services.resources.agent.launching.PATIENCE", 0.2)
    script = tmp_path / "launcher"
    left = tmp_path / "left"
    script.write_text(f"#!/bin/sh\n[ -e '{left}' ] && exec '{built}' \"$@\"\nsleep 1000 & echo $! > '{left}'\n")
    script.chmod(0o700)
    try:
        async with wards(tmp_path, script) as ward:
            await ward.start("a", "sh", "-c", "exit 3")
            assert (await ward.exit("a")).exit_code == 3
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


async def test_many_tasks_at_once(ward: Wards) -> None:
    keys = [f"t{number}" for number in range(200)]
    answers = await asyncio.gather(*(ward.start(key, "sh", "-c", "echo $$") for key in keys))
    assert len({answer.pid for answer in answers}) == len(keys)
    for key, answer in zip(keys, answers, strict=True):
        assert (await ward.exit(key)).exit_code == 0
        assert int(ward.file(key, "stdout")) == answer.pid


def test_a_launcher_that_can_t_be_built_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.launcher(tmp_path / "cache") is None


# What a task does to its warden and its folder


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
async def test_a_task_s_signal_to_its_warden_changes_nothing(ward: Wards, name: str) -> None:
    await ward.start("a", "sh", "-c", f"kill -{name} $PPID; sleep 0.1; exit 3")
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)


async def test_a_task_that_removes_its_folder_ends_as_it_says(ward: Wards) -> None:
    script = 'cd ..; rm -rf ./*; rm -rf "$PWD"; exit 3'
    await ward.start("a", "sh", "-c", script, secrets={"key": "value"})
    exit = await ward.exit("a")
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)
    assert not (ward.scratch / "a").exists()


async def test_a_task_that_puts_a_link_in_place_of_its_secrets_loses_nothing_else(ward: Wards, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    script = f"cd ..; rm -rf secrets; ln -s {tmp_path}/other secrets"
    await ward.start("a", "sh", "-c", script, secrets={"key": "value"})
    assert (await ward.exit("a")).exit_code == 0
    assert (tmp_path / "other" / "file").exists()


@pytest.mark.parametrize("forged", ["", "[]", "{", '{"reason": "stopped"}', '{"reason":"a","message":"b","grace":"x"}'])
async def test_a_stop_request_that_can_t_be_read_is_a_stop(ward: Wards, forged: str) -> None:
    answer = await ward.start("a", "sleep", "1000", grace=5)
    (ward.tasks / "a" / "stop.json").write_text(forged)
    os.kill(answer.warden, signal.SIGTERM)
    exit = await ward.exit("a")
    assert exit.signal == signal.SIGTERM


async def test_a_task_whose_notes_are_gone_can_still_be_ended(ward: Wards) -> None:
    answer = await ward.start("a", "sh", "-c", "echo ready; exec sleep 1000")
    await ward.printed("a", "ready")
    await until((ward.tasks / "a" / "started.json").exists, "its start is not noted")
    shutil.rmtree(ward.tasks / "a")
    (ward.tasks / "a").mkdir()
    ward.stop("a", grace=0)
    await until(lambda: not running(answer.warden), "the warden lives")
    assert not running(answer.pid)
