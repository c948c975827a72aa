"""Judges that no wheel has: their own package managers fetch them into the user's cache, once, where those are here.

Each function gives what a test runs, or raises `Missing` with the reason for a skip. What is fetched is made in a
folder of its own, which gets its name when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from forgelog.embedded import jars
from forgelog.embedded.process import EmbeddedError

GRPCURL = "v1.9.3"
KAFKA_TOOLS = jars.Jar(
    "org.apache.kafka:kafka-tools:4.3.1",
    "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",
    698_668,
)
"""Kafka's console tools, of the embedded broker's version."""
KCAT_PACKAGES = ("kcat", "librdkafka1", "libyajl2")
ASYNCAPI = Path(__file__).with_name("asyncapi")

SHORT, LONG = 60.0, 300.0
"""Seconds that a download, or a build from source, may take."""


class Missing(Exception):
    """A judge can't be had here; the text says why."""


@contextmanager
def skipped_if_missing() -> Iterator[None]:
    """Skip the test where the judge that it gets or uses here can't be had."""
    try:
        yield
    except Missing as missing:
        pytest.skip(str(missing))


def kcat() -> Path:
    """librdkafka's command line: the system's, else Debian's package, unpacked without being installed."""
    if found := shutil.which("kcat"):
        return Path(found)
    _needed("apt-get", "dpkg-deb")
    return _kept(f"kcat-{platform.machine()}", _unpack_kcat) / "kcat"


def grpcurl() -> Path:
    """The system's, else built from its source by the system's Go."""
    if found := shutil.which("grpcurl"):
        return Path(found)
    _needed("go")
    return _kept(f"grpcurl-{GRPCURL}-{platform.machine()}", _build_grpcurl) / "grpcurl"


def kafka_tools() -> Path:
    """The jar with Kafka's console tools."""

    def fetch(folder: Path) -> None:
        try:
            jars.download(KAFKA_TOOLS, folder)
        except EmbeddedError as error:
            raise Missing(str(error)) from None

    return _kept(f"kafka-tools-{KAFKA_TOOLS.sha256[:12]}", fetch) / KAFKA_TOOLS.filename


def asyncapi_parser() -> Path:
    """A folder with AsyncAPI's own parser and all that it needs, as its lock file says."""
    _needed("node", "npm")

    def install(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ASYNCAPI / name, folder)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, SHORT)

    lock = (ASYNCAPI / "package-lock.json").read_bytes()
    return _kept(f"asyncapi-parser-{hashlib.sha256(lock).hexdigest()[:12]}", install)


def _needed(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        raise Missing(f"there is no {' and no '.join(missing)} here")


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder of that name, which `make` fills if it is not there."""
    cache = jars.cache_folder() / "judges"
    kept = cache / name
    if kept.is_dir():
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    try:
        make(scratch)
        with suppress(OSError):  # another run was quicker
            scratch.rename(kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return kept


def _run(command: Sequence[str], folder: Path, seconds: float, **environment: str) -> str:
    """What a command printed. Raises Missing with the last line of what it complained of."""
    try:
        ran = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"`{' '.join(command)}` took longer than {seconds:.0f} s") from None
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip() or "nothing").splitlines()[-1]
        raise Missing(f"`{' '.join(command)}` ended with {ran.returncode}: {said}")
    return ran.stdout


def _unpack_kcat(folder: Path) -> None:
    try:
        _run(["apt-get", "download", *KCAT_PACKAGES], folder, SHORT)
    except Missing:
        # no package lists, or old ones: new ones are kept apart from the system's
        own = folder / "apt"
        (own / "lists/partial").mkdir(parents=True)
        apart = ["apt-get", "-o", f"Dir::State::Lists={own / 'lists'}", "-o", f"Dir::Cache={own}"]
        _run([*apart, "update"], folder, SHORT)
        _run([*apart, "download", *KCAT_PACKAGES], folder, SHORT)
        shutil.rmtree(own)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), "."], folder, SHORT)
        package.unlink()
    (library,) = (folder / "usr/lib").glob("*-linux-gnu*")
    launcher = folder / "kcat"
    launcher.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\n'
        f'LD_LIBRARY_PATH="$here/usr/lib/{library.name}" exec "$here/usr/bin/kcat" "$@"\n'
    )
    launcher.chmod(0o755)
    _run([str(launcher), "-V"], folder, SHORT)


def _build_grpcurl(folder: Path) -> None:
    package = f"github.com/fullstorydev/grpcurl/cmd/grpcurl@{GRPCURL}"
    _run(["go", "install", package], folder, LONG, GOBIN=str(folder), GOTOOLCHAIN="local", GOFLAGS="")
