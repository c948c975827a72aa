"""A context beside the platform's own orders jobs, and hears what becomes of them: real processes, Kafka, Postgres.

The context is `tests/errands`. Its service is killed wherever an order could be lost or given twice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from events.audit.audit import verify
from events.language.common import CommandNoted
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import repairing, topics
from events.log.access import client_options
from events.log.envelope import Position
from events.log.ids import child_id
from events.log.tail import Tail
from events.log.wire import Raw
from events.process import faults
from events.process.settings import Settings
from forgelog.client.aio import AsyncClient
from forgelog.embedded.ports import free_port
from forgelog.errors import Refused
from forgelog_pb.log.v1 import queries_pb2 as pb
from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub
from tests import PATIENCE
from tests.access import admit_users
from tests.conftest import Servers, own_settings
from tests.integration.cluster import SERVICES, Cluster, served

ROOT = Path(__file__).parents[2]
CONTEXT = {
    "FORGELOG_CONTEXTS": "errands.spec:ERRANDS",
    "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]),
}

MANY = int(os.environ.get("ERRANDS", "15"))
"""Errands that are run while their service is killed; `make chaos` runs 200."""


class Town(Cluster):
    """The platform with one context more. What this test knows of it is its log."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.faults = folder / "faults"
        self.faults.mkdir()
        self._ports["errands"] = free_port()
        self.errands: list[Raw] = []

    def _told(self, name: str) -> dict[str, str]:
        return {
            **super()._told(name),
            **CONTEXT,
            "FORGELOG_FAULTS": str(self.faults),
            "FORGELOG_SERVICES": ",".join(f"{each}={self.address(each)}" for each in (*SERVICES, "errands")),
        }

    def start(self, name: str, *together: str) -> None:
        if name == "errands":
            self._run(name, "errands", self._told(name))
        else:
            super().start(name, *together)

    async def ask_for(self, id: str, command: str = "true", **more: Any) -> Any:
        """The answer of the gateway's HTTP door to a command that creates an errand, once that has ended."""
        data = {"errand_id": id, "command": command, **more}
        async with self.http() as http:
            return await http.post(
                "/v1/commands?wait=conclusion&timeout=60", json={"type": "RunErrand", "id": f"run-{id}", "data": data}
            )

    async def run_errand(self, id: str, command: str = "true", **more: Any) -> None:
        await self.publish("errands", "RunErrand", {"errand_id": id, "command": command, **more}, id=f"run-{id}")

    async def listen(self) -> None:
        """Keep every event of errands."""
        async with Tail(self.settings, ["errands"], start="beginning") as tail:
            while True:
                self.errands += await tail.poll_raw(0.5)

    def told(self, kind: str, id: str) -> list[dict[str, Any]]:
        """Bodies of the events of a kind about an errand."""
        return [
            orjson.loads(raw.value or b"{}")
            for raw in self.errands
            if raw.type == f"forgelog.errands.v1.{kind}" and raw.key == id.encode()
        ]

    async def ended(self, id: str) -> dict[str, Any]:
        """How an errand ended, once it has."""
        async with asyncio.timeout(PATIENCE):
            while not (found := self.told("ErrandEnded", id)):
                await asyncio.sleep(0.05)
        return found[0]

    async def stopped(self, name: str = "errands") -> dict[str, str]:
        """What stands still in a service: place and record, once anything does."""
        async with asyncio.timeout(PATIENCE), self.service_channel(name) as channel:
            asked: Any = LogQueriesStub(channel)
            while not (found := (await asked.GetStatus(pb.GetStatusRequest(context=name))).stopped):
                await asyncio.sleep(0.1)
            return {stop.place: stop.position for stop in found}

    async def mend(self, defect: Path, name: str = "errands") -> None:
        """Take a defect away, and tell every place that stopped by it to try again.

        Others than those seen first may have stopped in the meantime: what jobs of earlier tests report comes late.
        """
        os.unlink(defect)
        told: set[str] = set()
        async with asyncio.timeout(PATIENCE), self.service_channel(name) as channel:
            asked: Any = LogQueriesStub(channel)
            while found := (await asked.GetStatus(pb.GetStatusRequest(context=name))).stopped:
                for at in {stop.position for stop in found} - told:
                    await repairing.retry(self.settings, Position.parse(at), "it is mended", "tester")
                    told.add(at)
                await asyncio.sleep(0.1)

    async def gone(self, name: str) -> None:
        """Wait until a process has ended itself."""
        async with asyncio.timeout(PATIENCE):
            while self._processes[name].poll() is None:
                await asyncio.sleep(0.02)
        del self._processes[name]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    async with own_settings(servers, folder) as settings, running(Town(settings, folder)) as made:
        yield made


