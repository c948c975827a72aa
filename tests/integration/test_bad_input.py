"""Bad input at every door: a clear word that names the field, the problem and what to do, and nothing is lost by it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from events.language.jobs import JobCancelled, JobCompleted
from tests.integration.cluster import Cluster
from tests.integration.doors import DOORS, Answer, Door, close_doors, open_doors

pytestmark = pytest.mark.slow

SUBMIT = "forgelog.jobs.v1.SubmitJob"


@pytest_asyncio.fixture(scope="module")
async def doors(platform: Cluster) -> AsyncIterator[dict[str, Any]]:
    doors = await open_doors(platform)
    yield doors
    await close_doors(doors)


@pytest.fixture(params=list(DOORS))
def door(request: pytest.FixtureRequest, doors: dict[str, Any]) -> Door:
    found: Door = doors[request.param]
    return found


def job(**spec: Any) -> bytes:
    """A good job but for `spec`."""
    return orjson.dumps({"spec": {"metadata": {"name": "bad"}, "command": "true", **spec}})


def raw(text: str) -> bytes:
    """A good job but for a piece of JSON that no encoder would write."""
    return b'{"spec": {"metadata": {"name": "bad"}, "command": "true", ' + text.encode() + b"}}"


def named(name: str) -> bytes:
    return orjson.dumps({"spec": {"metadata": {"name": name}, "command": "true"}})


WRONG: dict[str, tuple[str, bytes, str, str, tuple[str, ...]]] = {
    # what: type, body, code, field, words
    "unknown type": ("forgelog.jobs.v1.SubmitJbo", job(), "not_found", "", ("SubmitJob", "did you mean")),
    "an event's type": (
        "forgelog.jobs.v1.JobStarted",
        b"{}",
        "invalid_argument",
        "",
        ("is an event", "publish a command"),
    ),
    "broken JSON": (SUBMIT, b'{"spec": {"command": ', "invalid_argument", "", ("not JSON",)),
    "no JSON at all": (SUBMIT, b"\xff\xfe\x00", "invalid_argument", "", ("not JSON",)),
    "an empty body": (SUBMIT, b" ", "invalid_argument", "", ("empty",)),
    "a list": (SUBMIT, b"[1, 2]", "invalid_argument", "(body)", ("give an object",)),
    "2 MB": (SUBMIT, job(args=["x" * 2_000_000]), "invalid_argument", "", ("bytes", "1000000")),
    "deeply nested": (
        SUBMIT,
        b'{"spec":' * 5000 + b"1" + b"}" * 5000,
        "invalid_argument",
        "",
        ("not JSON", "recursion"),
    ),
    "a misspelt field": (SUBMIT, job(comand="x"), "invalid_argument", "spec.comand", ("did you mean 'command'",)),
    "a missing field": (SUBMIT, b'{"spec": {"command": "x"}}', "invalid_argument", "spec.metadata", ("is missing",)),
    "NaN": (SUBMIT, raw('"resources": {"cpus": NaN}'), "invalid_argument", "spec.resources.cpus", ("finite number",)),
    "infinity": (SUBMIT, raw('"resources": {"cpus": Infinity}'), "invalid_argument", "spec.resources.cpus", ("give",)),
    "negative": (SUBMIT, job(resources={"cpus": -1}), "invalid_argument", "spec.resources.cpus", ("is -1", "give")),
    "huge": (SUBMIT, job(resources={"cpus": 1e300}), "invalid_argument", "spec.resources.cpus", ("1e+300", "at most")),
    "huge memory": (
        SUBMIT,
        raw('"resources": {"memory_bytes": 1' + "0" * 40 + "}"),
        "invalid_argument",
        "spec.resources.memory_bytes",
        ("give",),
    ),
    "text for a number": (
        SUBMIT,
        job(resources={"gpus": "many"}),
        "invalid_argument",
        "spec.resources.gpus",
        ("'many'",),
    ),
    "an empty name": (SUBMIT, named(""), "invalid_argument", "spec.metadata.name", ("is empty", "give")),
    "a blank name": (SUBMIT, named("   "), "invalid_argument", "spec.metadata.name", ("is empty", "give")),
    "a control character": (SUBMIT, named("a\x01b"), "invalid_argument", "spec.metadata.name", ("control character",)),
    "a NUL": (SUBMIT, named("a\x00b"), "invalid_argument", "spec.metadata.name", ("U+0000", "leave it out")),
    "a long name": (SUBMIT, named("x" * 201), "invalid_argument", "spec.metadata.name", ("has 201", "200")),
    "half a surrogate": (
        SUBMIT,
        b'{"spec": {"metadata": {"name": "\\ud800"}, "command": "true"}}',
        "invalid_argument",
        "",
        ("not JSON", "hex escape"),
    ),
    "an odd id": (
        SUBMIT,
        orjson.dumps({"job_id": "Ünïcode id", **orjson.loads(job())}),
        "invalid_argument",
        "job_id",
        ("lower-case letters",),
    ),
    "100,000 tasks": (SUBMIT, job(array={"size": 100_000}), "invalid_argument", "spec.array.size", ("100000", "10000")),
    "no tasks": (SUBMIT, job(array={"size": 0}), "invalid_argument", "spec.array.size", ("is 0", "give")),
    "waiting for itself": (
        SUBMIT,
        orjson.dumps(
            {
                "job_id": "snake",
                "spec": {"metadata": {"name": "n"}, "command": "true", "depends_on": [{"job_id": "snake"}]},
            }
        ),
        "invalid_argument",
        "spec.depends_on.0.job_id",
        ("itself", "another job"),
    ),
    "an unknown word": (
        SUBMIT,
        job(priority="urgnt"),
        "invalid_argument",
        "spec.priority",
        ("'urgnt'", "normal"),
    ),
    "nothing acts on it yet": (
        SUBMIT,
        job(distributed={"world_size": 8}),
        "unimplemented",
        "spec.distributed.world_size",
        ("not acted on yet", "leave it out"),
    ),
    "a job that isn't there": (
        "forgelog.jobs.v1.CancelJob",
        b'{"job_id": "never-was"}',
        "not_found",
        "job_id",
        ("never-was", "forgelog ps"),
    ),
}


@pytest.mark.parametrize("what", list(WRONG))
async def test_wrong_input_is_refused_with_clear_words(door: Door, what: str) -> None:
    type, body, code, field, words = WRONG[what]
    answer = await door.send(type, body)
    assert not answer.accepted
    assert answer.code == code, answer
    assert answer.says(field, *words), answer


async def test_an_id_is_used_for_one_command_only(door: Door) -> None:
    id = uuid.uuid4().hex
    first = await door.send(SUBMIT, job(), id=id)
    assert first.accepted
    repeat = await door.send(SUBMIT, job(), id=id)
    assert repeat.accepted
    assert repeat.subject == first.subject
    other = await door.send(SUBMIT, job(priority="high"), id=id)
    assert (other.accepted, other.code) == (False, "aborted")
    assert other.says("", id, "give each command its own id")


async def test_a_job_id_is_used_once(door: Door) -> None:
    body = orjson.dumps({"job_id": f"twice-{uuid.uuid4().hex[:8]}", **orjson.loads(job())})
    assert (await door.send(SUBMIT, body)).accepted
    again = await door.send(SUBMIT, body)
    assert (again.accepted, again.code) == (False, "already_exists")
    assert again.says("job_id", "leave job_id out")


async def test_a_cycle_can_not_be_made(door: Door, platform: Cluster) -> None:
    """A job may wait only for one that was accepted before: the first job of a would-be cycle ends at once."""
    suffix = uuid.uuid4().hex[:8]
    first, second = f"hen-{suffix}", f"egg-{suffix}"
    body = {"metadata": {"name": "cycle"}, "command": "true"}
    for id, other in ((first, second), (second, first)):
        spec = {**body, "depends_on": [{"job_id": other}]}
        assert (await door.send(SUBMIT, orjson.dumps({"job_id": id, "spec": spec}))).accepted
    cancelled = await platform.event(JobCancelled, lambda e: e.job_id == first)
    assert f"depends on job {second}, which does not exist; submit it first" in cancelled.reason
    assert (await platform.event(JobCancelled, lambda e: e.job_id == second)).counts.cancelled == 1


async def test_odd_names_that_are_fine_are_taken(door: Door, platform: Cluster) -> None:
    answer = await door.send(SUBMIT, named("训练 🚀 naïve Ω"))
    assert answer.accepted
    await platform.event(JobCompleted, lambda e: e.job_id == answer.subject)


async def test_kafka_input_that_is_no_command_is_kept_with_its_reason(platform: Cluster, doors: dict[str, Any]) -> None:
    await doors["kafka"].send("forgelog.jobs.v1.SubmitJbo", b"{}", id="misspelt-command")
    async with platform.http() as http:
        letters = (await http.get("/v1/log/jobs/deadletters")).json()["letters"]
    (letter,) = [letter for letter in letters if letter["headers"].get("ce_id") == "misspelt-command"]
    assert letter["position"].startswith("deadletter.jobs/")
    assert letter["origin"].startswith("commands.jobs/")
    assert "did you mean forgelog.jobs.v1.SubmitJob?" in letter["reason"]


async def test_a_type_of_another_context_is_told_where_to_go(doors: dict[str, Any]) -> None:
    body = b'{"pool": "default", "node_id": "n0"}'
    answer: Answer = await doors["kafka"].send("forgelog.resources.v1.CordonNode", body)
    assert answer.says("", "publish it to commands.resources")


async def test_after_all_that_the_platform_is_well(door: Door, platform: Cluster) -> None:
    answer = await door.send(SUBMIT, job())
    await platform.event(JobCompleted, lambda e: e.job_id == answer.subject)
    async with platform.http() as http:
        assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
    running = {process.pid for process in platform.processes()}
    assert {platform.process(name).pid for name in ("jobs", "scheduling", "resources", "gateway", "n0")} <= running
