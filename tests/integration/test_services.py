"""A service from its submission to its end: it is called on the ports that it was given, and its readiness is known."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import orjson
import pytest

from events.language.jobs import JobExited, JobQueued, JobStarted, JobTaskReady, JobTaskUnready
from forgelog import AsyncClient
from forgelog.errors import Refused
from tests import PATIENCE
from tests.integration.cluster import Cluster

pytestmark = pytest.mark.slow

SMALL = ("--cpus", "0.1", "--memory", "64Mi", "--no-chdir")
SERVER = (sys.executable, "-c", """
import http.server, os, pathlib
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path != "/ready" or not pathlib.Path("busy").exists()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(os.environ["FORGELOG_ATTEMPT"].encode())
    def log_message(self, *_): pass
where = os.environ["FORGELOG_ADDRESS"], int(os.environ["FORGELOG_PORT_HTTP"])
print(os.getcwd(), flush=True)
http.server.ThreadingHTTPServer(where, Answers).serve_forever()
""")  # fmt: skip


async def folder_of(client: AsyncClient, job: str) -> Path:
    """What it has printed first."""
    async for piece in client.jobs.logs(job, follow=True):
        return Path(piece.text.strip())
    raise AssertionError("it printed nothing")


async def address(client: AsyncClient, job: str) -> str:
    (task,) = await client.jobs.tasks(job)
    return f"http://{task.address}:{task.ports['http']}"


async def test_from_a_command_line_to_callers_and_back(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    service = ("--port", "http", "--ready", "http:/ready", "--live", "http:/", "--drain", "100ms")
    submitted = await platform.command(tmp_path, "submit", *SMALL, "--name", "web", *service, "--", *SERVER)
    assert submitted.returncode == 0, submitted.stderr
    id = submitted.stdout.strip()
    await client.jobs.wait_ready(id, timeout=PATIENCE)
    url = await address(client, id)
    async with httpx.AsyncClient() as caller:
        assert (await caller.get(url)).text == "1"
        assert "1/1 ready" in (await platform.command(tmp_path, "ps")).stdout
        shown = await platform.command(tmp_path, "show", "web")
        assert "1 of 1" in shown.stdout
        assert url.removeprefix("http://") in shown.stdout
        assert "GET /ready on http every 1s" in shown.stdout
        (task,) = orjson.loads((await platform.command(tmp_path, "show", id, "--output", "json")).stdout)["tasks"]
        assert (task["ready"], f"http://{task['address']}:{task['ports']['http']}") == (True, url)

        folder = await folder_of(client, id)
        (folder / "busy").touch()
        unready = await platform.event(JobTaskUnready, lambda e: e.job_id == id)
        assert unready.reason == "readiness probe: status 503 Service Unavailable (3 times in a row)"
        async for job in client.jobs.watch([id]):
            if not job.tasks.ready:
                break
        (task,) = await client.jobs.tasks(id)
        assert (task.ready, task.unready_reason) == (False, unready.reason)
        assert (await caller.get(url)).text == "1", "it is not called any more, and not stopped for that"
        (folder / "busy").unlink()
        await platform.event(JobTaskReady, lambda e: e.job_id == id and e.changed_at > unready.changed_at)

    await client.jobs.cancel(id, reason="enough")
    ended = await client.jobs.wait([id])
    assert ended[0].status == "cancelled"
    last = [record.data for record in platform.seen if getattr(record.data, "job_id", "") == id]
    kinds = [type(event) for event in last if isinstance(event, JobTaskReady | JobTaskUnready | JobExited)]
    assert kinds[-2:] == [JobTaskUnready, JobExited]


async def test_a_dead_one_is_restarted_and_called_elsewhere(platform: Cluster, client: AsyncClient) -> None:
    described = {
        "name": "mortal",
        "command": [*SERVER],
        "resources": {"cpus": 0.1, "memory": "64Mi"},
        "service": {
            "ports": ["http"],
            "startup": {"kind": "http", "period": "100ms"},
            "liveness": {"kind": "http", "path": "/ready", "period": "100ms", "failure_threshold": 2},
        },
        "restart": {"mode": "always", "max_restarts": None, "backoff": "0s"},
    }
    job = await client.submit(described)
    await job.wait_ready(timeout=PATIENCE)
    (await folder_of(client, job.id) / "busy").touch()
    exited = await platform.event(JobExited, lambda e: e.job_id == job.id)
    assert exited.tasks[0].reason == "unhealthy"
    assert exited.tasks[0].message.startswith("liveness probe: status 503")
    again = await platform.event(JobQueued, lambda e: e.job_id == job.id and e.attempt == 2)
    assert again.reason.endswith("; restart 1")
    await platform.event(JobTaskReady, lambda e: e.job_id == job.id and e.attempt == 2)
    start = (await platform.event(JobStarted, lambda e: e.job_id == job.id and e.tasks[0].attempt == 2)).tasks[0]
    async with httpx.AsyncClient() as caller:
        assert (await caller.get(f"http://{start.address}:{start.ports['http']}")).text == "2"
    await job.cancel()
    await job.wait()


async def test_ids_of_replicas_are_refused(client: AsyncClient) -> None:
    with pytest.raises(Refused, match="as the ids of jobs do that deployments makes"):
        await client.submit({"name": "x", "command": "true", "job_id": "dep.web.abcdef.1.0"})
