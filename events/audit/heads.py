"""Signed heads of the hash chain: how a service publishes them, and how those who check the history read them.

A head says which digest a partition's chain has at an offset, and the platform's key signs it (Ed25519, RFC 8032). It
fixes all that lies before it. It is a JSON object with ``place`` (``events.jobs/3``), ``offset``, ``digest`` (hex),
``time`` (RFC 3339), ``key`` (the public key, hex) and ``signature`` (hex, over the object's other members as JSON with
sorted keys and no spaces).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.audit.signing import KeyProblem, public_bytes, signing_key
from events.log import topics
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.fetching import Consumer
from events.log.producer import Producer, ToSend
from events.log.reading import read_to_end, records_at
from events.log.tail import NoTopic
from events.log.wire import HASH, Raw, encode_time
from events.process.settings import Settings
from events.projections.runner import Runner

HEADS_EVERY = 5.0
"""Seconds between two signed heads of a partition that grows."""
_BEGUN_EVERY = 0.1
"""Seconds between two looks whether the runner has begun."""

MOST_FILE_BYTES = 64 << 20
"""Of a file of saved heads."""

log = logging.getLogger("forgelog.audit")


class HeadsProblem(Exception):
    """A file holds no signed heads. The text names the file, what is wrong with it, and what to do."""


# Publishing


async def publish_heads(settings: Settings, runner: Runner, notices: dict[str, str] | None = None) -> None:
    """Publish a signed head of every partition that has moved, until cancelled. While the platform's key can't be used,
    none is published, and `notices` says so under ``audit.heads``."""
    key = await _usable_key(settings, {} if notices is None else notices)
    public = public_bytes(key).hex()
    published: dict[tuple[str, int], int] = {}
    producer = Producer(settings)
    known = False
    try:
        while not runner.positions:  # at once after that: till then the history looks as if heads had been removed
            await asyncio.sleep(_BEGUN_EVERY)
        while True:
            known = known or await _know_heads(settings, runner)
            for place, (offset, digest) in list(runner.heads.items()):
                if published.get(place) == offset or place[0] != runner.projection.context:
                    continue
                head = signed(key, public, place, offset, digest)
                name = str(head["place"])
                try:
                    await producer.send_all([ToSend(settings.prefix + topics.HEADS, orjson.dumps(head), name.encode())])
                except (KafkaError, OSError) as error:
                    log.warning("head of %s not published: %s", name, error)
                    break
                published[place] = offset
            await asyncio.sleep(HEADS_EVERY)
    finally:
        await producer.close()


async def _know_heads(settings: Settings, runner: Runner) -> bool:
    """Tell the runner, which has begun, the heads of what an earlier process projected: that may have ended before it
    signed them. False when it has to be tried again."""
    context = runner.projection.context
    try:
        newest = await runner.newest_events()
        wanted = {
            TopicPartition(settings.prefix + topics.events(context), number): offset
            for number, offset in newest.items()
        }
        async with connected(new_consumer(settings, **HASTY)) as consumer:
            found = await records_at(consumer, wanted)
    except (KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        log.warning("the heads of %s are not known yet: %s", context, error or type(error).__name__)
        return False
    for place, raw in found.items():
        if digest := raw.get(HASH):
            runner.heads.setdefault((context, place.partition), (raw.offset, digest.decode(errors="replace")))
    return True


async def _usable_key(settings: Settings, notices: dict[str, str]) -> Ed25519PrivateKey:
    """The platform's key, once it can be used: what serves people does not end because no head can be signed."""
    while True:
        try:
            key = signing_key(settings)
        except KeyProblem as problem:
            notice = f"no head of the hash chain is signed: {problem}"
            if notices.get(topics.HEADS) != notice:
                log.error("%s", notice)
            notices[topics.HEADS] = notice
            await asyncio.sleep(HEADS_EVERY)
        else:
            notices.pop(topics.HEADS, None)
            return key


