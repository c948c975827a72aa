"""The command line against a real platform: every command, its JSON, its exit codes, and what it says when it can't."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow.parquet
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from events.language.contexts import contexts
from events.language.jobs import JobCompleted, JobStarted
from events.language.resources import NodeDrained, NodeRegistered, NodeRemoved
from events.log import topics
from events.log.producer import Producer, ToSend
from events.projections.positions import live_schema
from tests import PATIENCE
from tests.access import environment
from tests.conftest import Servers, own_settings
from tests.integration.cluster import FORGELOG, Cluster, cluster

pytestmark = pytest.mark.slow

SMALL = ["--cpus", "0.1", "--memory", "64Mi"]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    platform: Cluster
    environment: dict[str, str]

    async def __call__(
        self, *arguments: str, input: str = "", folder: Path | None = None, **environment: str
    ) -> Result:
        done = await asyncio.to_thread(
            subprocess.run,
            [*FORGELOG, *arguments],
            env={**self.environment, **environment},
            cwd=folder,
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    async def json(self, *arguments: str) -> Any:
        command, *options = arguments
        result = (
            await self(command, "--output", "json", *options)
            if "--" in options
            else await self(*arguments, "-o", "json")
        )
        assert result.code == 0, result
        return result.data


async def known(forgelog: Cli, id: str) -> None:
    """Wait until the tables have a job that was not submitted by the command line, which waits for them itself."""
    async with asyncio.timeout(PATIENCE):
        while (await forgelog("show", id)).code != 0:
            pass


@pytest_asyncio.fixture(scope="module")
async def forgelog(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cli]:
    folder: Path = tmp_path_factory.mktemp("platform")
    async with own_settings(servers, folder) as settings, cluster(settings, folder, gateway=True) as platform:
        await platform.event(NodeRegistered)
        given = {
            **platform.place,
            **environment(settings),
            "FORGELOG_PREFIX": settings.prefix,
            "FORGELOG_SCHEMA": settings.schema_,
            "FORGELOG_DATA": str(folder),
            "COLUMNS": "200",
        }
        yield Cli(platform, {**os.environ, **given})


@pytest_asyncio.fixture(scope="module")
async def sweep(forgelog: Cli) -> str:
    """An ended array with one failed task."""
    script = "echo out $FORGELOG_TASK; echo err >&2; test $FORGELOG_TASK != 1"
    made = await forgelog.json(
        "submit", *SMALL, "--array", "3", "--name", "sweep", "-l", "team=vision", "--", "sh", "-c", script
    )
    id: str = made[0]["job_id"]
    assert (await forgelog("wait", id)).code == 1
    return id


async def test_run_shows_the_output_and_exits_with_the_job_s_code(forgelog: Cli) -> None:
    result = await forgelog("run", *SMALL, "--", "sh", "-c", "echo hello; echo oops >&2; exit 7")
    assert (result.code, result.out) == (7, "hello\n")
    assert "oops" in result.err


async def test_run_and_submit_work_in_the_caller_s_folder(forgelog: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import sys; print('trained with', *sys.argv[1:])")
    result = await forgelog("run", *SMALL, "--", "python3", "train.py", "--lr", "0.1", folder=tmp_path)
    assert (result.code, result.out) == (0, "trained with --lr 0.1\n")
    (tmp_path / "job.yaml").write_text(
        "name: train\ncommand: [python3, train.py]\nresources: {cpus: 0.1, memory: 64Mi}\n"
    )
    assert (await forgelog("submit", "--wait", "job.yaml", folder=tmp_path)).code == 0


async def test_chdir_begins_where_the_caller_is(forgelog: Cli, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    here = await forgelog("run", *SMALL, "--chdir", ".", "--", "pwd", folder=tmp_path)
    below = await forgelog("run", *SMALL, "--chdir", "sub", "--", "pwd", folder=tmp_path)
    assert (here.out, below.out) == (f"{tmp_path}\n", f"{tmp_path}/sub\n")
    fresh = await forgelog("run", *SMALL, "--no-chdir", "--", "sh", "-c", "pwd; ls", folder=tmp_path)
    assert fresh.out.strip().endswith("/work")


@pytest.mark.parametrize("absent", ["absent", "/absent"])
async def test_an_absent_folder_is_refused_before_the_submit(forgelog: Cli, tmp_path: Path, absent: str) -> None:
    result = await forgelog("run", "--job-id", "nowhere", "--chdir", absent, "--", "pwd", folder=tmp_path)
    assert result.code == 2
    assert f"there is no folder {tmp_path / absent}" in result.err
    assert "there is no job 'nowhere'" in (await forgelog("show", "nowhere")).err


async def test_on_a_node_that_sees_another_folder_the_job_gets_one_of_its_own(forgelog: Cli, tmp_path: Path) -> None:
    resources = {"cpus": 0.1, "memory_bytes": 64 << 20}
    for seen in ("network:1", "another-boot:1:1"):
        environment = {"working_directory": str(tmp_path), "working_directory_id": seen}
        job = await forgelog.platform.submit("pwd", environment=environment, resources=resources)
        await known(forgelog, job)
        assert (await forgelog("logs", "-f", job)).out.strip().endswith("/work")


async def test_run_exits_with_128_and_the_signal(forgelog: Cli) -> None:
    assert (await forgelog("run", *SMALL, "--", "sh", "-c", "kill -SEGV $$")).code == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--", "sh", "-c", "exit 3"], "failed: exit code 3"),
        (["--max-runtime", "200ms", "--grace", "1s", "--", "sleep", "1000"], "failed: runtime limit reached: "),
        (["--", "/no/such/program"], "failed: could not be started: "),
    ],
)
async def test_run_says_why_a_job_failed(forgelog: Cli, words: list[str], why: str) -> None:
    result = await forgelog("run", *SMALL, *words)
    assert result.code != 0
    job, said = result.err.splitlines()[0].removeprefix("job "), result.err.splitlines()[-1]
    assert said.startswith(f"job {job} {why}"), result.err
    assert (await forgelog.json("show", job))["job"]["reason"] in said


async def test_ctrl_c_cancels_what_run_started(forgelog: Cli) -> None:
    process = await asyncio.create_subprocess_exec(
        *FORGELOG, "run", *SMALL, "--job-id", "interrupted", "--", "sleep", "1000", env=forgelog.environment
    )
    await forgelog.platform.event(JobStarted, lambda e: e.job_id == "interrupted")
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 143
    assert (await forgelog.json("show", "interrupted"))["job"]["status"] == "cancelled"


async def test_ps_lists_and_filters(forgelog: Cli, sweep: str) -> None:
    listed = await forgelog.json("ps", "-a", "--label", "team=vision", "--status", "failed")
    assert [job["job_id"] for job in listed] == [sweep]
    table = await forgelog("ps", "-a")
    assert sweep in table.out
    assert "failed" in table.out


async def test_show_has_tasks_and_attempts(forgelog: Cli, sweep: str) -> None:
    shown = await forgelog.json("show", sweep)
    assert shown["job"]["exit_code"] == 1
    text = (await forgelog("show", sweep)).out
    assert "sweep" in text
    assert "2 completed" in text or "completed" in text


async def test_show_has_what_the_job_was_given_and_failed_tasks_first(forgelog: Cli, sweep: str) -> None:
    text = (await forgelog("show", sweep)).out
    shown = fields_of(text)
    assert shown["reason"] == "1 of 3 tasks failed; task 1: exit code 1"
    assert shown["resources"] == "0.1 cpus, 64Mi for each task"
    assert shown["limits"] == "10s from TERM to KILL"
    assert shown["labels"] == "team=vision"
    rows = [line.split()[:2] for line in text.split("\n\n")[1].splitlines()[1:]]
    assert rows == [["1", "failed"], ["0", "completed"], ["2", "completed"]]
    await forgelog("submit", *SMALL, "--name", "before", "--job-id", "before-told", "--wait", "--", "false")
    made = await forgelog.json(
        "submit", *SMALL, "-e", "EPOCHS=3", "--retries", "2", "--backoff", "100ms", "--grace", "3s",
        "--after-any", "before-told", "--name", "told", "--", "true",
    )  # fmt: skip
    await forgelog("wait", made[0]["job_id"])
    shown = fields_of((await forgelog("show", "told")).out)
    assert shown["environment"] == "EPOCHS=3"
    assert shown["depends on"] == "after_any before-told (before, failed)"
    assert shown["limits"] == "3s from TERM to KILL"
    assert shown["restarts"] == "after a failure, 2 at most, after 100ms, doubled up to 5m"


def fields_of(text: str) -> dict[str, str]:
    """The ``name: value`` lines that `show` begins with."""
    lines = text.partition("\n\n")[0].splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_why_and_ps_name_the_job_that_is_waited_for(forgelog: Cli) -> None:
    await forgelog("submit", "--cpus", "512", "--name", "first", "--job-id", "first-1", "--", "true")
    await forgelog("submit", *SMALL, "--after", "first", "--job-id", "second-1", "--", "true")
    assert (await forgelog("why", "second-1")).out.splitlines() == [
        "1 task waits for job first-1",
        "",
        "WAITS     JOB      NAME   STATUS  MET",
        "after_ok  first-1  first  queued  no",
    ]
    (job,) = [job for job in await forgelog.json("ps") if job["job_id"] == "second-1"]
    assert (job["reason"], job["waits_for"]) == ("waits for job first-1", ["first-1"])
    assert (await forgelog("cancel", "first", "--wait")).code == 0
    assert (await forgelog("wait", "second-1")).code == 143
    shown = await forgelog.json("show", "second-1")
    assert shown["job"].get("exit_code") is None, "it never ran"
    assert shown["job"]["reason"] == "depends on job first-1 after_ok, which has cancelled"
    assert shown["job"]["waits_for"] == []


async def test_a_job_is_called_by_its_name_or_the_beginning_of_its_id(forgelog: Cli, sweep: str) -> None:
    for called in ("sweep", sweep[:-2]):
        assert (await forgelog.json("show", called))["job"]["job_id"] == sweep
        assert "JobSubmitted" in (await forgelog("history", called)).out
    assert (await forgelog("logs", "sweep/2", "--stream", "stdout")).out.strip().endswith("out 2")
    assert (await forgelog("wait", "sweep")).code == 1
    for number in (1, 2):
        await forgelog("submit", *SMALL, "--name", "twin", "--job-id", f"twin-{number}", "--wait", "--", "true")
    refused = await forgelog("show", "twin")
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: 2 jobs are called 'twin'; say which by its id",
        "  twin-2: completed, twin",
        "  twin-1: completed, twin",
    ]
    refused = await forgelog("cancel", "twin-")
    assert "2 jobs have an id that begins with 'twin-'; write more of it" in refused.err


async def test_history_of_a_command_s_id_says_how_to_follow_it(forgelog: Cli) -> None:
    await forgelog("submit", *SMALL, "--id", "a-command", "--", "true")
    result = await forgelog("history", "a-command")
    assert result.code == 1
    assert "'forgelog history a-command --flow'" in result.err
    assert "JobSubmitted" in (await forgelog("history", "a-command", "--flow")).out


async def test_logs_keep_streams_apart(forgelog: Cli, sweep: str) -> None:
    result = await forgelog("logs", sweep)
    assert sorted(line.split()[-2:] for line in result.out.splitlines()) == [["out", "0"], ["out", "1"], ["out", "2"]]
    assert result.err.count("err") == 3
    one = await forgelog("logs", f"{sweep}/2", "--stream", "stdout")
    assert (one.out.strip().endswith("out 2"), one.err) == (True, "")


async def test_in_a_terminal_of_80_columns_every_table_fits(forgelog: Cli, sweep: str) -> None:
    for command in (["ps", "-a"], ["show", sweep], ["nodes"], ["queue"], ["history", sweep], ["nodes", "show", "n0"]):
        lines = await asyncio.to_thread(in_a_terminal, [*FORGELOG, *command], forgelog.environment, 80)
        assert lines
        assert [line for line in lines if len(line) > 80] == [], command
        if command[0] == "ps":
            assert any(line.startswith(f"{sweep}  sweep") for line in lines), "an id is never broken"


def in_a_terminal(command: list[str], environment: dict[str, str], columns: int) -> list[str]:
    """What a command shows in a terminal of so many columns, without colours."""
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with subprocess.Popen(
        command,
        env={name: value for name, value in environment.items() if name != "COLUMNS"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    ):
        os.close(terminal)
        with suppress(OSError):  # a terminal that everyone has left reads as an error
            while piece := os.read(main, 65_536):
                shown += piece
    os.close(main)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n").splitlines()


async def test_logs_of_a_task_that_a_job_does_not_have_are_refused(forgelog: Cli, sweep: str) -> None:
    done = await forgelog("logs", f"{sweep}/9")
    assert done.code != 0
    assert "names task 9" in done.err
    assert not done.out


async def test_logs_of_an_attempt_that_a_job_does_not_have_are_refused(forgelog: Cli, sweep: str) -> None:
    shown = await forgelog.json("show", sweep)
    newest = max(attempt["attempt"] for attempt in shown["attempts"])
    done = await forgelog("logs", sweep, "--attempt", str(newest + 1))
    assert done.code == 1
    assert f"attempt: is {newest + 1}, and the newest attempt of job {sweep} is {newest}" in done.err
    assert (await forgelog("logs", sweep, "--attempt", str(newest))).code == 0


async def test_logs_for_programs_are_exact_whatever_was_printed(forgelog: Cli) -> None:
    job = (await forgelog("submit", *SMALL, "--array", "2", "--", "printf", r"\377\000\n")).out.strip()
    await forgelog("wait", job)
    lines = (await forgelog("logs", job, "--output", "json")).out.splitlines()
    data = [base64.b64decode(piece["data_base64"]) for piece in map(json.loads, lines) if "data_base64" in piece]
    assert data == [b"\xff\x00\n"] * 2
    pieces = list(YAML(typ="safe").load_all((await forgelog("logs", job, "--output", "yaml")).out))
    assert [piece["data_base64"] for piece in pieces if "data_base64" in piece] == ["/wAK"] * 2


async def test_logs_follow_a_running_job_to_its_end(forgelog: Cli, tmp_path: Path) -> None:
    script = f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo last"
    id = (await forgelog.json("submit", *SMALL, "--", "sh", "-c", script))[0]["job_id"]
    process = await asyncio.create_subprocess_exec(
        *FORGELOG, "logs", "-f", id, env=forgelog.environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"first\n", "shown while the job runs"
    (tmp_path / "go").touch()
    assert await asyncio.wait_for(process.stdout.read(), 30) == b"last\n"
    assert await process.wait() == 0


async def test_watch_shows_events_as_they_happen(forgelog: Cli) -> None:
    process = await asyncio.create_subprocess_exec(
        *FORGELOG, "watch", "watched", "-c", "jobs", "-o", "json", env=forgelog.environment,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    first = asyncio.create_task(process.stdout.readline())
    number = 0
    while not first.done():  # it shows what comes after it has begun, which nothing tells
        number += 1
        await forgelog("submit", *SMALL, "--job-id", "watched", "--id", f"watched-{number}", "--", "true")
        await forgelog("requeue", "watched")
    event = json.loads(await first)
    assert (event["subject"], event["context"]) == ("watched", "jobs")
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 130


async def why(forgelog: Cli, id: str, word: str) -> None:
    """Ask until the answer has the word: a job is looked at a moment after it has come to its queue."""
    async with asyncio.timeout(PATIENCE):
        while word not in (await forgelog("why", id)).out:
            pass


async def test_what_a_command_did_is_shown_by_the_next_or_it_says_so(forgelog: Cli) -> None:
    settings = forgelog.platform.settings
    id = (await forgelog.json("submit", *SMALL, "--", "true"))[0]["job_id"]
    assert (await forgelog("show", id)).code == 0
    db = await asyncpg.connect(settings.postgres_required)
    try:
        async with db.transaction():
            await db.execute(f'lock table "{live_schema(settings, "jobs")}".positions in access exclusive mode')
            late = await forgelog("submit", *SMALL, "--", "true")
            assert late.code == 0
            assert "the tables are behind" in late.err
    finally:
        await db.close()
    async with asyncio.timeout(PATIENCE):
        while (await forgelog("show", late.out.strip())).code:
            pass  # it said that it may not be shown yet
    assert (await forgelog("wait", late.out.strip())).code == 0


async def test_why_names_what_nodes_lack(forgelog: Cli) -> None:
    id = (await forgelog.json("submit", "--cpus", "512", "--job-id", "greedy", "--", "true"))[0]["job_id"]
    await why(forgelog, id, "cpus")
    assert "cpus" in json.dumps(await forgelog.json("why", id))
    waiting = await forgelog.json("queue")
    assert "greedy" in json.dumps(waiting)
    cancelled = await forgelog("cancel", id, "--wait", "--reason", "too greedy")
    assert cancelled.code == 0
    assert (await forgelog.json("show", id))["job"]["reason"] == "too greedy"


async def test_a_job_that_is_not_there_keeps_none_of_the_others_from_being_cancelled(forgelog: Cli) -> None:
    for name in ("one", "two"):
        assert (await forgelog("submit", *SMALL, "--name", f"several-{name}", "--", "sleep", "1000")).code == 0
    cancelled = await forgelog("cancel", "several-one", "never-was", "several-two", "--wait", "-o", "json")
    assert cancelled.code == 1
    assert len(json.loads(cancelled.out)) == 2
    assert "never-was" in cancelled.err
    rows = await forgelog.json("ps", "-a")
    assert {row["status"] for row in rows if row["name"].startswith("several-")} == {"cancelled"}
    assert "never-was" in (await forgelog("cancel", "never-was", "--wait")).err


async def test_requeue_runs_failed_tasks_again(forgelog: Cli, tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 3; }}"
    id = (await forgelog.json("submit", *SMALL, "--", "sh", "-c", script))[0]["job_id"]
    assert (await forgelog("wait", id)).code == 3
    assert (await forgelog("requeue", id)).code == 0
    await forgelog.platform.event(JobCompleted, lambda e: e.job_id == id)
    assert (await forgelog("wait", id)).code == 0


async def test_a_retry_that_succeeds_leaves_no_reason_behind(forgelog: Cli) -> None:
    script = "test $FORGELOG_ATTEMPT -gt 1"
    made = await forgelog.json("submit", *SMALL, "--retries", "1", "--wait", "--", "sh", "-c", script)
    shown = (await forgelog.json("show", made[0]["job_id"]))["job"]
    assert (shown["status"], shown["restarts"], shown["reason"]) == ("completed", 1, "")


async def test_nodes_are_shown_and_steered(forgelog: Cli) -> None:
    assert [node["node_id"] for node in await forgelog.json("nodes")] == ["n0"]
    assert (await forgelog("nodes", "cordon", "n0", "--reason", "new disk")).code == 0
    assert (await forgelog.json("nodes"))[0]["status"] == "cordoned"
    uncordoned = await forgelog("nodes", "uncordon", "n", "--reason", "the disk is in")
    assert uncordoned.err == "n0 takes work again\n", "the beginning of its id will do"
    told = await forgelog.json("history", "n0", "--type", "NodeCordoned", "--type", "NodeUncordoned")
    assert [event["data"].get("reason") for event in told][-2:] == ["new disk", "the disk is in"]
    assert (await forgelog("nodes", "label", "n0", "zone=a")).code == 0
    shown = await forgelog.json("nodes", "show", "n0")
    assert "zone" in json.dumps(shown)
    assert (await forgelog.json("nodes"))[0]["status"] == "ready"
    assert (await forgelog("nodes", "taint", "n0", "gpu=reserved:prefer_no_schedule")).code == 0
    assert "gpu=reserved:prefer_no_schedule" in (await forgelog("nodes")).out
    assert (await forgelog("nodes", "taint", "n0")).err == "n0 has no taints\n"


async def test_a_removed_node_comes_back_if_its_agent_runs(forgelog: Cli) -> None:
    before = len(forgelog.platform.all(NodeRegistered))
    removed = await forgelog("nodes", "remove", "n0", "--reason", "sold")
    assert (removed.code, removed.err.strip()) == (0, "n0 is removed")
    await forgelog.platform.event(NodeRemoved, lambda e: e.reason == "sold")
    await forgelog.platform.event(NodeRegistered, lambda _: len(forgelog.platform.all(NodeRegistered)) > before)


async def test_a_drained_node_s_job_waits_and_runs_again(forgelog: Cli) -> None:
    id = (await forgelog.json("submit", *SMALL, "--", "sh", "-c", "test $FORGELOG_ATTEMPT -gt 1 || sleep 1000"))[0][
        "job_id"
    ]
    await forgelog.platform.event(JobStarted, lambda e: e.job_id == id)
    assert (await forgelog("nodes", "drain", "n0", "--reason", "new driver", "--grace", "1s")).code == 0
    await forgelog.platform.event(NodeDrained)
    assert (await forgelog("nodes", "uncordon", "n0")).code == 0
    assert (await forgelog("wait", id)).code == 0


async def test_a_paused_queue_starts_nothing(forgelog: Cli) -> None:
    assert (await forgelog("queue", "default", "--status", "paused")).code == 0
    try:
        id = (await forgelog.json("submit", *SMALL, "--", "true"))[0]["job_id"]
        await why(forgelog, id, "paused")
    finally:
        changed = await forgelog.json("queue", "default", "--status", "active")
    assert changed["result"] == "accepted"
    assert (await forgelog("wait", id)).code == 0


async def test_queues_are_made_and_deleted(forgelog: Cli) -> None:
    refused = await forgelog("submit", *SMALL, "-q", "vision", "--", "true")
    assert refused.code == 2
    assert "there is no queue 'vision'; there are: default" in refused.err
    assert "'forgelog queue create vision' makes it" in refused.err
    assert (await forgelog("queue", "create", "vision", "--policy", "fifo")).err == "queue vision is created\n"
    assert (await forgelog("queue", "create", "vision")).code == 1
    id = (await forgelog.json("submit", *SMALL, "-q", "vision", "--", "true"))[0]["job_id"]
    assert [item["queue"] for item in (await forgelog.json("queue"))["queues"]] == ["default", "vision"]
    assert (await forgelog("queue", "vision")).out.splitlines()[1].split()[:2] == ["vision", "fifo"]
    refused = await forgelog("queue", "delete", "vision")
    assert refused.code == 1
    assert f"queue vision has 1 job ({id}); let it end, or cancel it, first" in refused.err
    await forgelog("cancel", id, "--wait")
    assert (await forgelog("queue", "delete", "vision")).code == 0
    assert [item["queue"] for item in (await forgelog.json("queue"))["queues"]] == ["default"]
    history = await forgelog.json("history", "vision", "-c", "scheduling")
    assert [event["type"].rsplit(".", 1)[1] for event in history if "Rejected" not in event["type"]] == [
        "QueueCreated",
        "QueueDeleted",
    ]


async def test_a_job_that_names_no_queue_there_is_ends_with_the_reason(forgelog: Cli) -> None:
    """Past the client's own check: as any producer may send it."""
    spec = {"metadata": {"name": "lost"}, "command": "true", "queue": "nowhere"}
    await forgelog.platform.publish("jobs", "SubmitJob", {"job_id": "lost", "spec": spec}, id="lost")
    await known(forgelog, "lost")
    assert (await forgelog("wait", "lost")).code == 143
    assert "there is no queue nowhere" in (await forgelog.json("show", "lost"))["job"]["reason"]


