"""The supervisor with services and agents (stand-ins that have only a health check), on the session's servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
import pytest_asyncio

from events.language.contexts import TOGETHER, processes
from events.process.keys import read_key
from forgelog.embedded.passfile import password_in
from forgelog.embedded.platform import Options, Platform, is_up
from forgelog.embedded.process import until
from forgelog.embedded.roster import node_name
from tests import PATIENCE
from tests.conftest import Servers

STUBS = Path(__file__).parent / "stub_services"
"""What they have in common; the fixture adds those of contexts, each `services.<context>`, and
the one of those that are together, `services`."""
SERVICES = {*processes(), "gateway"}


@pytest_asyncio.fixture
async def platform(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog tést, 数-"))
    monkeypatch.setenv("FORGELOG_KAFKA", servers.kafka)
    monkeypatch.setenv("FORGELOG_KAFKA_CONFIG", str(servers.kafka_config or ""))
    monkeypatch.setenv("FORGELOG_POSTGRES", servers.postgres)
    monkeypatch.setenv("FORGELOG_GATEWAY", "127.0.0.1:0")
    monkeypatch.setenv("FORGELOG_TOKEN", "another-platform-s")
    monkeypatch.setenv("FORGELOG_OWNER_KEY_FILE", "/another/platform/s")
    stubs = shutil.copytree(STUBS, tmp_path / "stubs")
    for name in processes():
        if not (stubs / "services" / name).is_dir():
            module = stubs / "services" / ("__main__.py" if name == TOGETHER else f"{name}.py")
            module.write_text(f"from services.stub import serve\n\nserve({name!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(stubs))
    made = Platform(folder)
    yield made
    await made.down()
    shutil.rmtree(folder, ignore_errors=True)


def children(platform: Platform) -> dict[str, dict[str, Any]]:
    return {child["name"]: child for child in platform.report()["children"]}


def told(platform: Platform, name: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((platform.folder.path / f"told-{name}.json").read_text())
    return content


def commands(platform: Platform) -> list[str]:
    """What the gateway was told to publish."""
    path = platform.folder.path / "commands"
    return path.read_text().splitlines() if path.exists() else []


async def test_life_of_services_and_agents(platform: Platform, servers: Servers) -> None:
    await platform.up(Options(agents=2))
    state = await platform.wait(60)
    found = children(platform)
    assert set(found) == {*SERVICES, "agent-0", "agent-1", "supervisor"}
    assert {found[name]["state"] for name in SERVICES} == {"ready"}

    jobs = told(platform, "jobs")
    assert jobs["FORGELOG_KAFKA"] == servers.kafka
    assert jobs["FORGELOG_KAFKA_CONFIG"] == str(servers.kafka_config or "")
    assert jobs["FORGELOG_POSTGRES"] == servers.postgres
    assert jobs["FORGELOG_INSTANCE"] == "jobs-0"
    assert jobs["FORGELOG_GATEWAY"] == state.gateway == told(platform, "gateway")["FORGELOG_LISTEN"]
    assert f"jobs={jobs['FORGELOG_LISTEN']}" in jobs["FORGELOG_SERVICES"]
    agent = told(platform, node_name(1))
    own = str(platform.folder.path / "agents" / node_name(1))
    assert (agent["FORGELOG_AGENT_DIR"], agent["FORGELOG_DATA"]) == (own, own)
    assert not {"FORGELOG_POSTGRES", "FORGELOG_SERVICES"} & set(agent)
    assert platform.key == read_key(Path(agent["FORGELOG_TOKEN_FILE"]))  # for its tasks
    gateway = told(platform, "gateway")
    assert platform.key == read_key(Path(gateway["FORGELOG_OWNER_KEY_FILE"]))
    assert not {platform.key, "another-platform-s"} & {*agent.values(), *gateway.values()}

    # killed: back with the same address, and shown
    os.kill(found["jobs"]["pid"], signal.SIGKILL)
    assert await until(lambda: children(platform)["jobs"]["restarts"] == 1, PATIENCE)
    await platform.wait(30)
    again = children(platform)["jobs"]
    assert again["last_exit"] == "SIGKILL"
    assert again["address"] == found["jobs"]["address"]
    assert again["pid"] != found["jobs"]["pid"]

    # fewer agents: the others are not touched
    before = children(platform)
    assert told(platform, node_name(0))["FORGELOG_NODE_SHARE"] == "0/2"
    await platform.up(Options(agents=1))
    assert await until(lambda: "agent-1" not in children(platform), PATIENCE)
    await platform.wait(30)
    assert await until(lambda: told(platform, node_name(0))["FORGELOG_NODE_SHARE"] == "0/1", PATIENCE)
    assert await until(lambda: commands(platform)[-1:] == [f"RemoveNode {node_name(1)}"], PATIENCE)
    assert commands(platform) == [f"DrainNode {node_name(1)}", f"RemoveNode {node_name(1)}"]
    ended = (platform.folder.path / "ended").read_text().split()
    assert node_name(0) not in ended, "the agent that stays was replaced by SIGKILL: its tasks run on"
    await platform.wait(30)
    assert {name: children(platform)[name]["pid"] for name in SERVICES} == {
        name: before[name]["pid"] for name in SERVICES
    }

    # the supervisor is killed: the next one adopts all of them
    before = children(platform)
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)
    assert await until(lambda: not platform.supervised, PATIENCE)
    await platform.up()
    await platform.wait(30)
    after = children(platform)
    for name in (*SERVICES, "agent-0"):
        assert after[name]["pid"] == before[name]["pid"], name

    # down: agents first, then the gateway, then the rest
    assert await platform.down()
    ended = (platform.folder.path / "ended").read_text().split()
    *_, agent, gateway = ended[: -len(processes())]
    assert (agent, gateway) == (node_name(0), "gateway")
    assert set(ended[-len(processes()) :]) == set(processes())
    assert not any(psutil.pid_exists(child["pid"]) and _alive(child["pid"]) for child in after.values())


async def test_changed_addresses_replace_the_children_of_a_dead_supervisor(
    platform: Platform, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.up(Options(agents=0))
    await platform.wait(60)
    before = children(platform)
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)
    assert await until(lambda: not platform.supervised, PATIENCE)
    # the same broker under another name
    monkeypatch.setenv("FORGELOG_KAFKA", servers.kafka.replace("127.0.0.1", "localhost"))
    moved = Platform(platform.folder.path)
    await moved.up()
    await moved.wait(60)
    after = children(moved)
    for name in SERVICES:
        assert after[name]["pid"] != before[name]["pid"]
        assert not _alive(before[name]["pid"])
    assert told(moved, "jobs")["FORGELOG_KAFKA"].startswith("localhost:")


async def test_a_given_database_with_a_password_goes_on_working_without_it_in_any_environment(
    platform: Platform, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(servers.postgres)
    secret = password_in(Path(parse_qs(parts.query)["passfile"][0]))
    given = parts._replace(netloc=f"forgelog:{secret}@{parts.hostname}:{parts.port}", query="").geturl()
    monkeypatch.setenv("FORGELOG_POSTGRES", given)
    moved = Platform(platform.folder.path)
    await moved.up(Options(agents=1))
    await moved.wait(60)
    connection = await asyncpg.connect(told(moved, "jobs")["FORGELOG_POSTGRES"])
    assert await connection.fetchval("SELECT current_user") == "forgelog"
    connection.terminate()
    for child in children(moved).values():
        process = psutil.Process(child["pid"])
        assert secret not in str([*process.environ().items(), process.cmdline()]), child["name"]
    assert not {"FORGELOG_POSTGRES"} & set(told(moved, node_name(0)))
    for path in moved.folder.path.glob("*.json"):
        assert secret not in path.read_text(), path


async def test_keep_jobs_kills_agents_so_that_their_tasks_stay(platform: Platform) -> None:
    await platform.up(Options(agents=1))
    await platform.wait(60)
    await platform.down(keep_jobs=True)
    ended = (platform.folder.path / "ended").read_text().split()
    assert node_name(0) not in ended
    assert "gateway" in ended


async def test_two_ups_at_once_make_one_platform(platform: Platform) -> None:
    await asyncio.gather(platform.up(Options(agents=0)), Platform(platform.folder.path).up(Options(agents=0)))
    await platform.wait(60)
    state, wanted = platform.state(), platform.folder.read_wanted()
    assert state is not None
    assert wanted is not None
    assert is_up(state, wanted)
    one = [state.supervisor.pid]
    assert await until(lambda: _supervisors(platform) == one, PATIENCE), "the second one stays"


def _supervisors(platform: Platform) -> list[int]:
    wanted = ["forgelog.embedded.supervisor", str(platform.folder.path)]
    return [each.pid for each in psutil.process_iter() if _alive(each.pid) and _command(each)[-2:] == wanted]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
