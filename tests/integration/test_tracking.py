"""`forgelog.run` on a real platform: what a program logs is there once, whatever happens to either."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

import forgelog
from forgelog import AsyncClient
from forgelog.errors import NotFound
from forgelog.tracking.spool import Spool
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.integration.forwarder import Forwarder


def around(platform: Cluster, spool: Path, **more: str) -> dict[str, str]:
    """The environment of a program."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FORGELOG_")}
    return {**clean, **platform.place, "FORGELOG_SPOOL": str(spool), **more}


async def program(text: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a program: its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, env=environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def once(client: AsyncClient, run: str, field: str, value: Any) -> Any:
    """The run, as soon as it is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(NotFound):
                row = await client.runs.get(run)
                if row[field] == value:
                    return row
            await asyncio.sleep(0.1)


async def counted(client: AsyncClient, run: str, points: int) -> None:
    """Wait until a run has so many points."""
    async with asyncio.timeout(PATIENCE):
        while (found := sum(row["count"] for row in await client.runs.metrics([run]))) < points:
            await asyncio.sleep(0.1)
    assert found == points


async def empty(spool: Path) -> None:
    """Wait until nothing is left to be sent."""
    async with asyncio.timeout(PATIENCE):
        while Spool(spool).sessions():
            await asyncio.sleep(0.05)


async def test_what_a_program_says_of_its_run_is_there_when_the_run_has_ended(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    code, out, err = await program(
        "import forgelog, os\n"
        "with forgelog.run('sdk', name='whole', seeds={'np': 7}, params={'lr': 0.1}, tags={'team': 'a'}) as run:\n"
        "    for step in range(1000): run.log(loss=1 / (step + 1), step=step)\n"
        "    run.log({'acc': 0.5}, dataset='test')\n"
        "    run.log_params(depth=3)\n"
        "    run.set_tags(team='b')\n"
        "    run.log_input('digits', 'v1', role='training')\n"
        f"    run.log_artifact({str(Path(__file__))!r}, folder='code')\n"
        f"    assert run.flush({PATIENCE})\n"
        "    print(run.id)\n",
        around(platform, tmp_path / "spool"),
    )
    assert (code, err) == (0, "")
    run = out.strip()
    row = await once(client, run, "status", "finished")
    assert row["name"] == "whole"
    assert (row["params"], row["tags"]) == ({"lr": "0.1", "depth": "3"}, {"team": "b"})
    await counted(client, run, 1001)
    assert {(each["key"], each["dataset"], each["count"]) for each in await client.runs.metrics([run])} == {
        ("loss", "", 1000),
        ("acc", "test", 1),
    }
    assert [each["name"] for each in await client.runs.inputs(run)] == ["digits"]
    assert [each["path"] for each in await client.runs.artifacts(run, recursive=True)] == ["code/test_tracking.py"]
    captured = (await client.captures.get(run)).capture
    assert (captured.program.argv[1], captured.seeds["np"], captured.machine.host != "") == ("-c", 7, True)
    await empty(tmp_path / "spool")


async def test_a_killed_program_and_a_platform_that_was_away_lose_nothing(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    way = Forwarder(platform.gateway)
    environment = around(platform, tmp_path / "spool", FORGELOG_GATEWAY=way.address)
    code, out, _ = await program(
        "import forgelog, os, signal\n"
        "run = forgelog.run('sdk')\n"
        "sender = run._sender._process.pid\n"
        "for step in range(20_000): run.log(loss=step, step=step)\n"
        "print(run.id, sender, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
        environment,
    )
    assert code == -signal.SIGKILL
    run, sender = out.split()
    os.kill(int(sender), signal.SIGKILL)  # else it would do all that follows
    with pytest.raises(NotFound):
        await client.runs.get(run)

    await way.open()
    try:
        other = await platform.command(tmp_path, "runs", "sync", str(tmp_path / "spool"))
        assert f"it is meant for {way.address}" in other.stderr
        synced = await platform.command(tmp_path, "runs", "sync", str(tmp_path / "spool"), more=environment)
        assert (synced.returncode, synced.stderr) == (0, "1 run is sent, with 20000 points\n")
    finally:
        await way.close()
    row = await once(client, run, "status", "killed")
    assert row["reason"] == "its program was gone, and had not said how it ended"
    await counted(client, run, 20_000)
    (metric,) = await client.runs.metrics([run])
    assert (metric["count"], metric["min"], metric["max"]) == (20_000, 0.0, 19_999.0)
    assert [*(tmp_path / "spool").iterdir()] == []


async def test_the_sender_of_a_killed_program_sends_what_it_left(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    _, out, _ = await program(
        "import forgelog, os, signal\n"
        "run = forgelog.run('sdk')\n"
        "for step in range(3000): run.log(loss=step, step=step)\n"
        "print(run.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
        around(platform, tmp_path / "spool"),
    )
    await once(client, out.strip(), "status", "killed")
    await counted(client, out.strip(), 3000)


async def test_what_a_killed_process_of_a_job_has_logged_is_there_when_its_end_is_told(client: AsyncClient) -> None:
    text = (
        "import forgelog, os, signal\n"
        "run = forgelog.run('sdk', name='in a job')\n"
        "for step in range(5000): run.log(loss=step, step=step)\n"
        "os.kill(run._sender._process.pid, signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    job = await client.jobs.submit(name="logs", command=[sys.executable, "-c", text])
    await client.jobs.wait([job.id])
    (run,) = [row["run_id"] for row in await client.runs.list(job=job.id)]
    row = await once(client, run, "status", "failed")
    assert (row["name"], row["job_id"], "signal 9" in row["reason"]) == ("in a job", job.id, True), row
    await counted(client, run, 5000)


async def test_a_refusal_is_told_and_training_goes_on(client: AsyncClient, platform: Cluster, tmp_path: Path) -> None:
    archived = await client.experiments.create("sdk archived")
    await client.experiments.set_status(archived, "archived")
    code, out, err = await program(
        "import forgelog\n"
        "with forgelog.run('sdk archived') as run:\n"
        "    run.log(loss=1)\n"
        f"    run.flush({PATIENCE})\n"
        "    print(run.id)\n",
        around(platform, tmp_path / "spool"),
    )
    assert code == 0
    assert re.search(r"RunWarning: run \S+: CreateRun was refused: .*archived", err)
    row = await once(client, out.strip(), "status", "failed")
    assert "archived" in row["reason"]


def test_the_how_to_is_right(platform: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in around(platform, tmp_path / "spool").items():
        monkeypatch.setenv(name, value)
    page = (Path(__file__).parents[2] / "docs/how-to/tracking.md").read_text()
    parts = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(parts) >= 3
    for part in parts:
        exec(compile(part, "tracking.md", "exec"), {"__name__": "__main__"})
    assert forgelog.run is not None