async def test_history_replay_and_time_travel(forgelog: Cli, sweep: str) -> None:
    history = await forgelog.json("history", sweep)
    kinds = [event["type"].rsplit(".", 1)[1] for event in history]
    assert kinds[:2] == ["JobSubmitted", "JobQueued"]
    assert kinds[-1] == "JobFailed"
    queued = next(event["time"] for event in history if event["type"].endswith("JobQueued"))
    assert (await forgelog.json("show", sweep, "--at", queued))["job"]["status"] == "queued"
    steps = await forgelog.json("replay", sweep)
    assert len(steps) == len(history)
    assert "failed" in json.dumps(steps)
    assert [step["type"].rsplit(".", 1)[-1] for step in steps] == kinds


async def test_why_a_job_was_cancelled_and_queued_again_is_told(forgelog: Cli) -> None:
    await forgelog("submit", "--job-id", "reasoned", "--cpus", "512", "--", "true")
    await forgelog("cancel", "reasoned", "--wait", "--reason", "wrong data")
    assert (await forgelog.json("show", "reasoned"))["job"]["reason"] == "wrong data"
    assert "it has been cancelled: wrong data" in (await forgelog("why", "reasoned")).out
    assert (await forgelog("requeue", "reasoned", "--reason", "mended")).code == 0
    again = (await forgelog.json("show", "reasoned"))["job"]["reason"]
    assert again.startswith("requeued by "), again
    assert again.endswith(": mended"), again
    async with asyncio.timeout(PATIENCE):
        while f"(queued again: {again})" not in (await forgelog("why", "reasoned")).out:
            await asyncio.sleep(0.1)
    reasons = [event["data"].get("reason", "") for event in await forgelog.json("history", "reasoned", "-c", "jobs")]
    assert [said for said in ("wrong data", again) if said not in reasons] == []
    await forgelog("cancel", "reasoned", "--wait")


