"""Behind the gateway: services, broker and database refuse everyone who does not say who they are, and whoever may not
do what they try. Nothing is written then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    for_code,
)
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from events.log import topics
from events.log.access import client_options
from events.log.topics import CONTEXTS
from events.process.keys import new_api_key
from events.process.settings import Settings
from events.queries.callers import service_channel, services_key
from forgelog.embedded.kafka import broker_answers
from forgelog.embedded.kafka_users import AGENT, PLATFORM, PRODUCER, admit
from forgelog.embedded.passfile import without_password
from forgelog.embedded.process import EmbeddedError
from forgelog_pb.log.v1.queries_pb2 import GetStatusRequest
from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub
from tests.access import as_user, librdkafka
from tests.integration.cluster import Cluster

pytestmark = pytest.mark.slow


def own(platform: Cluster) -> Settings:
    """What the platform's own processes are told."""
    return platform.settings.model_copy(update={"data": Path(platform.folder)})


async def status(channel: grpc.aio.Channel, context: str) -> Any:
    return await LogQueriesStub(channel).GetStatus(GetStatusRequest(context=context), timeout=30)  # type: ignore[misc]


async def health(channel: grpc.aio.Channel) -> None:
    """What a watch tells first."""
    watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=30)
    async for _ in watch:
        watch.cancel()
        return


@pytest.mark.parametrize("context", CONTEXTS)
async def test_a_services_port_needs_the_platforms_key(platform: Cluster, context: str) -> None:
    for stranger in (
        grpc.aio.insecure_channel(platform.address(context)),
        service_channel(platform.address(context), new_api_key()),
    ):
        async with stranger:
            for asked in (status(stranger, context), health(stranger)):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await asked
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert "key" in str(refused.value.details())
    async with service_channel(platform.address(context), services_key(own(platform))) as channel:
        assert (await status(channel, context)).ready


# The broker


FORGED = b"forged"


async def forged(platform: Cluster) -> list[str]:
    """The topics that have a record of those that strangers tried to write, as the platform itself reads them."""
    async with AIOKafkaConsumer(**client_options(platform.settings), auto_offset_reset="earliest") as consumer:
        counts = await topics.existing(platform.settings)
        assert set(counts) == set(topics.wanted(1))
        prefix = platform.settings.prefix
        places = [TopicPartition(prefix + name, n) for name, count in counts.items() for n in range(count)]
        unread = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
        consumer.assign(list(unread))
        found = set()
        while unread:
            for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                found |= {place.topic for record in records if record.value == FORGED}
                if records[-1].offset + 1 >= unread.get(place, 0):
                    unread.pop(place, None)
        return sorted(found)


