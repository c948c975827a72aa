"""The Python client on a real platform, with coroutines and without; and the documents' own Python, run as written."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from events.language.jobs import JobCompleted, JobStarted
from events.log.access import client_options
from forgelog import AsyncClient, Client, ForgelogError, NotFound, Refused, Timeout, Unavailable
from forgelog.client.rows import EventRow
from forgelog.embedded.kafka_users import PRODUCER
from tests import PATIENCE
from tests.access import as_user, kcat_conf
from tests.integration.cluster import Cluster
from tests.integration.documents import FILE_NAME, blocks_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = {"cpus": 0.1, "memory": "64Mi"}


@pytest_asyncio.fixture(scope="module")
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.gateway, token=platform.key, project="vision/detect") as client:
        yield client


async def test_a_job_s_life(client: AsyncClient) -> None:
    before = datetime.now(UTC)
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    job = await client.submit(name="life", command=command, resources=SMALL, labels={"k": "v"})
    ended = await job.wait()
    assert (ended.status, ended.exit_code, ended.project, ended.owner) == ("failed", 3, "vision/detect", "owner")
    pieces = [piece async for piece in job.logs()]  # its end was told before its last output, perhaps
    assert {(piece.stream, piece.text) for piece in pieces if piece.text} == {("stdout", "out\n"), ("stderr", "err\n")}
    history = await job.history()
    assert [event.type.rsplit(".", 1)[1] for event in history][-1] == "JobFailed"
    (attempt,) = await job.attempts()
    assert (attempt.attempt, attempt.exit_code) == (1, 3)
    (listed,) = await client.jobs.list(labels={"k": "v"})
    assert listed.job_id == job.id
    with pytest.raises(NotFound, match=job.id):
        await job.refresh(at=before)


async def test_the_history_is_filtered_by_actor_type_project_and_time(client: AsyncClient, platform: Cluster) -> None:
    began = datetime.now(UTC)
    job = await client.submit(name="filtered", command=["true"], resources=SMALL)
    await job.wait()
    whole = await client.log.history("jobs", job.id)
    submitted, ended = whole[0].time, whole[-1].time

    def short(events: list[EventRow]) -> list[str]:
        return [event.type.rsplit(".", 1)[1] for event in events if event.subject == job.id]

    assert short(await client.log.history("jobs", types=["JobSubmitted", "JobCompleted"])) == [
        "JobSubmitted",
        "JobCompleted",
    ]
    assert short(await client.log.history("jobs", job.id, actors=["nobody"])) == []
    by_actor = await client.log.history("jobs", actors=[whole[0].actor], projects=["vision/detect"], since=began)
    assert short(by_actor)[0] == "JobSubmitted"
    assert short(await client.log.history("jobs", projects=["local/other"])) == []
    before = await client.log.history("jobs", since=submitted, until=ended)
    assert [e.position for e in before if e.subject == job.id] == [e.position for e in whole if e.time < ended]
    assert [e.position for e in await client.log.history("jobs", job.id, limit=2)] == [e.position for e in whole[:2]]
    with pytest.raises(Refused, match=r"types\[0\]: there is no event 'JobStartd'; did you mean 'JobStarted'"):
        await client.log.history("jobs", types=["JobStartd"])

    watched = [event async for event in client.log.watch("jobs", since=submitted, until=datetime.now(UTC))]
    assert sorted(e.position for e in watched if e.subject == job.id) == sorted(e.position for e in whole)
    async with asyncio.timeout(PATIENCE):
        watching = client.log.watch("jobs", types=["JobSubmitted"], projects=["vision/detect"], since=submitted)
        assert (await anext(watching)).subject == job.id
        live = await client.submit(name="live", command=["true"], resources=SMALL)
        assert (await anext(watching)).subject == live.id

    def without_coroutines() -> list[str]:
        with Client(platform.gateway, token=platform.key) as plain:
            since = list(plain.log.watch("jobs", subjects=[job.id], since=submitted, until=datetime.now(UTC)))
            assert short(since) == short(whole)
            return short(plain.log.history("jobs", types=["JobSubmitted"], since=began))

    assert "JobSubmitted" in await asyncio.to_thread(without_coroutines)


async def test_own_writes_are_read(client: AsyncClient) -> None:
    """Fifty times: what was just submitted is there, without waiting or asking again."""
    for number in range(50):
        job = await client.submit(name=f"fresh-{number}", command=["true"], resources=SMALL)
        assert (await client.jobs.get(job.id)).job.name == f"fresh-{number}"


async def test_the_same_id_submits_once(client: AsyncClient) -> None:
    first = await client.submit(name="once", command=["true"], resources=SMALL, id="only-once")
    again = await client.submit(name="once", command=["true"], resources=SMALL, id="only-once")
    assert first.id == again.id
    with pytest.raises(Refused) as caught:
        await client.submit(name="other", command=["true"], resources=SMALL, id="only-once")
    assert caught.value.code == "aborted"


async def test_many_at_once(client: AsyncClient) -> None:
    jobs = await client.jobs.submit_many(
        {"name": f"many-{n}", "command": ["true"], "resources": SMALL} for n in range(20)
    )
    ended = await client.jobs.wait([job.id for job in jobs], timeout=PATIENCE)
    assert [each.status for each in ended] == ["completed"] * 20


async def test_waiting_has_an_end(client: AsyncClient, platform: Cluster) -> None:
    job = await client.submit(name="long", command=["sleep", "1000"], resources=SMALL)
    with pytest.raises(Timeout):
        await job.wait(timeout=0.2)
    await platform.event(JobStarted, lambda e: e.job_id == job.id)
    await job.cancel(reason="enough")
    ended = await job.wait()
    assert (ended.status, ended.exit_code, ended.reason) == ("cancelled", 143, "enough")


async def test_errors_have_kinds_fields_and_hints(client: AsyncClient) -> None:
    with pytest.raises(NotFound, match="never-was"):
        await client.jobs.get("never-was")
    with pytest.raises(ForgelogError) as caught:
        await client.submit(name="odd", command=["true"], resources={"cpus": -1})
    assert "cpus" in str(caught.value)
    async with AsyncClient("127.0.0.1:9", timeout=1) as nowhere:
        with pytest.raises(Unavailable, match="forgelog up"):
            await nowhere.jobs.list()


async def test_watching_goes_on_over_a_restart_of_the_gateway(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    command = ["sh", "-c", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"]
    job = await client.submit(name="watched", command=command, resources=SMALL)
    await platform.event(JobStarted, lambda e: e.job_id == job.id)
    waiting = asyncio.create_task(job.wait(timeout=PATIENCE))
    await asyncio.sleep(0)
    platform.kill("gateway")
    platform.start("gateway")
    await platform.healthy("gateway")
    (tmp_path / "go").touch()
    assert (await waiting).status == "completed"


async def test_a_job_finds_its_platform_and_the_key(client: AsyncClient, platform: Cluster) -> None:
    """By a file's name: the key itself is in no process's environment or command line."""
    inner = "c.submit(name='inner', command=['true'], resources={'cpus': 0.01, 'memory': '1Mi'})"
    program = f"from forgelog import Client\nwith Client() as c: print({inner}.id)"
    script = f'{sys.executable} -c "$PROGRAM"; env; tr "\\0" " " < /proc/$$/cmdline'
    job = await client.submit(
        name="outer", command=["sh", "-c", script], environment={"variables": {"PROGRAM": program}}, resources=SMALL
    )
    assert (await job.wait(timeout=PATIENCE)).status == "completed"
    printed = "".join([chunk.text async for chunk in job.logs()])
    assert (await client.jobs.get(printed.split()[0])).job.name == "inner"
    assert f"FORGELOG_TOKEN_FILE={platform.key_file}" in printed.splitlines()
    assert platform.key not in printed


async def test_output_as_of_a_time_is_what_had_arrived_by_then(client: AsyncClient, tmp_path: Path) -> None:
    before, go = datetime.now(UTC), tmp_path / "go"
    script = f"echo one; while ! test -e '{go}'; do sleep 0.05; done; echo two"
    job = await client.submit(name="parts", command=["sh", "-c", script], resources=SMALL)
    async for piece in job.logs(follow=True, stream="stdout"):
        if piece.text:
            break
    then = datetime.now(UTC)
    go.touch()
    await job.wait(timeout=PATIENCE)

    async def printed(**wanted: Any) -> str:
        return "".join([piece.text async for piece in job.logs(stream="stdout", **wanted)])

    assert [await printed(at=at) for at in (before, then, None)] == ["", "one\n", "one\ntwo\n"]
    assert await printed(at=then, tail_bytes=3) == "ne\n"
    with pytest.raises(ForgelogError, match="follow"):
        await printed(at=then, follow=True)


async def test_without_coroutines(platform: Cluster) -> None:
    def work() -> tuple[str, str, int]:
        with Client(platform.gateway, token=platform.key) as client:
            job = client.submit(name="plain", command=["echo", "plain"], resources=SMALL)
            job.wait()
            text = "".join(chunk.text for chunk in job.logs())
            return job.status, text, client.run(name="code", command=["sh", "-c", "exit 4"], resources=SMALL)

    assert await asyncio.to_thread(work) == ("completed", "plain\n", 4)


def documented() -> list[tuple[str, str]]:
    """Every Python block of the README and the documents, by file and line; those of a page that says so together;
    not those of a page that names another test which runs them, nor a block that says why it is not run."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        if re.search(r"`tests/\S+\.py` runs it", text):
            continue
        blocks = [
            (f"{path.relative_to(ROOT)}:{block.line}", block.text)
            for block in blocks_of(text, ["python"])
            if not block.said("skip") and not FILE_NAME.match(block.text)
        ]
        if "All Python on this page is one program" in text:
            blocks = [(blocks[0][0], "\n".join(code for _, code in blocks))]
        found += blocks
    return found