async def test_history_is_filtered_on_the_command_line(forgelog: Cli, sweep: str) -> None:
    whole = await forgelog.json("history", sweep, "-c", "jobs")
    failed = await forgelog.json("history", "--type", "JobFailed", "--since", "1h ago")
    assert (sweep, "forgelog.jobs.v1.JobFailed") in [(event["subject"], event["type"]) for event in failed]
    assert {event["type"] for event in failed} == {"forgelog.jobs.v1.JobFailed"}
    assert await forgelog.json("history", sweep, "--actor", "nobody") == []
    some = await forgelog("history", "--project", "local/default", "-c", "jobs", "-n", "1", "-o", "json")
    assert (len(json.loads(some.out)), "--limit shows more" in some.err) == (1, True)
    until = await forgelog.json("history", sweep, "-c", "jobs", "--until", whole[-1]["time"])
    assert [event["position"] for event in until] == [e["position"] for e in whole if e["time"] < whole[-1]["time"]]
    watched = await forgelog("watch", sweep, "-c", "jobs", "--since", whole[0]["time"], "--until", "now", "-o", "json")
    assert [json.loads(line)["position"] for line in watched.out.splitlines()] == [e["position"] for e in whole]


async def test_rebuild_and_audit(forgelog: Cli, sweep: str) -> None:
    checked = await forgelog.json("rebuild", "--check")
    assert {each["context"] for each in checked} == set(contexts())
    rebuilt = await forgelog("rebuild", "jobs")
    assert rebuilt.code == 0, rebuilt
    assert (await forgelog.json("show", sweep))["job"]["status"] == "failed"
    printed = (await forgelog("logs", sweep)).out
    (streams,) = await forgelog.json("rebuild", "jobs", "--streams")
    assert (streams["stream"], streams["records"] > 0) == ("logs.jobs", True)
    assert (await forgelog("logs", sweep)).out == printed
    for wrong in (["scheduling", "--streams"], ["jobs", "--lose"], ["jobs", "--check", "--streams"]):
        assert (await forgelog("rebuild", *wrong)).code != 0
    verified = await forgelog("audit", "verify")
    assert verified.code == 0, verified


