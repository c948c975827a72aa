"""The worked example of docs/how-to/add-a-context.md: its files, as the page has them, in a copy of the checkout. Its
cost is counted, and the context is used by every door of a real platform."""

from __future__ import annotations

import asyncio
import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.log.access import client_options
from events.process.keys import OWNER, ensure_key, key_path
from events.process.settings import Settings
from forgelog.embedded.ports import free_port
from tests import PATIENCE
from tests.access import environment
from tests.conftest import Servers, own_settings
from tests.integration.documents import Shell, blocks_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/add-a-context.md"

MOST_FILES = 10
MOST_LINES = 5

PROGRAM = "program.py"
"""A file of the page that is no part of the context: it uses it."""

COPIED = (
    "events",
    "services",
    "forgelog",
    "forgelog_pb",
    "proto",
    "deploy/prometheus",
    "docs/reference",
    "tests/golden",
    "tests/unit",
)
FILES = ("docker-compose.yml", "pyproject.toml", "tests/__init__.py")

GENERATED = (
    "docker-compose.yml",
    "deploy/prometheus/prometheus.yml",
    "docs/reference/*",
    "forgelog/cli/commands.py",
    "forgelog/client/rows.py",
    "forgelog/client/sync.py",
    "forgelog_pb/*",
    "proto/forgelog/announcements/v1/types.proto",
    "tests/golden/*",
)
"""What `make proto` and `python -m proto.golden` write."""

_BLOCK = re.compile(r"^```(python|proto|diff)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass
class Example:
    """What the page adds, and the copy that has it."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    """Path → text, of new files."""
    lines: dict[str, list[str]] = field(default_factory=dict)
    """File that was there → the lines that it gets."""
    program: str = ""

    def run(self, *argv: str, **more: str) -> str:
        """A Python program of the copy; what it wrote to standard output."""
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process that is to run the copy's code."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FORGELOG_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**clean, "PATH": path, "PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1", **more}

    def changed(self) -> list[str]:
        """Files of the copy that the checkout does not have, or has otherwise."""
        paths = [path for name in (*COPIED, *FILES) for path in files_in(self.folder / name)]
        names = [str(path.relative_to(self.folder)) for path in paths]
        return [
            name
            for name in names
            if not (ROOT / name).exists() or not filecmp.cmp(ROOT / name, self.folder / name, shallow=False)
        ]


def files_in(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for each in sorted(path.rglob("*")):
        if each.is_file() and "__pycache__" not in each.parts and not each.name.startswith("."):
            yield each


def read(page: str, example: Example) -> None:
    """Take the page's files and lines."""
    for kind, text in _BLOCK.findall(page):
        first, _, rest = text.partition("\n")
        name = first.split(" ", 1)[1]
        if kind == "diff":
            for hunk in rest.split("@@\n"):
                example.lines.setdefault(name, []).extend(insert(example.folder / name, hunk))
        elif name == PROGRAM:
            example.program = rest
        else:
            assert name not in example.files, f"the page has {name} twice"
            example.files[name] = rest


def insert(path: Path, hunk: str) -> list[str]:
    """Put the lines with a `+` between or beside those of the file that stand around them; the lines."""
    lines = hunk.splitlines()
    assert {line[:1] for line in lines} == {" ", "+"}, f"{path.name}: a hunk has lines that are there and new ones"
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] == " ")
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has not once:\n{old}"
    path.write_text(text.replace(old, "".join(f"{line[1:]}\n" for line in lines)))
    return [line[1:] for line in lines if line[0] == "+"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    made = Example(tmp_path_factory.mktemp("checkout"))
    ignore = shutil.ignore_patterns("histories", ".lock", ".inputs.sha256")
    for name in COPIED:
        shutil.copytree(ROOT / name, made.folder / name, ignore=ignore)
    for name in FILES:
        shutil.copy2(ROOT / name, made.folder / name)
    read(PAGE.read_text(), made)
    for name, text in made.files.items():
        path = made.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert not path.exists(), f"{name} is there already"
        path.write_text(text)
    made.run("-m", "proto.generate")
    made.run("-m", "proto.golden")
    return made


def test_it_costs_ten_files_and_three_lines_elsewhere(example: Example) -> None:
    lines = [line for each in example.lines.values() for line in each]
    assert (len(example.files), len(lines)) == (10, 3), "the page says so"
    assert len(example.files) <= MOST_FILES
    assert len(lines) <= MOST_LINES
    written = {*example.files, *example.lines}
    rest = [name for name in example.changed() if name not in written]
    assert [name for name in rest if not any(fnmatch(name, pattern) for pattern in GENERATED)] == []
    assert "proto/forgelog/announcements/v1/types.proto" in rest


def test_its_code_is_as_the_rest(example: Example) -> None:
    names = [name for name in (*example.files, *example.lines) if name.endswith(".py")]
    (example.folder / PROGRAM).write_text(example.program)
    for check in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        example.run("-m", "ruff", *check, *names, PROGRAM)
    example.run("-m", "proto.generate", "--check")
    layout = "tests/unit/test_layout.py::"
    tests = (
        "tests/unit/test_announcements.py",
        f"{layout}test_services_have_the_same_rooms",
        f"{layout}test_no_modules_import_each_other_in_a_circle",
    )
    example.run("-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", *tests)


@dataclass
class Platform:
    """A gateway and the process of the context, from the copy, on the session's servers."""

    example: Example
    settings: Settings
    folder: Path
    variables: dict[str, str]
    gateway: str
    key: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *argv: str, **more: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *argv],
                cwd=self.example.folder,
                env=self.example.environment(**self.variables, **more),
                stdout=log,
                stderr=log,
            )

    async def healthy(self, name: str, address: str) -> None:
        async with asyncio.timeout(PATIENCE), grpc.aio.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                with suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(health_pb2.HealthCheckRequest())
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                told = (self.folder / f"{name}.log").read_text()[-4000:]
                assert self.processes[name].poll() is None, f"{name} has ended:\n{told}"
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def asking(self) -> dict[str, str]:
        """Variables by which a program or a command finds the gateway."""
        return {
            "FORGELOG_GATEWAY": self.gateway,
            "FORGELOG_TOKEN_FILE": str(key_path(self.folder, OWNER)),
            "FORGELOG_DATA": str(self.folder),
        }

    def http(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=f"http://{self.gateway}", headers=headers, timeout=PATIENCE)