MADE_BEFORE = {
    "numerals": (("models", "register", "numerals"), ("models", "publish", "numerals", "trained")),
    "launched": (("experiments", "create", "launched", "--job", "echo.yaml"),),
    "letters": (("deploy", "-f", "letters.yaml"),),
}
"""Name in a page's Python → how its shell has made it before."""


@pytest.mark.parametrize(("place", "code"), documented(), ids=[place for place, _ in documented()])
async def test_the_documents_python_runs_as_written(platform: Cluster, tmp_path: Path, place: str, code: str) -> None:
    tutorial = (ROOT / "docs/tutorial.md").read_text()
    for name, text in re.findall(r"```yaml\n# (\w+\.yaml)\n(.*?)```", tutorial, re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(
        "import os\nos.mkdir('results')\nopen('results/loss.json', 'w').write('{}')\n"
    )
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.onnx").write_text("weights")
    (tmp_path / "echo.yaml").write_text("name: echo\ncommand: [echo]\nresources: {cpus: 0.1}\n")
    asks = "kind: Deployment\nname: letters\ncommand: [sleep, '1000']\nreplicas: 0\n"
    (tmp_path / "letters.yaml").write_text(asks)
    for words in next((words for name, words in MADE_BEFORE.items() if f'"{name}"' in code), ()):
        done = await platform.command(tmp_path, *words)
        assert done.returncode == 0, done.stderr
    environment = {
        **os.environ,
        **platform.place,
        "PYTHONPATH": str(ROOT),
        "TOPIC": f"{platform.settings.prefix}events.jobs",
    }
    code = code.replace("~/.forgelog/kcat.conf", str(kcat_conf(platform.settings, tmp_path)))
    # This platform shares its broker with others: its topics have a prefix.
    code = code.replace('"commands.jobs"', f'"{platform.settings.prefix}commands.jobs"')
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{place}: {done.stderr}"
    told = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert set(told) <= set(done.stdout.splitlines()), f"{place}: what its prints' comments say is not what came"


@pytest.mark.parametrize("document", ["README.md", "docs/how-to/api.md"])
async def test_the_documents_kcat_lines_run_a_job(platform: Cluster, document: str, tmp_path: Path) -> None:
    """As written where kcat is installed; elsewhere a plain producer sends what they say: headers and JSON."""
    text = (ROOT / document).read_text()
    found = re.search(r"^echo '(.*)' \|\n +kcat -F ~/.forgelog/kcat.conf -P -t (\S+) (.*)$", text, re.MULTILINE)
    assert found is not None
    body, topic, rest = found.groups()
    id = uuid.uuid4().hex
    topic, rest = platform.settings.prefix + topic, rest.replace("my-first-job", id)
    if shutil.which("kcat"):
        conf = kcat_conf(platform.settings, tmp_path)
        line = f"echo '{body}' | kcat -F {conf} -P -t {topic} {rest}"
        await asyncio.to_thread(subprocess.run, ["sh", "-c", line], check=True, timeout=PATIENCE)
    else:
        headers = [(name, value.encode()) for name, value in re.findall(r"-H (\S+?)=(\S+)", rest)]
        async with AIOKafkaProducer(**client_options(as_user(platform.settings, PRODUCER))) as producer:
            await producer.send_and_wait(topic, body.encode(), headers=headers)
    record = await platform.recorded(lambda r: r.meta.correlation == id and isinstance(r.data, JobCompleted))
    assert isinstance(record.data, JobCompleted)
    assert record.data.counts.completed == 1