@asynccontextmanager
async def running(made: Town) -> AsyncIterator[Town]:
    """The platform with errands."""
    await topics.ensure_topics(made.settings)
    await admit_users(made.settings)
    made._producer = AIOKafkaProducer(**client_options(made.settings))  # no other user is told of errands
    await made._producer.start()
    async with served(made, nodes=1):
        made.start("errands")
        await made.healthy("errands")
        listening = asyncio.create_task(made.listen())
        yield made
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def jobs_of(town: Town, errand: str) -> list[JobSubmitted]:
    return town.all(JobSubmitted, lambda event: event.job_id == child_id(errand, "job"))


async def test_an_errand_s_job_runs_and_it_hears_of_start_and_end(town: Town) -> None:
    await town.run_errand("bread")
    assert (await town.ended("bread"))["outcome"] == "done"
    (started,) = town.told("ErrandStarted", "bread")
    assert started["node_id"] == "n0"
    record = await town.recorded(lambda each: isinstance(each.data, JobSubmitted))
    assert record.meta.origin == "errands/errand/bread"
    assert record.meta.causation == f"{record.meta.id.rsplit('.', 1)[0]}"
    of_job = [each for each in town.seen if each.meta.subject == child_id("bread", "job")]
    assert {each.meta.origin for each in of_job} == {"errands/errand/bread"}
    assert {each.meta.correlation for each in of_job if each.meta.correlation} >= {record.meta.correlation}


async def test_an_errand_hears_why_its_job_is_refused(town: Town) -> None:
    await town.run_errand("milk", user="ada")
    ended = await town.ended("milk")
    assert ended["outcome"] == "refused"
    assert "user" in ended["reason"]
    assert jobs_of(town, "milk") == []


async def test_who_asks_for_the_conclusion_of_an_errand_is_answered_once_its_job_is_there_or_refused(
    town: Town,
) -> None:
    answer = await town.ask_for("wood")
    assert (answer.status_code, answer.json()["conclusion"]["type"]) == (200, "forgelog.errands.v1.ErrandAccepted")
    refused = (await town.ask_for("coal", user="ada")).json()
    assert (refused["result"], refused["error"]["code"]) == ("rejected", "failed_precondition")
    assert "user" in refused["error"]["message"]
    assert refused["conclusion"]["type"] == "forgelog.errands.v1.ErrandEnded"
    async with AsyncClient(town.gateway, token=town.key) as client:
        oil = await client.publish(("RunErrand", {"command": "true"}), wait="conclusion")
        assert oil.conclusion.type == "forgelog.errands.v1.ErrandAccepted"
        job = SubmitJob(spec=JobSpec(metadata=JobMetadata(name="one-step"), command="true"))
        with pytest.raises(Refused, match=r"SubmitJob has no conclusion.*wait=true"):
            await client.publish(job, wait="conclusion")
        many = [("RunErrand", {"command": "true"}), ("RunErrand", {"command": "true", "user": "ada"}), job]
        assert [each.result for each in await client.publish_many(many, wait="conclusion")] == [
            "accepted",
            "rejected",
            "rejected",
        ]


