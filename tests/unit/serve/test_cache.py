"""A version's files are fetched once for a machine, and are what its digest says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile, Manifest
from forgelog.serve.cache import ModelCache
from forgelog.serve.problems import NotServable


class Store:
    """Bundles, and how often each file was fetched."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = {name.replace("__", "/"): data for name, data in contents.items()}
        self.fetched: list[str] = []
        files = [
            BundleFile(path=path, digest=blake3(data).hexdigest(), size=len(data), executable=path == "run")
            for path, data in sorted(self.contents.items())
        ]
        self.manifest = Manifest(files=tuple(files)).to_bytes()
        self.bundle = ObjectRef(digest=blake3(self.manifest).hexdigest(), size=len(self.manifest))

    def read(self, ref: ObjectRef) -> bytes:
        return self.manifest

    def fetch(self, files: Sequence[BundleFile], into: Path) -> None:
        for file in files:
            self.fetched.append(file.path)
            path = into / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.contents[file.path])


def test_files_are_fetched_once_and_are_the_owners_alone(tmp_path: Path) -> None:
    store = Store(model=b"weights", sub__more=b"more", run=b"#!")
    for _ in range(2):
        with ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch) as folder:
            assert (folder / "sub/more").read_bytes() == b"more"
            assert (folder / "model").stat().st_mode & 0o777 == 0o600
            assert (folder / "run").stat().st_mode & 0o777 == 0o700
            assert all(
                path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "cache", folder, folder.parent, folder / "sub")
            )
    assert sorted(store.fetched) == ["model", "run", "sub/more"]


def test_replicas_that_start_together_fetch_once(tmp_path: Path) -> None:
    store = Store(model=b"weights" * 1000)
    barrier = threading.Barrier(4)

    def start() -> bytes:
        barrier.wait()
        with ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch) as folder:
            return (folder / "model").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        found = [each.result() for each in [pool.submit(start) for _ in range(4)]]
    assert found == [b"weights" * 1000] * 4
    assert store.fetched == ["model"]


def test_replicas_serve_at_the_same_time(tmp_path: Path) -> None:
    store = Store(model=b"weights")
    all_serve = threading.Barrier(3)

    def serve() -> bytes:
        with ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch) as folder:
            all_serve.wait(timeout=60)
            return (folder / "model").read_bytes()

    with ThreadPoolExecutor(3) as pool:
        found = [each.result() for each in [pool.submit(serve) for _ in range(3)]]
    assert found == [b"weights"] * 3
    assert store.fetched == ["model"]


def _change(folder: Path) -> None:
    (folder / "model").write_bytes(b"w3ights")


def _add(folder: Path) -> None:
    (folder / "more.py").write_bytes(b"")


def _link(folder: Path) -> None:
    (folder / "model").unlink()
    (folder / "model").symlink_to("/etc/passwd")


def _forge(folder: Path) -> None:
    _change(folder)
    forged = Store(model=b"w3ights")
    (folder.parent / "manifest").write_bytes(forged.manifest)


@pytest.mark.parametrize("damage", [_change, _add, _link, _forge])
def test_files_that_were_changed_are_fetched_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = Store(model=b"weights")
    cache = ModelCache(tmp_path / "cache")
    with cache.held(store.bundle, store.read, store.fetch) as folder:
        damage(folder)
    with cache.held(store.bundle, store.read, store.fetch) as folder:
        assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("model", b"weights")]
    assert store.fetched == ["model", "model"]


def test_a_file_that_came_is_not_read_again_before_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def compare(_: Path, file: BundleFile) -> bool:
        compared.append(file.path)
        return True

    monkeypatch.setattr("forgelog.serve.cache.is_there", compare)
    store = Store(model=b"weights")
    with ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch):
        assert compared == []  # its fetch did that
    with ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch):
        assert compared == ["model"]


def test_files_that_are_not_whole_are_refused_and_not_kept(tmp_path: Path) -> None:
    store = Store(model=b"weights")
    store.contents["model"] = b"others"
    with (
        pytest.raises(NotServable, match="not those of its version"),
        ModelCache(tmp_path / "cache").held(store.bundle, store.read, store.fetch),
    ):
        pass
    left = {path.suffix for path in (tmp_path / "cache").iterdir()}
    assert left == {".lock", ".fetch"}


def test_a_full_cache_gives_up_what_nobody_serves(tmp_path: Path) -> None:
    old, served, new = Store(model=b"old"), Store(model=b"served"), Store(model=b"new")
    cache = ModelCache(tmp_path / "cache", most_bytes=1)
    with cache.held(old.bundle, old.read, old.fetch):
        pass
    with (
        cache.held(served.bundle, served.read, served.fetch) as folder,
        cache.held(new.bundle, new.read, new.fetch),
    ):
        assert (folder / "model").read_bytes() == b"served"
        assert not (tmp_path / "cache" / old.bundle.digest).exists()