@pytest.mark.usefixtures("sweep")
async def test_an_auditor_verifies_with_the_public_key_and_saved_heads(forgelog: Cli, tmp_path: Path) -> None:
    key, saved = tmp_path / "audit.pub", tmp_path / "monday.json"
    printed = await forgelog("audit", "key")
    assert printed.out.startswith("-----BEGIN PUBLIC KEY-----"), printed
    key.write_text(printed.out)
    assert (await forgelog.json("audit", "key"))["pem"] == printed.out
    async with asyncio.timeout(PATIENCE):
        while not any(head["place"].startswith("events.jobs/") for head in await forgelog.json("audit", "heads")):
            await asyncio.sleep(0.2)
    heads = await forgelog.json("audit", "heads")
    saved.write_text(json.dumps(heads))
    await forgelog("submit", "--name", "after", "--", "true")

    options = ("audit", "verify", "--key", str(key), "--head", str(saved))
    checked = await forgelog(*options)
    assert checked.code == 0, checked
    behind = await forgelog.json(*options, "--since", str(saved))
    first = {each["partition"]: each["first"] for each in behind}
    assert {head["place"]: head["offset"] for head in heads}.items() <= first.items()

    saved.write_text(json.dumps([{**head, "offset": head["offset"] - 1} for head in heads]))
    forged = await forgelog(*options)
    assert forged.code == 1
    for head in heads:
        said = f"{head['place']}: offset {head['offset'] - 1}: the saved head is not signed by this key"
        assert said in forged.out
    key.write_text("00" * 32)
    assert "are not signed by this platform's key" in (await forgelog("audit", "verify", "--key", str(key))).out
    key.write_text("no key")
    refused = await forgelog("audit", "verify", "--key", str(key))
    assert (refused.code, "holds no Ed25519 public key" in refused.err) == (2, True)


