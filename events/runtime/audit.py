"""Tamper evidence: signed heads of the hash chain, and verification of the whole history.

Every service publishes the head of each of its partitions (offset, digest, Ed25519 signature, RFC 8032) to
``audit.heads`` when it has moved. `verify` recomputes the chain from offset 0 and compares it with every record's own
hash and with every signed head: a changed, removed or inserted record is named by its offset.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
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


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The platform's key, made at first use: ``audit.key`` in the data folder, readable by its owner only."""
    path = settings.data / "audit.key"
    if not path.exists():
        settings.data.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = path.with_name(f"audit.key.{os.getpid()}")
        made.touch(0o600)
        made.write_bytes(pem)
        try:
            os.link(made, path)  # another service may have been first: its key stands
        except FileExistsError:
            log.debug("the signing key was made by another service")
        made.unlink()
    return _private(path)


def _private(path: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} is no Ed25519 key; restore the platform's own")
    return key


def _public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


async def publish_heads(settings: Settings, runner: Runner) -> None:
    """Publish a signed head of every partition that has moved, for ever."""
    key = signing_key(settings)
    public = _public_bytes(key.public_key()).hex()
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
    """Check the whole history of these contexts; `progress` is told the place, records read and records to read."""
    await topics.ensure_topics(settings)
    heads, broken = await _all_heads(settings)
    repairs = await read_repairs(settings)
    trusted = _public_bytes(signing_key(settings).public_key()).hex()
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
    for head in heads:
        _check_head(head, at_offset.get(head["offset"], ""), end, trusted, found)
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


def _check_head(head: dict[str, Any], digest: str, end: int, trusted: str, found: Verified) -> None:
    body = {name: value for name, value in head.items() if name != "signature"}
    try:
        if head["key"] != trusted:
            raise InvalidSignature
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(head["key"]))
        public.verify(bytes.fromhex(head["signature"]), orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    except (InvalidSignature, KeyError, ValueError):
        found.problems.append(f"a signed head at offset {head.get('offset')} is not signed by this platform's key")
        return
    if head["offset"] >= end:
        found.problems.append(f"offset {end}: the log was cut; a signed head names offset {head['offset']}")
    elif digest != head["digest"]:
        found.problems.append(f"offset {head['offset']}: the history up to here is not the one that was signed")
    else:
        found.heads += 1


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
                try:
                    head = orjson.loads(record.value or b"")
                    heads.setdefault(head["place"], []).append({"offset": -1, **head})
                except (ValueError, TypeError, KeyError):
                    problems.append(f"offset {record.offset}: is no signed head")
    return heads, problems