def signed(key: Ed25519PrivateKey, public: str, place: tuple[str, int], offset: int, digest: str) -> dict[str, Any]:
    """A head of a place (context and partition). `public` is the key's public half, hex; so is `digest`."""
    body = {
        "place": f"{topics.events(place[0])}/{place[1]}",
        "offset": offset,
        "digest": digest,
        "time": encode_time(datetime.now(UTC)),
        "key": public,
    }
    return {**body, "signature": key.sign(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hex()}


# Reading


def is_signed(head: dict[str, Any], trusted: bytes) -> bool:
    """Whether a head has the signature of the trusted public key (32 bytes)."""
    if head["key"] != trusted.hex():
        return False
    body = {name: value for name, value in head.items() if name != "signature"}
    try:
        public = Ed25519PublicKey.from_public_bytes(trusted)
        public.verify(bytes.fromhex(head["signature"]), orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def head_of(value: bytes) -> dict[str, Any] | None:
    """A record's body as a head, by any signer; None if it is none."""
    try:
        return _checked(orjson.loads(value))
    except ValueError:
        return None


def _checked(head: Any) -> dict[str, Any] | None:
    texts = ("place", "digest", "key", "signature")
    if not isinstance(head, dict) or not all(isinstance(head.get(name), str) for name in texts):
        return None
    offset = head.get("offset")
    return head if type(offset) is int and 0 <= offset < 1 << 63 else None


def saved_heads(path: Path) -> list[dict[str, Any]]:
    """The heads in a file that ``forgelog audit heads -o json`` wrote: an array, a single head, or one a line.

    Raises HeadsProblem. Whether they are signed, and by whom, is not asked here.
    """
    remedy = "save heads by: forgelog audit heads -o json > FILE"
    try:
        with path.open("rb") as file:
            text = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise HeadsProblem(f"{path} can't be read: {error.strerror}; {remedy}") from None
    if len(text) > MOST_FILE_BYTES:
        raise HeadsProblem(f"{path} is larger than {MOST_FILE_BYTES >> 20} MiB, so it holds something else; {remedy}")
    try:
        whole = orjson.loads(text)
        items = whole if isinstance(whole, list) else [whole]
    except ValueError:
        try:
            items = [orjson.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise HeadsProblem(f"{path} is not JSON; {remedy}") from None
    if not items:
        raise HeadsProblem(f"{path} holds no head; {remedy}")
    heads = []
    for number, item in enumerate(items, 1):
        if (head := _checked(item)) is None:
            raise HeadsProblem(f"{path}: item {number} is no signed head; {remedy}")
        heads.append(head)
    return heads


async def each_head(consumer: Consumer, settings: Settings, start: int = 0) -> AsyncIterator[tuple[Raw, Any]]:
    """The records of the topic of heads from an offset on to its end now, each with its head (None if it is none)."""
    source = TopicPartition(settings.prefix + topics.HEADS, 0)
    async for _, records in read_to_end(consumer, {source: start}):
        for record in records:
            yield record, head_of(record.value or b"")


async def newest_heads(settings: Settings, trusted: bytes | None = None) -> dict[str, dict[str, Any]]:
    """The head with the highest offset of each place, signed by the trusted public key (by any, when left out); of
    several with that offset, the last.

    Raises NoTopic, and Kafka's errors (`KafkaError`).
    """
    if topics.HEADS not in await topics.existing(settings):
        raise NoTopic.at(settings, [topics.HEADS])
    if trusted is None:
        return await _newest(settings, lambda _: True)
    # A signature takes ten times as long to check as a head to read, and all but a few heads are old.
    newest = await _newest(settings, lambda head: bool(head["key"] == trusted.hex()))
    if all(is_signed(head, trusted) for head in newest.values()):
        return newest
    return await _newest(settings, lambda head: is_signed(head, trusted))


async def _newest(settings: Settings, taken: Callable[[dict[str, Any]], bool]) -> dict[str, dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, head in each_head(consumer, settings):
            if head is not None and head["offset"] >= newest.get(head["place"], head)["offset"] and taken(head):
                newest[head["place"]] = head
    return newest


class Head(NamedTuple):
    """What a signed head says of its place."""

    offset: int
    digest: str
    saved: bool = False
    """It came from a file, not from the log."""


class HeadStore:
    """Heads whose signature holds, by place and offset. They are kept on disk (SQLite's own temporary file): a log that
    has grown for years has millions."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.execute("pragma journal_mode = off")
        self._db.execute(
            "create table heads (place text, off integer, digest text, saved integer, "
            "primary key (place, off, digest, saved)) without rowid"
        )

    def __enter__(self) -> HeadStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, place: str, head: Head) -> None:
        """Keep a head; one that is there already changes nothing."""
        self._db.execute("insert or ignore into heads values (?, ?, ?, ?)", (place, *head))

    def places(self) -> list[str]:
        """All places that heads name."""
        return [place for (place,) in self._db.execute("select distinct place from heads order by place")]

    def of(self, place: str, first: int = 0) -> Iterator[Head]:
        """A place's heads from an offset on, by offset."""
        query = "select off, digest, saved from heads where place = ? and off >= ? order by off, saved, digest"
        for offset, digest, saved in self._db.execute(query, (place, first)):
            yield Head(offset, digest, bool(saved))