async def test_export_writes_a_file_that_other_tools_read(forgelog: Cli, sweep: str, tmp_path: Path) -> None:
    lines, table = tmp_path / "day.jsonl", tmp_path / "day.parquet"
    until = datetime.now(UTC).isoformat()
    done = await forgelog("export", "--since", "1d ago", "--to", until, "-c", "jobs", "-o", str(lines))
    assert done.code == 0, done
    assert (await forgelog("export", "--to", until, "-c", "jobs", "-o", str(table))).code == 0
    events = [json.loads(line) for line in lines.read_text().splitlines()]
    assert done.err == f"{len(events)} events to {lines}\n"
    assert pyarrow.parquet.read_table(table).column("position").to_pylist() == [event["position"] for event in events]
    of_sweep = [event["position"] for event in events if event["subject"] == sweep]
    assert of_sweep == [event["position"] for event in await forgelog.json("history", sweep, "-c", "jobs")]
    some = await forgelog("export", "-o", "-", "--type", "JobFailed", "--project", "local/default")
    assert {json.loads(line)["type"] for line in some.out.splitlines()} == {"forgelog.jobs.v1.JobFailed"}


async def test_dead_letters_are_listed_shown_and_put_back(forgelog: Cli, tmp_path: Path) -> None:
    broken = '{"job_id": "mended", "spec": {"metadata": {"name": "x"}, "command": "true"'
    await forgelog.platform.publish("jobs", "SubmitJob", {}, id="whole-but-empty")
    producer = forgelog.platform._producer
    assert producer is not None
    headers = [("ce_id", b"letter"), ("ce_type", b"forgelog.jobs.v1.SubmitJob")]
    topic = f"{forgelog.platform.settings.prefix}commands.jobs"
    await producer.send_and_wait(topic, broken.encode(), headers=headers)
    await forgelog.platform.recorded(lambda record: record.meta.causation == "letter")
    letters = await forgelog.json("deadletters", "list")
    (letter,) = [letter for letter in letters if letter["headers"]["ce_id"] == "letter"]
    assert "not JSON" in letter["reason"]
    assert "mended" in (await forgelog("deadletters", "show", letter["position"])).out
    mended = tmp_path / "mended.json"
    mended.write_text(broken + "}}")
    replayed = await forgelog("deadletters", "replay", letter["position"], "--file", str(mended))
    assert replayed.code == 0, replayed
    await forgelog.platform.event(JobCompleted, lambda e: e.job_id == "mended")


