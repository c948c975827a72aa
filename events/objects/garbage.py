"""Removes garbage: objects that no event names. A plan lists them; a second step removes the objects of the plan.

1. `make_plan` waits until the tables have caught up with the log, and queries which objects events name, including the
   files of bundles.
2. It lists the objects in the store that are older than the grace period and that no event names. It also lists the
   bytes of interrupted uploads, which have no entry, and the uploads by links that did not end.
3. A person reviews the plan.
4. `execute` checks each object of the plan again, and removes it if still no event names it and it is still old enough.
   It never removes an object that is not in the plan.

The grace period protects objects that are uploaded and not named yet. A client asks which objects are missing, puts
those, and then sends the command. An object that was put more than `RENEWED_AFTER` (12 hours) ago counts as missing and
is put again. So an object that a command is about to name is younger than that plus the duration of the upload. The
grace period is twice as long.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from events.language.objects import ObjectDigest
from events.objects.address import format_address
from events.objects.manifest import MAX_MANIFEST_BYTES, NoManifest, digests_in, is_later, parse_manifest
from events.objects.multipart import Unfinished
from events.objects.references import Named, ReferencesUnknown
from events.objects.store import ObjectDamaged, ObjectMissing, Objects

log = logging.getLogger("forgelog.objects")

GRACE = timedelta(hours=24)
"""The grace period: an object is kept this long after it was put, even if no event names it."""
_AT_A_TIME = 500
"""Objects of a plan that are checked at a time."""
_HEAD_BYTES = 64
"""Bytes of a manifest that are enough to tell its version."""


class Asks(Protocol):
    """Queries which objects events name: `events.objects.references.References`."""

    async def caught_up(self) -> None: ...
    async def all(self) -> dict[str, Named]: ...
    async def among(self, digests: Collection[str]) -> dict[str, Named]: ...
    async def bundles(self) -> dict[str, Named]: ...


class PlanUnusable(ValueError):
    """The input is not a plan, or a plan for another store."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Unnamed(_Part):
    """An object that no event names."""

    digest: ObjectDigest
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    put_at: datetime


