"""Verification of the whole history, or of what was added to it: reads the log, and changes nothing anywhere.

Every partition's chain is computed again and compared with every record's own hash and with every signed head
(`events.audit.heads`): what was changed, removed, inserted, cut or written anew is named by its partition and offset.
It makes no key, no topic and no table: to read the topics is enough to check them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)

from events.audit.chain_check import ChainCheck, Verified
from events.audit.heads import Head, HeadsProblem, HeadStore, each_head, is_signed
from events.audit.signing import KeyProblem, public_key
from events.language.contexts import VARIABLE
from events.log import topics
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.fetching import Consumer
from events.log.reading import read_to_end
from events.log.repairs import Repairs
from events.log.tail import NoTopic, read_repairs
from events.process.settings import Settings

SIGNED_WITHIN = timedelta(seconds=60)
"""Until then a record has its signed head: services sign every few seconds what their tables have."""

_EARLIER = timedelta(minutes=1)
"""How much before a saved head's own time its successors are looked for: clocks differ."""

_LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)
"""Before any log was written."""

_NO_TOPIC = "there is no such topic, and no head that was checked names it"

_UNREADABLE = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
"""Kafka can't be reached, or does not let us read: that says nothing of the history."""

Progress = Callable[[str, int, int], None]
"""Told the place, records read and records to read."""


async def verify(
    settings: Settings,
    contexts: Sequence[str] = topics.CONTEXTS,
    progress: Progress | None = None,
    *,
    key: bytes | None = None,
    saved: Sequence[dict[str, Any]] = (),
    since: Sequence[dict[str, Any]] = (),
    signed_until: datetime | None = None,
) -> list[Verified]:
    """Check the history of these contexts; what was found of each partition, in order, and of ``audit.heads``.

    `key`: the public key that heads must be signed by, 32 bytes; the platform's own when left out. Without that the
    chain is checked and its heads are not, which is a problem of ``audit.heads``.
    `saved`: heads that were kept elsewhere, which must be of this history too.
    `since`: heads up to which the history was checked before. Of their partitions only what follows is read; each head
    must lie on the chain. Of other partitions everything is.
    `signed_until`: what was written before then must have a signed head; None where that is not asked. So must what
    says that it was written later than now.

    Raises HeadsProblem where `saved` or `since` has nothing about these contexts.

    1. Which of the topics are there. Raises NoTopic where none is.
    2. The signed heads, by place; those of another key are told of.
    3. Each partition's records, against its chain and its heads.
    4. Partitions that heads name and that are not there, or of a context that is not known here. A topic that is not
       there and that no head names was never written: its context has not begun.
    """
    counts = await topics.existing(settings)
    wanted = [topics.events(context) for context in contexts]
    if topics.HEADS not in counts and not any(name in counts for name in wanted):
        raise NoTopic.at(settings, wanted)
    for given in (saved, since):
        if given and not any(_topic_of(head["place"]) in wanted for head in given):
            names = ", ".join(wanted)
            raise HeadsProblem(f"none of the {len(given)} saved heads is of {names}; give heads of what is verified")
    about = Verified(f"{topics.HEADS}/0")
    trusted, why = (key, "") if key is not None else _own_key(settings)
    places = [f"{name}/{number}" for name in wanted for number in range(counts.get(name, 0))]
    results: list[Verified] = []
    with HeadStore() as store:
        begin, unsigned = _take_saved(store, trusted, wanted, saved, since)
        others = _Others()
        ignored = {topics.events(context) for context in topics.CONTEXTS} - set(wanted)
        if topics.HEADS in counts:
            start = min(map(_when, since)) if begin and set(begin) >= set(places) else None
            await _load_heads(settings, store, others, about, trusted, places, ignored, start, progress)
        else:
            about.problem("there is no topic of signed heads")
        repairs = await read_repairs(settings) if topics.REPAIRS in counts else Repairs()
        # CRCs are the broker's own check; off, so that a changed byte is found and named by the chain.
        async with connected(new_consumer(settings, check_crcs=False, **HASTY)) as consumer:
            for place in places:
                first = begin.get(place)
                heads = store.of(place, first.offset if first else 0) if trusted else None
                check = ChainCheck(place, heads, repairs, first)
                results.append(await _verify_partition(consumer, settings.prefix, check, signed_until, progress))
        named = {*store.places(), *unsigned} - set(places)
        if not set(topics.CONTEXTS) <= set(contexts):
            named = {place for place in named if _topic_of(place) in wanted}
        there = await topics.existing(settings, {_topic_of(place) for place in named}) if named else counts
        results += [_not_there(place, wanted, there, store) for place in sorted(named)]
        quiet = {*wanted} - {*counts} - {_topic_of(place) for place in named}
        results += [Verified(f"{name}/0", unchecked=_NO_TOPIC) for name in wanted if name in quiet]
    for found in results:
        others.tell(found)
        found.problems += unsigned.get(found.place, [])
    others.tell_rest(about)
    overdue = signed_until is not None and any(found.unsigned for found in results)
    if trusted is None and (others.any or saved or since or overdue):
        about.problem(f"the signed heads were not checked: {why}")
    if about.more:
        about.problems.append(f"and {about.more} more problems of heads")
    if about.problems:
        results.append(about)
    return results


def _topic_of(place: str) -> str:
    return place.rpartition("/")[0]


