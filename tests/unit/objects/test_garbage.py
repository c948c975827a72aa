"""Garbage: a plan names exactly what no event names and what is old; what an event names meanwhile is saved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from events.language.objects import ObjectRef
from events.objects.address import blob_name, index_name, new_place
from events.objects.garbage import GRACE, PlanUnusable, execute, listed, make_plan, parse_plan
from events.objects.hashing import PART_BYTES
from events.objects.manifest import MAX_MANIFEST_BYTES, BundleFile, Manifest
from events.objects.references import Named, ReferencesUnknown
from events.objects.store import ObjectDamaged, Objects
from tests.unit.objects.conftest import Place

LATER = datetime.now(UTC) + GRACE + timedelta(hours=1)
"""When all that is put now is older than the grace."""


class Known:
    """What events name, as a test has it."""

    def __init__(self) -> None:
        self.named: dict[str, Named] = {}
        self.behind = False

    def add(self, ref: ObjectRef, *, bundle: bool = False) -> None:
        self.named[ref.digest] = Named(ref, bundle)

    async def caught_up(self) -> None:
        if self.behind:
            raise ReferencesUnknown("behind")

    async def all(self) -> dict[str, Named]:
        return dict(self.named)

    async def among(self, digests: Collection[str]) -> dict[str, Named]:
        return {digest: named for digest, named in self.named.items() if digest in digests}

    async def bundles(self) -> dict[str, Named]:
        return {digest: named for digest, named in self.named.items() if named.bundle}


async def bundle_of(objects: Objects, *contents: bytes) -> tuple[ObjectRef, list[ObjectRef]]:
    refs = [await objects.put(content) for content in contents]
    files = tuple(BundleFile(path=f"f{n}", digest=ref.digest, size=ref.size) for n, ref in enumerate(refs))
    return await objects.put(Manifest(files=files).to_bytes()), refs


async def test_a_plan_names_what_no_event_names_and_nothing_else(place: Place) -> None:
    objects, known = Objects(place.url), Known()
    named, unnamed = await objects.put(b"named"), await objects.put(b"unnamed")
    large = await objects.put(b"l" * (PART_BYTES + 1))
    manifest, files = await bundle_of(objects, b"one", b"two")
    known.add(named)
    known.add(manifest, bundle=True)
    plan = await make_plan(objects, known, place.url, now=LATER)
    assert {each.digest for each in plan.objects} == {unnamed.digest, large.digest}
    assert (plan.left, plan.bytes) == ((), unnamed.size + large.size)
    kept = place.names()
    removed = await execute(objects, known, parse_plan(plan.to_text().encode(), place.url), now=LATER)
    assert (removed.objects, removed.bytes, removed.saved) == (2, plan.bytes, [])
    gone = kept - place.names()
    assert {blob_name(unnamed.digest), index_name(large.digest)} < gone
    assert len(gone) == 3, "of the large one its bytes, too"
    assert [await objects.read(ref) for ref in (named, *files)] == [b"named", b"one", b"two"]
    again = await execute(objects, known, plan, now=LATER)
    assert (again.objects, again.bytes, again.saved) == (0, 0, [])


async def test_what_is_young_is_in_no_plan(place: Place) -> None:
    objects = Objects(place.url)
    await objects.put(b"young")
    place.write(new_place(), b"young, too")
    plan = await make_plan(objects, Known(), place.url)
    assert (plan.objects, plan.left) == ((), ())


async def test_an_event_between_plan_and_execution_saves_its_object(place: Place) -> None:
    objects, known = Objects(place.url), Known()
    ref = await objects.put(b"named late")
    manifest, files = await bundle_of(objects, b"named late by a bundle")
    plan = await make_plan(objects, known, place.url, now=LATER)
    assert len(plan.objects) == 3
    known.add(ref)
    known.add(manifest, bundle=True)
    removed = await execute(objects, known, plan, now=LATER)
    assert removed.objects == 0
    assert set(removed.saved) == {ref.digest, manifest.digest, files[0].digest}
    assert await objects.read(ref) == b"named late"


async def test_what_is_put_anew_between_plan_and_execution_is_kept(folder: Place, tmp_path: Path) -> None:
    objects = Objects(folder.url)
    ref = await objects.put(b"put anew")
    (file,) = await asyncio.to_thread(lambda: list(tmp_path.rglob(ref.digest)))
    os.utime(file, (0, 0))
    plan = await make_plan(objects, Known(), folder.url)
    assert [each.digest for each in plan.objects] == [ref.digest]
    assert await objects.missing([ref]) == [ref]
    await objects.put(b"put anew")
    removed = await execute(objects, Known(), plan)
    assert (removed.objects, removed.saved) == (0, [ref.digest])


async def test_nothing_but_what_the_plan_has_is_removed(place: Place) -> None:
    objects = Objects(place.url)
    await objects.put(b"planned")
    plan = await make_plan(objects, Known(), place.url, now=LATER)
    later = await objects.put(b"put since")
    await execute(objects, Known(), plan, now=LATER)
    assert await objects.read(later) == b"put since"


async def test_the_rest_of_a_killed_upload_is_removed(place: Place) -> None:
    objects = Objects(place.url)
    whole = await objects.put(b"w" * (PART_BYTES + 1))
    rest = new_place()
    place.write(rest, b"rest")
    known = Known()
    known.add(whole)
    plan = await make_plan(objects, known, place.url, now=LATER)
    assert [each.place for each in plan.left] == [rest]
    await execute(objects, known, plan, now=LATER)
    assert rest not in place.names()
    assert len(await objects.read(whole)) == whole.size


async def test_what_is_no_object_stays(place: Place) -> None:
    place.write("blobs/README", b"a file of somebody's")
    place.write("large/notes.txt", b"another")
    plan = await make_plan(Objects(place.url), Known(), place.url, now=LATER)
    assert (plan.objects, plan.left) == ((), ())


async def test_tables_that_are_behind_stop_it(place: Place) -> None:
    objects, known = Objects(place.url), Known()
    await objects.put(b"unnamed")
    plan = await make_plan(objects, known, place.url, now=LATER)
    kept = place.names()
    known.behind = True
    with pytest.raises(ReferencesUnknown):
        await make_plan(objects, known, place.url, now=LATER)
    with pytest.raises(ReferencesUnknown):
        await execute(objects, known, plan, now=LATER)
    assert place.names() == kept


async def test_a_named_manifest_that_is_none_names_nothing_and_a_damaged_one_stops_it(folder: Place) -> None:
    objects, known = Objects(folder.url), Known()
    known.add(await objects.put(b"{}"), bundle=True)
    known.add(ObjectRef(digest="00" * 32, size=3), bundle=True)
    assert (await make_plan(objects, known, folder.url, now=LATER)).objects == ()
    manifest, _ = await bundle_of(objects, b"file")
    known.add(manifest, bundle=True)
    folder.write(blob_name(manifest.digest), b"x" * manifest.size)
    with pytest.raises(ObjectDamaged):
        await make_plan(objects, known, folder.url, now=LATER)


async def test_files_of_a_manifest_that_breaks_a_bound_of_today_are_kept(place: Place) -> None:
    objects, known = Objects(place.url), Known()
    file, unnamed = await objects.put(b"file"), await objects.put(b"unnamed")
    deep = BundleFile.model_construct(path="d/" * 400 + "a", digest=file.digest, size=file.size, executable=False)
    known.add(await objects.put(Manifest.model_construct(files=(deep,)).to_bytes()), bundle=True)
    assert [each.digest for each in (await make_plan(objects, known, place.url, now=LATER)).objects] == [unnamed.digest]


@pytest.mark.parametrize("length", [30, MAX_MANIFEST_BYTES + 1])
async def test_a_named_bundle_of_a_later_version_stops_it_and_one_that_no_event_names_does_not(
    folder: Place, length: int
) -> None:
    objects, known = Objects(folder.url), Known()
    later = await objects.put(b'{"forgelog_bundle":2,"more":1}\n'.ljust(length, b"\n"))
    plan = await make_plan(objects, known, folder.url, now=LATER)
    assert [each.digest for each in plan.objects] == [later.digest]
    known.add(later)
    assert (await make_plan(objects, known, folder.url, now=LATER)).objects == ()
    known.add(later, bundle=True)
    with pytest.raises(ReferencesUnknown, match=f"{later.digest} is a bundle of a later version"):
        await make_plan(objects, known, folder.url, now=LATER)
    with pytest.raises(ReferencesUnknown, match="later version"):
        await execute(objects, known, plan, now=LATER)


async def test_all_objects_are_listed(place: Place) -> None:
    objects, known = Objects(place.url), Known()
    named, unnamed = await objects.put(b"named"), await objects.put(b"unnamed one")
    known.add(named)
    found = {each.digest: (each.size, is_named) async for each, is_named in listed(objects, known)}
    assert found == {named.digest: (5, True), unnamed.digest: (11, False)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the file"),
        (b"{}", "store"),
        (
            b'{"store": "s3://other", "made_at": "2026-01-01T00:00:00Z", "objects": [], "left": []}',
            "the plan is for s3://other",
        ),
        (
            b'{"store": "x", "made_at": "2026-01-01T00:00:00Z", "objects": [], "left": '
            b'[{"place": "large/../../etc", "size": 1, "put_at": "2026-01-01T00:00:00Z"}]}',
            "left.0.place",
        ),
    ],
)
def test_what_is_no_plan_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(PlanUnusable, match=words):
        parse_plan(text, "x")