class Left(_Part):
    """Bytes of an interrupted upload."""

    place: Annotated[str, StringConstraints(pattern=r"^large/[0-9a-f]{32}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    put_at: datetime


class Unended(_Part):
    """An upload that went past the platform, straight to the store, and did not end."""

    place: Annotated[str, StringConstraints(pattern=r"^large/[0-9a-f]{32}$")]
    upload: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    """What the store calls it."""
    size: Annotated[int, Field(ge=0)]
    """Bytes of the parts that came."""
    begun_at: datetime


class Plan(_Part):
    """The objects and bytes to remove."""

    forgelog_garbage: Literal[1] = 1
    store: str
    """The store of the plan: the value of `FORGELOG_OBJECTS`."""
    made_at: datetime
    objects: tuple[Unnamed, ...]
    left: tuple[Left, ...]
    unended: tuple[Unended, ...] = ()

    @property
    def bytes(self) -> int:
        """That become free."""
        parts: tuple[Unnamed | Left | Unended, ...] = (*self.objects, *self.left, *self.unended)
        return sum(each.size for each in parts)

    def to_text(self) -> str:
        return self.model_dump_json(indent=1)


@dataclass(slots=True)
class Removed:
    """The result of executing a plan."""

    objects: int = 0
    uploads: int = 0
    """Interrupted ones, whose bytes or parts were there."""
    bytes: int = 0
    saved: list[str] = field(default_factory=list)
    """Digests of objects that were kept, since an event names them now, or since they were put again."""


def parse_plan(text: bytes, store: str) -> Plan:
    """Raises PlanUnusable."""
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PlanUnusable(f"{place}: {first['msg']}; give what `forgelog objects plan` wrote") from None
    if plan.store != store:
        raise PlanUnusable(
            f"store: the plan is for {plan.store}, and FORGELOG_OBJECTS is {store}; make a plan for this"
        )
    return plan


async def make_plan(
    objects: Objects, references: Asks, store: str, *, grace: timedelta = GRACE, now: datetime | None = None
) -> Plan:
    """List what can be removed. Changes nothing. Raises ReferencesUnknown, ObjectStoreError, ObjectDamaged."""
    now = now or datetime.now(UTC)
    await references.caught_up()
    bundles = _Bundles(objects)
    named = await references.all()
    kept = named.keys() | await bundles.files_of(named.values())
    places, unnamed = set[str](), list[Unnamed]()
    left = [Left(place=name, size=size, put_at=at) async for name, size, at in objects.bytes_of_large()]
    async for each in objects.kept():
        places.add(each.place)
        if each.digest not in kept and each.written < now - grace:
            unnamed.append(Unnamed(digest=each.digest, size=each.size, put_at=each.written))
    unnamed.sort(key=lambda each: each.digest)
    orphans = tuple(each for each in left if each.place not in places and each.put_at < now - grace)
    unended = tuple(
        Unended(place=each.place, upload=each.id, size=each.size, begun_at=each.begun)
        for each in await _unfinished(objects, now - grace)
    )
    return Plan(store=store, made_at=now, objects=tuple(unnamed), left=orphans, unended=unended)


async def execute(
    objects: Objects, references: Asks, plan: Plan, *, grace: timedelta = GRACE, now: datetime | None = None
) -> Removed:
    """Remove the objects of a plan that still may go. Can be repeated. Raises as `make_plan`; objects that were removed
    before the error are gone."""
    before = (now or datetime.now(UTC)) - grace
    removed, bundles = Removed(), _Bundles(objects)
    await references.caught_up()
    for some in _in_batches(plan.objects):
        digests = [each.digest for each in some]
        named = await references.among(digests)
        in_bundles = await bundles.files_of((await references.bundles()).values())
        for each in some:
            put_at = await objects.put_at(each.digest)
            if put_at is None:
                continue  # this plan was executed before
            if each.digest in named or each.digest in in_bundles or put_at >= before:
                removed.saved.append(each.digest)
                continue
            await objects.delete(each.digest)
            removed.objects += 1
            removed.bytes += each.size
    if plan.left:
        places = {each.place async for each in objects.kept()}
        there = {name: at async for name, _, at in objects.bytes_of_large()}
        for part in plan.left:
            if part.place in there and part.place not in places and there[part.place] < before:
                await objects.delete_place(part.place)
                removed.uploads += 1
                removed.bytes += part.size
    if plan.unended and objects.multipart is not None:
        still = {each.id: each for each in await _unfinished(objects, before)}
        for upload in plan.unended:
            if upload.upload in still and still[upload.upload].place == upload.place:
                await objects.multipart.abort(upload.place, upload.upload)
                removed.uploads += 1
                removed.bytes += still[upload.upload].size
    return removed


async def _unfinished(objects: Objects, before: datetime) -> list[Unfinished]:
    """The uploads that began earlier and did not end."""
    if objects.multipart is None:
        return []
    return [each for each in await objects.multipart.unfinished() if each.begun < before]


class _Bundles:
    """The files of bundles; reads each manifest once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: set[str] = set()
        self._files: set[str] = set()

    async def files_of(self, named: Iterable[Named]) -> set[str]:
        """Digests of the files of all bundles that were passed so far. Raises ReferencesUnknown, ObjectStoreError,
        ObjectDamaged."""
        for ref, bundle in named:
            if bundle and ref.digest not in self._known:
                self._files |= await self._read(ref.digest)
                self._known.add(ref.digest)
        return self._files

    async def _read(self, digest: str) -> set[str]:
        """The digests that a manifest names. A missing or invalid manifest names none: a job may name any object as its
        bundle. A manifest that exceeds a bound still names its files. A manifest of a later version is an error, since
        its files are unknown; so is a damaged one, since it may be restored from a copy."""
        ref = await self._objects.stat(digest)
        if ref is None:
            return set()
        try:
            head = b"".join([piece async for piece in self._objects.open(ref, 0, min(ref.size, _HEAD_BYTES))])
            if is_later(head):
                raise ReferencesUnknown(
                    f"{format_address(digest)} is a bundle of a later version, and an event names it; do this with the "
                    "version of Forgelog that the services have"
                )
            if ref.size > MAX_MANIFEST_BYTES:
                return set()
            data = await self._objects.read(ref)
        except ObjectMissing:
            return set()
        except ObjectDamaged:
            log.error("the manifest %s can't be read, so it is not known which files it has", format_address(digest))
            raise
        try:
            return {file.digest for file in parse_manifest(data).files}
        except NoManifest:
            return digests_in(data)


def _in_batches(of: Sequence[Unnamed]) -> Iterator[Sequence[Unnamed]]:
    for at in range(0, len(of), _AT_A_TIME):
        yield of[at : at + _AT_A_TIME]


async def listed(objects: Objects, references: Asks) -> AsyncIterator[tuple[Unnamed, bool]]:
    """All objects of the store, each with whether an event names it. Raises as `make_plan`."""
    await references.caught_up()
    named = await references.all()
    kept = named.keys() | await _Bundles(objects).files_of(named.values())
    async for each in objects.kept():
        yield Unnamed(digest=each.digest, size=each.size, put_at=each.written), each.digest in kept