def _not_there(place: str, wanted: Collection[str], there: Collection[str], store: HeadStore) -> Verified:
    """Of a place that a head names and that was not read. `there`: the topics that are."""
    topic = _topic_of(place)
    if topic in there and topic not in wanted:
        context = topics.context_of(topic)
        return Verified(place, unchecked=f"no context {context!r} is known here; set {VARIABLE}")
    newest = max((head.offset for head in store.of(place)), default=None)
    if newest is None:  # a saved head names it that another key signed, which is told
        return Verified(place)
    what = "partition" if topic in there else "topic"
    return Verified(place, problems=[f"offset 0: the {what} is gone; a signed head names offset {newest}"])


def _own_key(settings: Settings) -> tuple[bytes | None, str]:
    """The platform's own public key; or None, and why it can't be used."""
    try:
        return public_key(settings), ""
    except KeyProblem as problem:
        return None, str(problem)


def _take_saved(
    store: HeadStore,
    trusted: bytes | None,
    wanted: Sequence[str],
    saved: Sequence[dict[str, Any]],
    since: Sequence[dict[str, Any]],
) -> tuple[dict[str, Head], dict[str, list[str]]]:
    """Put heads from files into the store; the newest of `since` by place, and what is to be told of heads that have
    another signature: nothing begins there."""
    begin: dict[str, Head] = {}
    problems: dict[str, list[str]] = {}
    for head, begins in [*((head, False) for head in saved), *((head, True) for head in since)]:
        place = head["place"]
        if trusted is None or _topic_of(place) not in wanted:
            continue
        if not is_signed(head, trusted):
            text = f"offset {head['offset']}: the saved head is not signed by this key; it proves nothing"
            problems.setdefault(place, []).append(text)
            continue
        kept = Head(head["offset"], head["digest"], saved=True)
        store.add(place, kept)
        if begins and (place not in begin or kept.offset > begin[place].offset):
            begin[place] = kept
    return begin, problems


def _when(head: Mapping[str, Any]) -> datetime:
    """When a head was signed, as its signer's clock had it; long ago when it does not say."""
    try:
        return max(_LONG_AGO, datetime.fromisoformat(head.get("time", "")).astimezone(UTC))
    except (ValueError, TypeError, OverflowError):
        return _LONG_AGO


class _Others:
    """How many heads there are of each place, and which of them another key signed."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        """Place → heads, those of another key, and the lowest and the highest offset of these."""
        self._elsewhere = 0
        self.any = False
        """Whether there is a head at all."""

    def count(self, head: Mapping[str, Any], known: bool, ours: bool) -> None:
        """`known`: its place is there; else anybody may have made up as many places as he likes."""
        if not known:
            self._elsewhere += not ours
            return
        offset = head["offset"]
        counts = self._counts.setdefault(head["place"], [0, 0, offset, offset])
        counts[0] += 1
        if not ours:
            first = counts[1] == 0
            counts[1] += 1
            counts[2:] = [offset, offset] if first else [min(counts[2], offset), max(counts[3], offset)]

    def tell(self, found: Verified) -> None:
        """Of a place, once."""
        total, foreign, lowest, highest = self._counts.pop(found.place, [0, 0, 0, 0])
        if foreign:
            found.problem(
                f"{foreign} of {total} signed heads (at offsets {lowest} to {highest}) are not signed by this "
                f"platform's key: audit.key was replaced, or somebody else signed"
            )

    def tell_rest(self, about: Verified) -> None:
        """Of places that are not there."""
        if self._elsewhere:
            about.problem(
                f"{self._elsewhere} heads name places that are not there, and are not signed by this platform's key"
            )


async def _load_heads(
    settings: Settings,
    store: HeadStore,
    others: _Others,
    about: Verified,
    trusted: bytes | None,
    places: Collection[str],
    ignored: Collection[str],
    since: datetime | None,
    progress: Progress | None,
) -> None:
    """Put the heads that the log has into the store; with `since`, those that were published then or later. Those of
    topics that are `ignored` are none of this."""
    source = TopicPartition(settings.prefix + topics.HEADS, 0)
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        end = (await consumer.end_offsets([source]))[source]
        position = 0
        if since is not None:
            moment = _milliseconds(since - _EARLIER)
            position = getattr((await consumer.offsets_for_times({source: moment}))[source], "offset", end)
        async for raw, head in each_head(consumer, settings, position):
            if raw.offset != position:
                about.problem(f"offset {position}: records up to {raw.offset - 1} are missing: heads were removed")
            position = raw.last + 1
            about.records += 1
            if head is None:
                about.problem(f"offset {raw.offset}: is no signed head")
                continue
            others.any = True
            if trusted is not None and _topic_of(head["place"]) not in ignored:
                ours = is_signed(head, trusted)
                others.count(head, head["place"] in places, ours)
                if ours:
                    store.add(head["place"], Head(head["offset"], head["digest"]))
            if progress is not None and position % 1000 == 0:
                progress(about.place, position, end)
        if position < end:
            about.problem(f"offset {position}: records up to {end - 1} are missing: heads were removed")


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


async def _verify_partition(
    consumer: Consumer, prefix: str, check: ChainCheck, signed_until: datetime | None, progress: Progress | None
) -> Verified:
    topic, _, number = check.found.place.rpartition("/")
    source = TopicPartition(prefix + topic, int(number))
    end = (await consumer.end_offsets([source]))[source]
    try:
        async for _, records in read_to_end(consumer, {source: check.position}):
            for raw in records:
                check.feed(raw)
                end = max(end, check.position)  # more is written meanwhile
            if progress is not None:
                progress(check.found.place, check.position, end)
    except _UNREADABLE:
        raise
    except KafkaError as error:
        check.found.problem(f"offset {check.position}: the broker can't read it: {type(error).__name__}")
        return check.found
    if signed_until is None:
        return check.finish(end)
    return check.finish(end, (_milliseconds(signed_until), _milliseconds(datetime.now(UTC) + SIGNED_WITHIN)))
