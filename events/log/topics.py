"""The log's topics: their names, and setting them up idempotently.

``commands.X`` and ``events.X`` of a context always have the same partition count; partition p of the one is decided
into partition p of the other. Retention is without limit, except for streams that say otherwise (`STREAMS`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from events.language.contexts import ContextsError, contexts
from events.language.streams import OUTPUT, StreamTopic
from events.log.access import client_options
from events.process.settings import Settings

log = logging.getLogger("forgelog.topics")

CONTEXTS = tuple(contexts())
"""All contexts; see `events.language.contexts`."""

REPLICAS = 3
"""Copies of every partition; at most one for each broker."""

MAX_RECORD_BYTES = 4 << 20
"""Most bytes that the broker takes in a record, or a batch, of commands or events."""

MAX_BATCH_BYTES = MAX_RECORD_BYTES - 65_536
"""Most bytes of one RecordBatch of events, below what the broker takes."""

MAX_LETTER_BYTES = 8 << 20
"""Most bytes that it takes in a dead letter: the record and the reason."""

EVENTS = "events."
"""The prefix of the names of event topics."""

LEAST_BATCH_BYTES = 16 << 10
"""The smallest size to which batches are reduced for a topic that does not take the usual size."""

STREAMS: tuple[StreamTopic, ...] = tuple(stream for spec in contexts().values() for stream in spec.streams)
"""Every stream's topic."""

LOGS = OUTPUT.name
HEADS = "audit.heads"
REPAIRS = "repairs"

# By default a broker refuses timestamps of more than an hour ahead, so a producer with a wrong clock would be cut off.
_ANY_TIME = {"message.timestamp.after.max.ms": str((1 << 63) - 1)}
_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(MAX_RECORD_BYTES), **_ANY_TIME}
_LATEST = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_RECORD_BYTES), **_ANY_TIME}
# A dead letter is its record, as large as may be, and the reason.
_LETTERS = {**_FOREVER, "max.message.bytes": str(MAX_LETTER_BYTES)}
_DAY_MS = 24 * 3600 * 1000
_SET_FOR_TOPIC = 1
"""Kafka's number for the source of a setting that was set for the topic itself (KIP-226)."""


def commands(context: str) -> str:
    return f"commands.{context}"


def events(context: str) -> str:
    return f"events.{context}"


def context_of(topic: str) -> str:
    """The context of a topic of events."""
    return topic.removeprefix("events.")


def deadletter(context: str) -> str:
    return f"deadletter.{context}"


class TopicsUnusable(Exception):
    """The topics can't be made or don't fit together; the text says which and why."""


def check_streams(streams: Iterable[StreamTopic] = STREAMS) -> None:
    """Raises ContextsError when a stream names no setting of days."""
    for stream in streams:
        setting = Settings.model_fields.get(stream.days)
        if stream.days and (setting is None or setting.annotation is not int):
            days = ", ".join(name for name in Settings.model_fields if name.endswith("_days"))
            raise ContextsError(
                f"the stream {stream.name}: days names no setting of a number of days: {stream.days[:80]!r}; "
                f"write one of {days}, or leave it out"
            )


def wanted(partitions: int, settings: Settings | None = None) -> dict[str, tuple[int, dict[str, str]]]:
    """Topic name (without prefix) → partitions and configuration. Without `settings`, the defaults."""
    check_streams()
    topics: dict[str, tuple[int, dict[str, str]]] = {}
    for context in CONTEXTS:
        topics[commands(context)] = (partitions, _FOREVER)
        topics[events(context)] = (partitions, _FOREVER)
        topics[deadletter(context)] = (partitions, _LETTERS)
    for stream in STREAMS:
        topics[stream.name] = (partitions, _stream(stream, settings))
    topics[HEADS] = (1, _FOREVER)
    topics[REPAIRS] = (1, _FOREVER)
    return topics


def _stream(stream: StreamTopic, settings: Settings | None) -> dict[str, str]:
    compression = {} if stream.compression == "none" else {"compression.type": stream.compression}
    if not stream.days:
        return {**_FOREVER, **compression}
    days = Settings.model_fields[stream.days].default if settings is None else getattr(settings, stream.days)
    size = {"max.message.bytes": str(MAX_RECORD_BYTES), **_ANY_TIME}
    return {**size, **compression, "retention.ms": str(days * _DAY_MS)}


async def ensure_topics(settings: Settings, *, deadline: float = 30.0) -> dict[str, int]:
    """Make the topics that are missing and return every topic's partition count (names without prefix).

    Safe to call from all services at once. Raises TopicsUnusable after `deadline` seconds, or when a context's command
    and event topics differ in their partition counts.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        counts = await _made(admin, settings.prefix, wanted(settings.partitions, settings), deadline)
        for stream in STREAMS:
            await _configure(admin, settings, stream)
    finally:
        await admin.close()
    for context in CONTEXTS:
        ours, theirs = counts[commands(context)], counts[events(context)]
        if ours != theirs:
            raise TopicsUnusable(
                f"{commands(context)} has {ours} partitions and {events(context)} {theirs}; they must be equal: "
                f"copy the log with `forgelog log repartition`"
            )
    return counts


async def ensure_compacted(settings: Settings, name: str, partitions: int, *, deadline: float = 30.0) -> None:
    """Make a topic of which the broker keeps each key's last record, if there is none of that name (without prefix).

    Every partition has a leader once this returns. Raises TopicsUnusable after `deadline` seconds.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await _made(admin, settings.prefix, {name: (partitions, _LATEST)}, deadline)
    finally:
        await admin.close()