async def test_output_that_can_t_be_stored_is_named_and_passed_over(forgelog: Cli, sweep: str) -> None:
    """As an event that can't be folded: `repair` shows the piece, and passes over it."""
    settings = forgelog.platform.settings
    chunks = f"{settings.schema_}_jobs_logs.chunks"
    headers = [(name, b"0") for name in ("job", "task", "attempt", "offset")] + [("stream", b"stdout")]
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await db.execute(f"alter table {chunks} add constraint odd check (job_id <> '0') not valid")
        async with Producer(settings) as producer:
            piece = ToSend(settings.prefix + topics.LOGS, b"text", b"0", headers=headers)
            (stored,) = await producer.send_all([piece])
        at = f"{topics.LOGS}/{stored.partition}@{stored.offset}"
        async with asyncio.timeout(PATIENCE):
            while not (stopped := await forgelog.json("repair")):
                pass
        assert [(each["position"], each["skippable"]) for each in stopped] == [(at, True)]
        assert stopped[0]["places"] == [f"stream {topics.LOGS}/{stored.partition}"]
        assert "odd" in stopped[0]["cause"]
        shown = await forgelog("repair", at)
        assert (shown.code, "text" in shown.out) == (0, True)
        done = await forgelog("repair", at, "--skip", "--reason", "it is odd")
        assert done.code == 0, done
        assert await forgelog.json("repair") == []
    finally:
        await db.execute(f"alter table {chunks} drop constraint if exists odd")
        await db.close()
    assert (await forgelog("logs", sweep)).code == 0