async def test_a_conclusion_is_told_also_to_who_asks_after_it_came_or_asks_again_after_a_crash(town: Town) -> None:
    await town.run_errand("hay")
    await town.ended("hay")
    late = (await town.ask_for("hay")).json()
    assert late["repeat"], "with the id and the body of the first"
    assert late["conclusion"]["type"] == "forgelog.errands.v1.ErrandAccepted", "the first of those that came"
    town.kill("jobs")
    cut = asyncio.create_task(town.ask_for("corn"))
    async with asyncio.timeout(PATIENCE):
        while not town.told("ErrandAsked", "corn"):
            await asyncio.sleep(0.02)
    assert not cut.done()
    town.kill("gateway")
    with pytest.raises(httpx.HTTPError):
        await cut
    town.start("gateway")
    await town.healthy("gateway")
    again = asyncio.create_task(town.ask_for("corn"))
    town.start("jobs")
    answer = (await again).json()
    assert (answer["repeat"], answer["conclusion"]["type"]) == (True, "forgelog.errands.v1.ErrandAccepted")
    await town.healthy("jobs")


@pytest.mark.parametrize("point", [faults.BEFORE_ORDER, faults.AFTER_ORDER, faults.BEFORE_ORDERS_SENT])
async def test_an_order_is_given_once_in_effect_wherever_its_service_is_killed(town: Town, point: str) -> None:
    errand, refused = f"eggs-{point}", f"salt-{point}"
    (town.faults / f"errands-0@{point}").write_text("SIGKILL")
    await town.run_errand(errand)
    await town.run_errand(refused, user="ada")
    await town.gone("errands")
    town.start("errands")
    await town.healthy("errands")
    assert (await town.ended(errand))["outcome"] == "done"
    assert (await town.ended(refused))["outcome"] == "refused"
    await town.run_errand(f"last-{point}")
    await town.ended(f"last-{point}")
    assert [len(jobs_of(town, each)) for each in (errand, refused)] == [1, 0]
    assert [len(town.told("ErrandEnded", each)) for each in (errand, refused)] == [1, 1]

    # Whose order was published when the service was killed, one's or both's, is not determined: partitions take turns.
    jobs = [child_id(each, "job") for each in (errand, refused)]

    def repeats(noted: CommandNoted) -> bool:
        return noted.repeat and noted.subject_id in jobs

    if point != faults.BEFORE_ORDER:
        await town.event(CommandNoted, repeats)  # its partition may be read after that of the last errand
    again = [noted.subject_id for noted in town.all(CommandNoted, repeats)]
    assert bool(again) == (point != faults.BEFORE_ORDER), "what was published is published again, and is a repeat"
    assert len(again) == len(set(again)), "once each"


async def known_job(town: Town, errand: str) -> str:
    """The job of an errand, once the tables of jobs have it."""
    job = child_id(errand, "job")
    async with asyncio.timeout(PATIENCE), town.http() as http:
        while (await http.get(f"/v1/jobs/{job}")).status_code != 200:
            await asyncio.sleep(0.05)
    return job


@pytest.mark.parametrize("point", ["", faults.AFTER_ANSWER, faults.AFTER_ORDER])
async def test_an_errand_asks_for_a_job_s_command_before_it_orders_wherever_its_service_is_killed(
    town: Town, point: str
) -> None:
    await town.run_errand(f"soap{point}", "/bin/true")
    job = await known_job(town, f"soap{point}")
    if point:
        (town.faults / f"errands-0@{point}").write_text("SIGKILL")
    await town.run_errand(f"more{point}", like=job)
    await town.run_errand(f"none{point}", like="nobody")
    if point:
        await town.gone("errands")
        town.start("errands")
    assert (await town.ended(f"more{point}"))["outcome"] == "done"
    assert [each.spec.command for each in jobs_of(town, f"more{point}")] == ["/bin/true"]
    ended = await town.ended(f"none{point}")
    assert ended["outcome"] == "refused"
    assert "nobody" in ended["reason"]
    await town.healthy("errands")