async def existing(settings: Settings, others: Collection[str] = ()) -> dict[str, int]:
    """The partition counts of the existing topics, and of `others` (names without prefix). Creates none."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        there = set(await admin.list_topics())
        names = [
            name for name in {**wanted(settings.partitions), **dict.fromkeys(others)} if settings.prefix + name in there
        ]
        return await _counts(admin, settings.prefix, names) if names else {}
    finally:
        await admin.close()


async def _made(
    admin: AIOKafkaAdminClient, prefix: str, names: Mapping[str, tuple[int, dict[str, str]]], deadline: float
) -> dict[str, int]:
    """The topics' partition counts, once all of them exist and each partition has a leader."""
    until = time.monotonic() + deadline
    while True:
        existing = set(await admin.list_topics())
        missing = [name for name in names if prefix + name not in existing]
        if missing:
            await _create(admin, prefix, {name: names[name] for name in missing})
        counts = await _counts(admin, prefix, list(names))
        if len(counts) == len(names):
            return counts
        if time.monotonic() > until:
            absent = ", ".join(sorted(set(names) - set(counts)))
            raise TopicsUnusable(f"topics {absent} were not ready {deadline:.0f} s after they were asked for")
        await asyncio.sleep(0.05)


async def _create(admin: AIOKafkaAdminClient, prefix: str, topics: dict[str, tuple[int, dict[str, str]]]) -> None:
    cluster = await admin.describe_cluster()
    copies = min(REPLICAS, len(cluster["brokers"]))
    new = [
        NewTopic(name=prefix + name, num_partitions=count, replication_factor=copies, topic_configs=config)
        for name, (count, config) in topics.items()
    ]
    response = await admin.create_topics(new)
    for error in response.topic_errors:
        code = error[1]
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise TopicsUnusable(f"topic {error[0]} could not be made: {for_code(code).__name__} {error[2:] or ''}")


def stream_config(stream: StreamTopic, settings: Settings, own: Mapping[str, str]) -> dict[str, str]:
    """The configuration that a stream's topic should have. `own`: what was set for it before. If the settings name no
    retention, an existing one stays: another process, or an operator, may have set it."""
    config = _stream(stream, settings)
    if stream.days and stream.days not in settings.model_fields_set and "retention.ms" in own:
        return {**config, "retention.ms": own["retention.ms"]}
    return config


async def _configure(admin: AIOKafkaAdminClient, settings: Settings, stream: StreamTopic) -> None:
    """Give an existing topic of a stream its current configuration.

    If the broker does not allow it, the topic stays as it is; producers make smaller batches when one is refused.
    """
    topic = settings.prefix + stream.name
    try:
        (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        entries = described.resources[0][4]
        now = {entry[0]: entry[1] for entry in entries}
        own = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_FOR_TOPIC and entry[1] is not None}
        config = stream_config(stream, settings, own)
        if all(now.get(name) == value for name, value in config.items()):
            return
        # The request replaces all settings of the topic, so it must include those that an operator has set.
        (altered,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {**own, **config})])
        if code := altered.resources[0][0]:
            raise for_code(code)(altered.resources[0][1] or "")
        log.info("topic %s has its present configuration now", topic)
    except KafkaError as error:
        log.warning("topic %s keeps its configuration: %s", topic, error or type(error).__name__)


async def kept(settings: Settings, stream: StreamTopic) -> timedelta | None:
    """How long a stream's topic keeps its records; None if without a limit, or if the broker does not say."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    topic = settings.prefix + stream.name
    try:
        (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        entries = {entry[0]: entry[1] for entry in described.resources[0][4]}
    except KafkaError as error:
        log.warning("how long topic %s keeps its records is not known: %s", topic, error or type(error).__name__)
        return None
    finally:
        await admin.close()
    milliseconds = int(entries.get("retention.ms") or -1)
    return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)


async def _counts(admin: AIOKafkaAdminClient, prefix: str, names: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for description in await admin.describe_topics([prefix + name for name in names]):
        if description["error_code"]:
            error: type[KafkaError] = for_code(description["error_code"])
            if not error.retriable and error.__name__ != "UnknownTopicOrPartitionError":
                raise TopicsUnusable(f"topic {description['topic']}: {error.__name__}")
            continue
        partitions = description["partitions"]
        if partitions and all(partition["error_code"] == 0 and partition["leader"] >= 0 for partition in partitions):
            counts[description["topic"][len(prefix) :]] = len(partitions)
    return counts
