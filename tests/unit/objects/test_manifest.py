"""A manifest comes from anyone: what would leave its folder, or is too much, is none."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from events.objects.manifest import MAX_FILES, MAX_MANIFEST_BYTES, BundleFile, Manifest, NoManifest, parse_manifest

DIGEST = "4f" * 32


HEAD = b'{"forgelog_bundle":1}\n'


def lines(*files: Any) -> bytes:
    return HEAD + b"".join(json.dumps(file).encode() + b"\n" for file in files)


def manifest(*paths: str, **more: Any) -> bytes:
    return lines(*({"path": path, "digest": DIGEST, "size": 3, **more} for path in paths))


def test_equal_folders_have_equal_manifests() -> None:
    files = [BundleFile(path=path, digest=DIGEST, size=3) for path in ("src/b.py", "src/a.py", "z", ".env.example")]
    assert Manifest(files=tuple(files)).to_bytes() == Manifest(files=tuple(reversed(files))).to_bytes()
    assert {file.path for file in parse_manifest(Manifest(files=tuple(files)).to_bytes()).files} == {
        file.path for file in files
    }


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../../up",
        "a/..",
        "..",
        ".",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        "n" * 256,
        "a/" * 512 + "a",
        "d/" * 65 + "a",
    ],
    ids=lambda path: repr(path[:20]),
)
def test_a_path_that_is_none_in_a_folder_is_refused(path: str) -> None:
    with pytest.raises(NoManifest, match="line 2: path"):
        parse_manifest(manifest(path))


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c", "a/b"), ("x", "a", "a/b/c/d")])
def test_a_path_through_a_file_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(NoManifest, match="goes through a file"):
        parse_manifest(manifest(*paths))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        HEAD[:-1],
        HEAD + b"\n",
        HEAD + b"\xff\n",
        HEAD + b"[]\n",
        manifest("a")[:-1],
        manifest("a")[:-20],
        manifest("a", "a"),
        manifest("a", link="/etc"),
        manifest("a", digest="../../x"),
        manifest("a", size=-1),
        manifest("a", size="3"),
        manifest("a", executable="yes"),
        manifest("a", "b", size=20 << 30),
        b'{"forgelog_bundle":2}\n',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(NoManifest):
        parse_manifest(data)


BOMBS = {
    "files": HEAD + b"{}\n" * (MAX_FILES + 1),
    "lines": HEAD + b"\n" * (MAX_MANIFEST_BYTES - len(HEAD)),
    "bytes": HEAD + b" " * MAX_MANIFEST_BYTES + b"\n",
    "lists": HEAD + b"[" + b"[]," * (MAX_MANIFEST_BYTES // 4) + b"[]]\n",
    "objects": HEAD + b"[" + b"{}," * (MAX_MANIFEST_BYTES // 4) + b"{}]\n",
    "deep": HEAD + b"[" * 4000 + b"]" * 4000 + b"\n",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_would_take_much_memory_is_refused_unread(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NoManifest):
            parse_manifest(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_deepest_file_is_taken() -> None:
    assert parse_manifest(manifest("d/" * 64 + "a")).files[0].path == "d/" * 64 + "a"


def test_the_longest_path_fits_into_its_line() -> None:
    path = "/".join(["\x01" * 200] * 5)
    assert (
        parse_manifest(Manifest(files=(BundleFile(path=path, digest=DIGEST, size=3),)).to_bytes()).files[0].path == path
    )