async def write(settings: Settings, topic: str) -> None:
    producer = AIOKafkaProducer(**client_options(settings), request_timeout_ms=10_000)
    await producer.start()
    try:
        await producer.send_and_wait(settings.prefix + topic, FORGED, partition=0)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, group: str | None = None) -> list[Any]:
    """Something from the topic's first partition, or with a group from those that it is given."""
    consumer = AIOKafkaConsumer(
        **client_options(settings), group_id=group and settings.prefix + group, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        if group:
            consumer.subscribe([settings.prefix + topic])
        else:
            consumer.assign([TopicPartition(settings.prefix + topic, 0)])
        return [await asyncio.wait_for(consumer.getone(), 30)]
    finally:
        await consumer.stop()


def with_lines(settings: Settings, folder: Path, **changed: str) -> Settings:
    """The producer's file with some lines changed; without any it asks as somebody who says nothing."""
    file = folder / "changed.conf"
    lines = librdkafka(settings) | {name.replace("_", "."): value for name, value in changed.items()}
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    file.chmod(0o600)
    return settings.model_copy(update={"kafka_config": file})


async def test_the_broker_ends_connections_that_do_not_say_who_they_are(platform: Cluster) -> None:
    nobody = platform.settings.model_copy(update={"kafka_config": None})
    with pytest.raises(KafkaConnectionError):
        await write(nobody, "commands.jobs")
    with pytest.raises(KafkaConnectionError):
        await read(nobody, "events.jobs")
    with pytest.raises(EmbeddedError, match=r"do not say who they are.*FORGELOG_KAFKA_CONFIG"):
        await broker_answers(nobody)
    assert not await forged(platform)


@pytest.mark.parametrize(
    "changed",
    [
        {"sasl_password": "wrong"},
        {"sasl_username": "nobody"},
        {"sasl_username": PLATFORM},
        {"sasl_username": AGENT},
        {"sasl_mechanism": "SCRAM-SHA-512", "sasl_password": "wrong"},
        {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": AGENT},
        {"sasl_mechanism": "PLAIN", "sasl_username": PLATFORM, "sasl_password": "forgelog"},
    ],
    ids=str,
)
async def test_the_broker_refuses_those_who_say_it_wrong(
    platform: Cluster, tmp_path: Path, changed: dict[str, str]
) -> None:
    stranger = with_lines(platform.settings, tmp_path, **changed)
    with pytest.raises(KafkaConnectionError):
        await write(stranger, "commands.jobs")
    with pytest.raises(EmbeddedError, match=r"refuses user '\w+' \((PLAIN|SCRAM-SHA-512)\).*changed\.conf") as refused:
        await broker_answers(stranger)
    assert librdkafka(platform.settings)["sasl.password"] not in str(refused.value)
    assert not await forged(platform)


NOT_FOR_WRITING = {
    PRODUCER: [name for name in topics.wanted(1) if not name.startswith("commands.") and name != "points.experiments"],
    AGENT: [
        name
        for name in topics.wanted(1)
        if name not in ("commands.jobs", "commands.resources", "commands.deployments", "logs.jobs")
    ],
}
NOT_FOR_READING = {
    PRODUCER: [name for name in topics.wanted(1) if name.startswith("commands.")],
    AGENT: [name for name in topics.wanted(1) if name not in ("events.jobs", "events.resources", "repairs")],
}


@pytest.mark.parametrize("user", [PRODUCER, AGENT])
async def test_only_services_write_events_heads_and_output(platform: Cluster, user: str) -> None:
    for topic in NOT_FOR_WRITING[user]:
        with pytest.raises(TopicAuthorizationFailedError):
            await write(as_user(platform.settings, user), topic)
    told = await topics.existing(as_user(platform.settings, user))
    assert set(told) == set(topics.wanted(1)) - (set(NOT_FOR_WRITING[user]) & set(NOT_FOR_READING[user]))
    for topic in {*NOT_FOR_READING[user]} & {*told}:  # of the others it does not learn that they are there
        with pytest.raises(TopicAuthorizationFailedError):
            await read(as_user(platform.settings, user), topic)
    assert not await forged(platform)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_producer_says_who_it_is_in_either_way(platform: Cluster, tmp_path: Path, mechanism: str) -> None:
    assert await broker_answers(with_lines(platform.settings, tmp_path, sasl_mechanism=mechanism))


async def test_a_producer_reads_events_and_not_in_a_writers_name(platform: Cluster) -> None:
    producer = as_user(platform.settings, PRODUCER)
    assert await read(producer, "events.resources", "my-own-readers")
    with pytest.raises(GroupAuthorizationFailedError):
        await read(producer, "events.jobs", "jobs.writer")


@pytest.mark.parametrize("user", [PRODUCER, AGENT])
async def test_only_the_platform_makes_topics_users_and_rules(platform: Cluster, user: str) -> None:
    stranger = as_user(platform.settings, user)
    admin = AIOKafkaAdminClient(**client_options(stranger))
    await admin.start()
    try:
        names = (f"{stranger.prefix}mine", f"{stranger.prefix}events.jobs")
        for answer in (
            await admin.create_topics([NewTopic(names[0], 1, 1)]),
            await admin.delete_topics([names[1]]),
        ):
            (error,) = getattr(answer, "topic_errors", None) or answer.topic_error_codes
            assert for_code(error[1]) in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
    finally:
        await admin.close()
    with pytest.raises(EmbeddedError, match="ClusterAuthorizationFailed"):
        await admit(stranger)
    assert await read(platform.settings, "events.resources")


# The database


async def test_the_database_refuses_those_without_the_password(platform: Cluster, tmp_path: Path) -> None:
    address = without_password(platform.settings.postgres_required).partition("?")[0]
    for password in (None, "", "forgelog", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(address, password=password, passfile=tmp_path / "none")


# The agent


async def test_an_agent_is_told_no_database_no_service_and_no_other_folder(platform: Cluster) -> None:
    """Nor does a program that it starts learn one from it."""
    (agent,) = [each for each in platform.processes() if "services.resources.agent" in each.cmdline()]
    told = agent.environ()
    assert not told.get("FORGELOG_POSTGRES")
    assert "FORGELOG_SERVICES" not in told
    assert Path(told["FORGELOG_DATA"]) == Path(told["FORGELOG_AGENT_DIR"])
    password = librdkafka(platform.settings, AGENT)["sasl.password"]
    assert password not in str([*told.values(), *agent.cmdline()])