async def test_every_form_of_output_parses(forgelog: Cli, sweep: str) -> None:
    commands = [
        *(["ps", "-a"], ["show", sweep], ["why", sweep], ["queue"], ["nodes"], ["nodes", "show", "n0"]),
        *(["history", sweep], ["replay", sweep], ["deadletters", "list"], ["repair"], ["repair", "--decided"]),
    ]
    for command in commands:
        yaml, data = await asyncio.gather(forgelog(*command, "--output", "yaml"), forgelog.json(*command))
        assert yaml.code == 0, yaml
        assert YAML(typ="safe").load(yaml.out) == data
    for command in (["audit", "heads"], ["audit", "verify"]):  # the log grows meanwhile, so only the form is compared
        yaml, data = await asyncio.gather(forgelog(*command, "--output", "yaml"), forgelog.json(*command))
        assert set(YAML(typ="safe").load(yaml.out)[0]) == set(data[0])


async def test_a_manifest_s_mistake_is_shown_at_its_place(forgelog: Cli, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: typo\ncommand: [true]\nresources:\n  cpu: 1\n  memmory: 1Gi\n")
    result = await forgelog("submit", str(file))
    assert result.code == 2
    assert f"{file} has 2 errors" in result.err
    assert "line 4, column 3: unknown key 'cpu' in resources; did you mean 'cpus'?" in result.err
    assert "line 5, column 3: unknown key 'memmory' in resources; did you mean 'memory'?" in result.err
    broken = await forgelog("submit", "-", input="name: [unclosed\n")
    assert broken.code == 2
    assert "line 2" in broken.err or ":2:" in broken.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "never-was"], 1, "never-was"),
        (["why", "never-was"], 1, "never-was"),
        (["cancel", "never-was"], 1, "never-was"),
        (["submit", "--cpus", "lots", "--", "true"], 2, "cpus"),
        (["submit", "--cpus", "-1", "--", "true"], 2, "cpus"),
        (["submit", "--array", "100000", "--", "true"], 2, "10000"),
        (["submit", "no-such-file.yaml"], 2, "no-such-file.yaml"),
        (["ps", "--status", "runing"], 2, "running"),
        (["show", "x", "--at", "noonish"], 2, "noonish"),
        (["nodes", "cordon", "n99"], 1, "n99"),
        (["queue", "nowhere"], 1, "default"),
        (["queue", "delete", "default"], 1, "always there"),
        (["queue", "delete", "nowhere"], 1, "nowhere"),
        (["queue", "nowhere", "--status", "paused"], 1, "nowhere"),
        (["submit", "--after", "never-was", "--", "true"], 1, "never-was"),
        (["submit", "--backoff", "1s", "--", "true"], 2, "--retries"),
        (["shwo"], 2, "show"),
        (["logs", "never-was"], 1, "never-was"),
        (["wait", "never-was"], 1, "never-was"),
        (["requeue", "never-was"], 1, "never-was"),
        (["history", "nobody"], 1, "nobody"),
        (["history", ""], 2, "id: is empty"),
        (
            ["history"],
            2,
            "say which events: an ID, or --actor, --type, --project, --aggregate, --by-itself, --since",
        ),
        (["export", "-o", "-", "--format", "parquet"], 2, "standard output takes jsonl only"),
        (["export", "-o", "json"], 2, "--output: names the file to write, and json is a format of other commands"),
        (["export", "-o", "-", "--from", "1h ago", "--to", "2h ago"], 2, "--until: is not after --since"),
        (["export", "-o", "/nowhere/x"], 2, "--output: /nowhere/x can't be written: No such file or directory"),
        (["export", "-o", "-", "--project", "x"], 2, "--project: 'x' is no project"),
        (["history", "--flow"], 2, "--flow needs the id of a command"),
        (["history", "--type", "JobStartd"], 2, "--type: there is no event 'JobStartd'; did you mean 'JobStarted'"),
        (["history", "--since", "later"], 2, "--since: 'later' is not a time"),
        (["history", "--project", "detect"], 2, "--project: 'detect' is no project"),
        (["replay", ""], 2, "id: is empty"),
        (["show", "never-was", "--at", "2020-01-01T00:00:00Z"], 1, "as of 2020-01-01T00:00:00Z"),
        (["replay", "nobody"], 1, "nobody"),
        (["history", "x", "-c", "job"], 2, "jobs"),
        (["deadletters", "show", "nowhere"], 2, "nowhere"),
        (["rebuild", "job"], 2, "jobs"),
        (["repair", "nowhere"], 2, "nowhere"),
        (["repair", "events.jobs/0@999999"], 1, "nothing lies at"),
        (["repair", "events.jobs/0@0", "--skip"], 2, "--reason"),
        (["repair", "events.jobs/0@0", "--skip", "--reason", "none"], 1, "nothing is stopped at"),
        (["repair", "--skip"], 2, "position"),
    ],
)
async def test_mistakes_get_one_clear_word(forgelog: Cli, arguments: list[str], code: int, words: str) -> None:
    result = await forgelog(*arguments)
    assert result.code == code, result
    assert words in result.err
    assert "Traceback" not in result.err


async def test_without_a_platform_it_says_how_to_start_one(forgelog: Cli) -> None:
    result = await forgelog("ps", FORGELOG_GATEWAY="127.0.0.1:9")
    assert result.code == os.EX_UNAVAILABLE
    assert "forgelog up" in result.err


async def test_without_servers_it_says_how_to_start_or_name_them(forgelog: Cli) -> None:
    nothing = {"FORGELOG_KAFKA": "", "FORGELOG_DATA": "/nonexistent"}
    for more, hint in (({"FORGELOG_GATEWAY": ""}, "forgelog up"), ({}, "--data")):
        result = await forgelog("rebuild", "--check", **nothing, **more)
        assert result.code == os.EX_UNAVAILABLE
        assert hint in result.err
        assert "FORGELOG_KAFKA" in result.err