@pytest_asyncio.fixture(scope="module")
async def platform(
    example: Example, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    async with own_settings(servers, folder) as settings:
        own, gateway = (f"127.0.0.1:{free_port()}" for _ in range(2))
        variables = {
            **environment(settings),
            "FORGELOG_PREFIX": settings.prefix,
            "FORGELOG_SCHEMA": settings.schema_,
            "FORGELOG_DATA": str(folder),
            "FORGELOG_SERVICES": f"announcements={own}",
        }
        key = ensure_key(key_path(folder, OWNER))
        made = Platform(example, settings, folder, variables, gateway, key)
        try:
            made.start("gateway", "services.gateway", FORGELOG_GATEWAY=gateway)
            made.start("services", "services", "announcements", FORGELOG_LISTEN=own, FORGELOG_INSTANCE="{context}-0")
            await made.healthy("services", own)
            await made.healthy("gateway", gateway)
            yield made
        finally:
            made.stop()


async def announced(http: httpx.AsyncClient, **asked: str) -> list[Mapping[str, Any]]:
    answer = await http.get("/v1/announcements", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[Mapping[str, Any]] = answer.json()["announcements"]
    return found


async def test_kafka_and_http_take_its_commands_and_http_answers(platform: Platform) -> None:
    async with AIOKafkaProducer(**client_options(platform.settings)) as producer, platform.http() as http:
        record = await producer.send_and_wait(
            f"{platform.settings.prefix}commands.announcements",
            value=orjson.dumps({"announcement_id": "by-kafka", "text": "Hello"}),
            headers=[("ce_id", b"hello"), ("ce_type", b"forgelog.announcements.v1.PostAnnouncement")],
        )
        assert record.offset >= 0
        streamed: list[Mapping[str, Any]] = []
        watch = http.stream("GET", "/v1/watch/announcements", headers={"accept": "application/x-ndjson"})
        async with asyncio.timeout(PATIENCE), watch as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                if line.strip():
                    streamed.append(orjson.loads(line)["announcement"])
                    break
        assert streamed[0]["text"] == "Hello"
        assert streamed[0]["author"]
        assert [row["announcement_id"] for row in await announced(http)] == ["by-kafka"]
        assert await announced(http, severities="critical") == []
        one = (await http.get("/v1/announcements/by-kafka")).json()["announcement"]
        assert (one["severity"], one["status"], one["project"]) == ("info", "posted", "local/default")

        assert (await http.get("/v1/announcements/never")).status_code == 404
        bad = await http.get("/v1/announcements", params={"cursor": "made-up"})
        assert (bad.status_code, "page.cursor" in bad.text) == (400, True)
        by_http = {"type": "PostAnnouncement", "data": {"announcement_id": "by-http", "text": "Again"}}
        posted = await http.post("/v1/commands", json=by_http)
        assert (posted.status_code, posted.json()["subject"]) == (200, "by-http"), posted.text
        by_http["data"] = {"text": ""}
        refused = await http.post("/v1/commands", json=by_http)
        assert (refused.status_code, "text" in refused.text) == (400, True)


async def test_the_command_line_has_it(platform: Platform) -> None:
    shell = Shell(
        platform.folder,
        platform.example.environment(**platform.asking),
        {"127.0.0.1:7070": platform.gateway},
    )
    block = next(block for block in blocks_of(PAGE.read_text()) if "forgelog announcements post" in block.text)
    try:
        problems = await asyncio.to_thread(shell.block, block)
        assert problems == []
        _, (listed, *_) = await asyncio.to_thread(
            shell.run, "forgelog announcements list --status posted -o json | tr -d '\\n '"
        )
        (row,) = (each for each in orjson.loads(listed) if each["severity"] == "warning")
        code, told = await asyncio.to_thread(shell.run, f"forgelog announcements withdraw {row['announcement_id']}")
        assert (code, told) == (0, [f"announcement {row['announcement_id']} is withdrawn"])
        code, told = await asyncio.to_thread(
            shell.run, f"forgelog announcements revise {row['announcement_id']} --text again"
        )
        assert code != 0
        assert "is withdrawn; post another one" in told[0]
        code, told = await asyncio.to_thread(shell.run, "forgelog --help")
        assert any("announcements" in line for line in told)
    finally:
        shell.close()


async def test_programs_have_it_with_and_without_coroutines(platform: Platform) -> None:
    (platform.folder / PROGRAM).write_text(platform.example.program)
    told = await asyncio.to_thread(platform.example.run, str(platform.folder / PROGRAM), **platform.asking)
    assert told.splitlines() == ["The GPU nodes are down on Saturday"]


GRPC = """
import asyncio, sys
import grpc
from forgelog.client.keyed import KeyedChannel
from forgelog_pb.announcements.v1 import queries_pb2 as pb, queries_pb2_grpc as rpc, types_pb2 as types
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from google.protobuf.any_pb2 import Any

async def main(gateway, key):
    channel = KeyedChannel(grpc.aio.insecure_channel(gateway), key)
    commands, queries = commands_pb2_grpc.CommandsStub(channel), rpc.AnnouncementQueriesStub(channel)
    for number in range(3):
        command = commands_pb2.Command(id=f"by-grpc-{number}")
        command.message.Pack(types.PostAnnouncement(announcement_id=f"by-grpc-{number}", text=f"{number}"))
        outcome = (await commands.PublishAndWait(commands_pb2.PublishAndWaitRequest(command=command))).outcome
    options = {"at_least": outcome.positions}
    request = pb.ListAnnouncementsRequest(options=options, page={"limit": 2})
    texts = []
    while True:
        page = await queries.ListAnnouncements(request)
        texts += [row.text for row in page.announcements if row.announcement_id.startswith("by-grpc-")]
        if not page.next_cursor:
            return print(",".join(texts))
        request.page.cursor = page.next_cursor

asyncio.run(main(*sys.argv[1:]))
"""


async def test_grpc_takes_its_messages_and_answers_in_pages(platform: Platform) -> None:
    told = await asyncio.to_thread(platform.example.run, "-c", GRPC, platform.gateway, platform.key, **platform.asking)
    assert told.strip() == "2,1,0"
