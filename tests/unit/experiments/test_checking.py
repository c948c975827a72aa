"""Given files in a store, when they are looked at, then what was changed or is gone is damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.language.objects import ObjectRef
from events.objects.address import blob_name
from events.objects.manifest import BundleFile, Manifest
from events.objects.store import Objects, ObjectStoreError
from services.experiments.checking import seen_in


async def kept(objects: Objects, **files: bytes) -> tuple[ObjectRef, dict[str, ObjectRef]]:
    """A bundle of these files in the store, and the files."""
    refs = {name: await objects.put(content) for name, content in files.items()}
    found = [BundleFile(path=name, digest=ref.digest, size=ref.size) for name, ref in refs.items()]
    return await objects.put(Manifest(files=tuple(found)).to_bytes()), refs


async def test_intact_files_are_counted_and_each_content_is_read_once(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    bundle, _ = await kept(objects, a=b"abc", b=b"defg", again=b"abc")
    seen = await seen_in(objects, bundle)
    assert (seen.problem, seen.files, seen.size) == ("", 3, 10)
    assert sorted(start for _, start in seen.beginnings) == [b"abc", b"defg"]


async def test_a_flipped_byte_is_damage(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    bundle, refs = await kept(objects, a=b"abc", b=b"defg")
    blob = tmp_path / blob_name(refs["b"].digest)
    blob.chmod(0o600)
    blob.write_bytes(b"dEfg")
    seen = await seen_in(objects, bundle)
    assert seen.problem.startswith(f"b: The object blake3:{refs['b'].digest} is damaged: its bytes have the digest")
    assert (seen.files, seen.size) == (2, 7)


async def test_a_file_that_is_gone_is_damage_and_so_is_the_list_of_files(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    bundle, refs = await kept(objects, a=b"abc")
    await objects.delete(refs["a"].digest)
    assert (await seen_in(objects, bundle)).problem.startswith("a: There is no object blake3:")
    await objects.delete(bundle.digest)
    assert (await seen_in(objects, bundle)).problem.startswith("the list of its files can't be read: There is no")
    other = await objects.put(b"no list")
    assert "it is no manifest" in (await seen_in(objects, other)).problem


async def test_a_store_that_can_not_be_reached_says_nothing(tmp_path: Path) -> None:
    bundle, _ = await kept(Objects(tmp_path.as_uri()), a=b"abc")
    away = tmp_path / "file"
    away.write_bytes(b"no folder")
    with pytest.raises(ObjectStoreError):
        await seen_in(Objects((away / "store").as_uri()), bundle)
