"""The broker's jars: exactly those of the lock file, checked by SHA-256, kept in a per-user cache.

They come by their Maven coordinates through `jgo`. Its resolver is not asked what belongs together: it pairs a broker
with another version's client library. Must not know how a broker is configured.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from forgelog.embedded.process import EmbeddedError

Progress = Callable[[str, int, int], None]
"""(what, done, total), both in bytes."""

_ATTEMPTS = 3
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Jar:
    coordinate: str
    """``group:artifact:version``"""
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Lock:
    kafka: str
    jars: tuple[Jar, ...]
    digest: str
    """Of the lock file: a changed one gets a folder of its own."""

    @property
    def size(self) -> int:
        return sum(jar.size for jar in self.jars)


def read_lock() -> Lock:
    text = files("forgelog.embedded").joinpath("kafka.lock.json").read_bytes()
    content = json.loads(text)
    jars = tuple(Jar(**jar) for jar in content["jars"])
    return Lock(content["kafka"], jars, hashlib.sha256(text).hexdigest()[:12])


def cache_folder() -> Path:
    """Shared by all platforms of a user (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "forgelog"


def folder(cache: Path | None = None) -> Path:
    """Where the jars of the lock file are, or will be."""
    lock = read_lock()
    return (cache or cache_folder()) / f"kafka-{lock.kafka}-{lock.digest}"


def complete(folder: Path, lock: Lock) -> bool:
    """Whether every jar is there. Contents were checked before a jar got its name; sizes show damage done since."""
    try:
        return all((folder / jar.filename).stat().st_size == jar.size for jar in lock.jars)
    except FileNotFoundError:
        return False


def fetch(progress: Progress | None = None, cache: Path | None = None) -> Path:
    """The folder with all jars, downloading the missing ones. Raises EmbeddedError; what was fetched is kept."""
    lock, target = read_lock(), folder(cache)
    if complete(target, lock):
        return target
    target.mkdir(parents=True, exist_ok=True)
    # The largest first, so that no long download starts when all others are finished.
    missing = sorted((jar for jar in lock.jars if not _present(target, jar)), key=lambda jar: -jar.size)
    done = lock.size - sum(jar.size for jar in missing)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        waiting = [pool.submit(download, jar, target) for jar in missing]
        try:
            for jar, future in zip(missing, waiting, strict=True):
                future.result()
                done += jar.size
                if progress:
                    progress(jar.filename, done, lock.size)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return target


def _present(folder: Path, jar: Jar) -> bool:
    path = folder / jar.filename
    return path.is_file() and path.stat().st_size == jar.size


def download(jar: Jar, folder: Path) -> None:
    """One jar into a folder. Raises EmbeddedError."""
    from jgo.maven import MavenContext  # 0.2 s of imports, needed once per user

    problem: Exception | None = None
    for _ in range(_ATTEMPTS):
        # A place of its own: jgo writes straight to the final name, so a broken download would pass for a whole one.
        scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
        try:
            context = MavenContext(repo_cache=scratch, timeout=60)
            fetched = context.create_dependency(jar.coordinate).artifact.resolve()
            sha256 = hashlib.sha256(fetched.read_bytes()).hexdigest()
            if sha256 != jar.sha256:
                raise EmbeddedError(
                    f"{jar.coordinate} does not match its SHA-256 in kafka.lock.json (got {sha256}): the download was "
                    f"damaged or changed on the way. Try again; if it stays, use another network or give a broker by "
                    f"FORGELOG_KAFKA."
                )
            os.replace(fetched, folder / jar.filename)
            return
        except (OSError, RuntimeError, EmbeddedError) as error:
            # requests' errors are OSErrors; jgo raises RuntimeError when no repository has the artifact
            problem = error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if isinstance(problem, EmbeddedError):
        raise problem
    raise EmbeddedError(
        f"the broker's jar {jar.coordinate} could not be downloaded: {problem}. Check the network (HTTPS_PROXY is "
        f"honoured) and try again, or give a broker by FORGELOG_KAFKA, or start a Docker engine."
    ) from problem