async def test_a_service_that_is_asked_and_down_delays_the_orders_and_is_named_until_it_is_back(town: Town) -> None:
    await town.run_errand("oats")
    job = await known_job(town, "oats")
    town.kill("jobs")
    await town.run_errand("porridge", like=job)
    (place,) = await town.stopped()
    assert place.endswith(" orders")
    assert jobs_of(town, "porridge") == []
    town.start("jobs")
    assert (await town.ended("porridge"))["outcome"] == "done"
    await town.healthy("jobs")
    await town.healthy("errands")


async def test_what_tables_lack_that_are_behind_is_not_taken_for_what_is_not_there(town: Town) -> None:
    defect = town.faults / f"jobs-0@{faults.IN_PROJECT}"
    defect.write_text("events.jobs/")
    await town.run_errand("rice", "/bin/true")
    await town.event(JobSubmitted, lambda event: event.job_id == child_id("rice", "job"))
    await town.stopped("jobs")
    await town.run_errand("pudding", like=child_id("rice", "job"))
    async with asyncio.timeout(PATIENCE):
        while not town.told("ErrandAsked", "pudding"):
            await asyncio.sleep(0.02)
    await town.mend(defect, "jobs")
    assert (await town.ended("pudding"))["outcome"] == "done"
    assert [each.spec.command for each in jobs_of(town, "pudding")] == ["/bin/true"]
    await town.healthy("jobs")
    await town.healthy("errands")


@pytest.mark.parametrize(
    ("point", "where", "place", "more"),
    [
        (faults.IN_DISPATCH, "events.errands/", "orders", {}),
        (faults.IN_REFUSED, "events.jobs/", "reading events.jobs/", {"user": "ada"}),
    ],
)
async def test_a_defect_stops_one_place_that_is_named_and_goes_on_once_it_is_mended(
    town: Town, point: str, where: str, place: str, more: dict[str, Any]
) -> None:
    pid, errand = town.process("errands").pid, f"tea-{point}"
    defect = town.faults / f"errands-0@{point}"
    defect.write_text(where)
    await town.run_errand(errand, **more)
    stopped = await town.stopped()
    assert [place in each for each in stopped] == [True]
    assert all(at.startswith(where) for at in stopped.values())
    await town.mend(defect)
    assert (await town.ended(errand))["outcome"] == ("refused" if more else "done")
    assert len(jobs_of(town, errand)) == (not more)
    assert town.process("errands").pid == pid, "no process was started again"


@pytest.mark.timeout(900)
async def test_many_errands_end_once_each_however_often_their_service_is_killed(town: Town) -> None:
    points = (faults.AFTER_READ, faults.AFTER_APPEND, faults.BEFORE_ORDER, faults.AFTER_ORDER, faults.AFTER_MARKER)
    names = [f"many-{number}" for number in range(MANY)]
    refused = set(names[::5])
    share = -(-MANY // len(points))
    for number, point in enumerate(points):
        (town.faults / f"errands-0@{point}").write_text("SIGKILL")
        for name in names[number * share : (number + 1) * share]:
            await town.run_errand(name, **({"user": "ada"} if name in refused else {}))
        if point == faults.AFTER_MARKER:  # it comes there when it takes its partitions over
            town.kill("errands")
            town.start("errands")
        await town.gone("errands")
        town.start("errands")
        await town.healthy("errands")
    outcomes = {name: (await town.ended(name))["outcome"] for name in names}
    assert outcomes == {name: "refused" if name in refused else "done" for name in names}
    await town.run_errand("last-of-many")
    await town.ended("last-of-many")
    assert [name for name in names if len(town.told("ErrandEnded", name)) != 1] == []
    assert [name for name in names if len(jobs_of(town, name)) != (name not in refused)] == []
    own = town.settings.model_copy(update={"data": town.folder})  # the key that the services sign with
    found = await verify(own, ["jobs"])  # this process knows of no errands
    assert [(each.place, each.problems) for each in found if not each.intact] == []
