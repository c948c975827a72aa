"""Tamper evidence: signed heads of the hash chain, and verification of the whole history.

Every service publishes the head of each of its partitions (offset, digest, Ed25519 signature, RFC 8032) to
``audit.heads`` when it has moved. `verify` recomputes the chain from offset 0 and compares it with every record's own
hash and with every signed head: a changed, removed or inserted record is named by its offset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.log import chain, topics
from events.log.connect import connected
from events.log.fetching import Consumer
from events.log.producer import Producer, Record
from events.log.reading import read_to_end
from events.log.repairs import Repairs
from events.log.tail import HASTY, EpochRule, new_consumer, read_repairs
from events.log.wire import HASH, Damage, Raw, encode_time, without_hash
from events.runtime.runner import Runner
from events.runtime.settings import Settings
from events.runtime.signing import KeyProblem, public_bytes, public_key, signing_key

HEADS_EVERY = 5.0
"""Seconds between two signed heads of a partition that grows."""

log = logging.getLogger("forgelog.audit")


@dataclass(slots=True)
class Verified:
    """What was found of one partition."""

    place: str
    records: int = 0
    """Valid records, markers included."""
    void: int = 0
    """Records of writers that had been replaced: not part of the history."""
    heads: int = 0
    """Signed heads that agree."""
    digest: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.problems


async def publish_heads(settings: Settings, runner: Runner, notices: dict[str, str] | None = None) -> None:
    """Publish a signed head of every partition that has moved, until cancelled. While the platform's key can't be used,
    none is published, and `notices` says so under ``audit.heads``."""
    key = await _usable_key(settings, {} if notices is None else notices)
    public = public_bytes(key).hex()
    published: dict[tuple[str, int], int] = {}
    producer = Producer(settings)
    try:
        while True:
            for place, (offset, digest) in list(runner.heads.items()):
                if published.get(place) == offset or place[0] != runner.projection.context:
                    continue
                head = _signed(key, public, place, offset, digest)
                name = str(head["place"])
                try:
                    await producer.send_all([Record(settings.prefix + topics.HEADS, orjson.dumps(head), name.encode())])
                except (KafkaError, OSError) as error:
                    log.warning("head of %s not published: %s", name, error)
                    break
                published[place] = offset
            await asyncio.sleep(HEADS_EVERY)
    finally:
        await producer.close()


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


def _signed(key: Ed25519PrivateKey, public: str, place: tuple[str, int], offset: int, digest: str) -> dict[str, Any]:
    body = {
        "place": f"{topics.events(place[0])}/{place[1]}",
        "offset": offset,
        "digest": digest,
        "time": encode_time(datetime.now(UTC)),
        "key": public,
    }
    return {**body, "signature": key.sign(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hex()}


async def verify(
    settings: Settings,
    contexts: Sequence[str] = topics.CONTEXTS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Verified]:
    """Check the whole history of these contexts; `progress` is told the place, records read and records to read.

    Without the platform's key the chain is checked and its heads are not, which is a problem of ``audit.heads``.
    """
    await topics.ensure_topics(settings)
    heads, broken = await _all_heads(settings)
    repairs = await read_repairs(settings)
    trusted = ""
    try:
        trusted = public_key(settings).hex()
    except KeyProblem as problem:
        if heads:
            broken.append(f"the signed heads were not checked: {problem}")
    results: list[Verified] = []
    for context in contexts:
        topic = settings.prefix + topics.events(context)
        # CRCs are the broker's own check; off, so that a changed byte is found and named by the chain.
        async with connected(new_consumer(settings, check_crcs=False, **HASTY)) as consumer:
            counts = await topics.ensure_topics(settings)
            for number in range(counts[topics.events(context)]):
                place = f"{topics.events(context)}/{number}"
                results.append(
                    await _verify_partition(
                        consumer,
                        TopicPartition(topic, number),
                        place,
                        heads.get(place, []),
                        repairs,
                        trusted,
                        progress,
                    )
                )
    if broken:
        results.append(Verified(f"{topics.HEADS}/0", problems=broken))
    return results


async def _verify_partition(
    consumer: Consumer,
    source: TopicPartition,
    place: str,
    heads: list[dict[str, Any]],
    repairs: Repairs,
    trusted: str,
    progress: Callable[[str, int, int], None] | None,
) -> Verified:
    found = Verified(place)
    end = (await consumer.end_offsets([source]))[source]
    at_offset: dict[int, str] = {head["offset"]: "" for head in heads}
    digest, rule, position = chain.GENESIS, EpochRule(begun=0), 0
    aside: bytes | None = None
    """The digest without what an operator passed over: a writer that took over behind it goes on from there."""
    try:
        async for _, records in read_to_end(consumer, {source: 0}):
            for raw in records:
                if raw.offset != position:
                    found.problems.append(f"offset {position}: records up to {raw.offset - 1} are missing")
                    rule.missed(raw.offset - 1)
                position = raw.last + 1
                if isinstance(raw, Damage):
                    found.problems.append(f"offset {raw.offset}: was changed (up to {raw.last}: {raw.wrong})")
                    rule.missed(raw.last)
                    continue
                if not rule.admits(raw):
                    found.void += 1
                    continue
                found.records += 1
                skipped = repairs.cover(raw)
                if skipped and aside is None:
                    aside = digest
                computed = _linked(digest, raw)
                stored = raw.get(HASH)
                if stored is None and not raw.is_marker:
                    found.problems.append(f"offset {raw.offset}: has no hash")
                    computed = digest
                elif stored is not None and stored != computed.hex().encode():
                    without = computed if aside is None or skipped else _linked(aside, raw)
                    if stored != without.hex().encode():
                        found.problems.append(f"offset {raw.offset}: was changed (its content does not match its hash)")
                    computed = _digest_of(stored, computed)
                if aside is not None and not skipped:
                    aside = _linked(aside, raw) if raw.is_marker else None
                digest = computed
                if raw.offset in at_offset:
                    at_offset[raw.offset] = digest.hex()
            if progress is not None:
                progress(place, position, max(end, position))
    except KafkaError as error:
        found.problems.append(f"offset {position}: the broker can't read it: {type(error).__name__}")
    found.digest = digest.hex()
    if trusted:
        _check_heads(heads, at_offset, end, trusted, found)
    return found


def _linked(digest: bytes, raw: Raw) -> bytes:
    return chain.link(digest, raw.key or b"", raw.value or b"", without_hash(raw.headers))


def _digest_of(stored: bytes, computed: bytes) -> bytes:
    """The digest to go on from behind a changed record: the stored one, so that only that record is blamed."""
    try:
        digest = bytes.fromhex(stored.decode())
    except ValueError:
        return computed
    return digest if len(digest) == len(computed) else computed


def _check_heads(
    heads: list[dict[str, Any]], at_offset: dict[int, str], end: int, trusted: str, found: Verified
) -> None:
    foreign = []
    for head in heads:
        offset = head["offset"]
        if not _is_signed(head, trusted):
            foreign.append(offset)
        elif offset >= end:
            found.problems.append(f"offset {end}: the log was cut; a signed head names offset {offset}")
        elif at_offset[offset] != head["digest"]:
            found.problems.append(f"offset {offset}: the history up to here is not the one that was signed")
        else:
            found.heads += 1
    if foreign:
        found.problems.append(
            f"{len(foreign)} of {len(heads)} signed heads (at offsets {min(foreign)} to {max(foreign)}) are not signed "
            f"by this platform's key: audit.key was replaced, or somebody else signed"
        )


def _is_signed(head: dict[str, Any], trusted: str) -> bool:
    """Whether a head has the signature of the trusted key (hexadecimal)."""
    if head["key"] != trusted:
        return False
    body = {name: value for name, value in head.items() if name != "signature"}
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(trusted))
        public.verify(bytes.fromhex(head["signature"]), orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    except (InvalidSignature, ValueError):
        return False
    return True


async def read_heads(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Every signed head by place."""
    heads, _ = await _all_heads(settings)
    return heads


async def _all_heads(settings: Settings) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Every signed head by place; and what is none."""
    source = TopicPartition(settings.prefix + topics.HEADS, 0)
    heads: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, records in read_to_end(consumer, {source: 0}):
            for record in records:
                if (head := _head_of(record.value or b"")) is None:
                    problems.append(f"offset {record.offset}: is no signed head")
                else:
                    heads.setdefault(head["place"], []).append(head)
    return heads, problems


def _head_of(value: bytes) -> dict[str, Any] | None:
    """A record's body as a signed head, whoever signed it; None if it is none."""
    try:
        head = orjson.loads(value)
    except ValueError:
        return None
    texts = ("place", "digest", "key", "signature")
    if not isinstance(head, dict) or not all(isinstance(head.get(name), str) for name in texts):
        return None
    return head if type(head.get("offset")) is int else None
