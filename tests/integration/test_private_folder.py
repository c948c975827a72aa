"""A data folder that a platform has used, and another user of the machine, who can read, list and enter nothing of it.

With any umask at the start of the platform, and even if the folder is one of an earlier version that let others in.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from forgelog.embedded.layout import TASKS
from forgelog.embedded.platform import Platform
from tests import PATIENCE

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def forgelog(*arguments: str, data: Path, umask: int = 0) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FORGELOG_")}
    ran = subprocess.run(
        [sys.executable, "-c", "from forgelog.cli import main; main()", "--data", str(data), *arguments],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
        env=clean,
        umask=umask,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A folder as an earlier version left it, then used by a platform that was started with a umask of 0."""
    home = Path(tempfile.mkdtemp(prefix="forgelog-private-"))
    home.chmod(0o755)
    data = home / "data"
    (data / "logs").mkdir(parents=True)
    data.chmod(0o711)
    (data / "logs").chmod(0o755)
    (data / "logs" / "old.log").write_text("old")
    (data / "logs" / "old.log").chmod(0o644)
    try:
        forgelog("up", "--servers", "embedded", data=data)
        forgelog("run", "--name", "a", "--", "sh", "-c", "umask; echo lost >&2; exit 0", data=data)
        yield data
    finally:
        asyncio.run(Platform(data).down())
        shutil.rmtree(home, ignore_errors=True)


def modes(paths: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Of those that are still there: the platform runs."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield str(path), path.lstat().st_mode


def everything(data: Path) -> Iterator[Path]:
    """All that the platform wrote: what tasks wrote is left out."""
    yield data
    for folder, folders, names in os.walk(data):
        inside = Path(folder).relative_to(data).parts
        if inside[:1] == ("agents",) and len(inside) == 2:
            yield from (Path(folder, name) for name in folders if name in TASKS)
            folders[:] = [name for name in folders if name not in TASKS]
        yield from (Path(folder, name) for name in (*folders, *names))


def test_all_that_the_platform_writes_is_its_user_s_alone(data: Path) -> None:
    found = list(everything(data))
    kinds = {path.relative_to(data).parts[0] for path in found if path != data}
    assert {"keys", "kafka", "postgres", "agents", "logs", "platform.json", "ports.json", "wanted.json"} <= kinds
    assert len(found) > 1000, "it was used"
    loose = {path: oct(mode) for path, mode in modes(found) if mode & OTHERS}
    assert not loose
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o755, "nothing above it was opened, or closed"


def test_a_task_has_the_umask_that_the_user_had(data: Path) -> None:
    printed = forgelog("run", "--name", "b", "--", "sh", "-c", "umask", data=data, umask=0o77)
    assert int(printed, 8) == 0, "of who started the platform, not of who submits"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_gets_nowhere(data: Path) -> None:
    paths = [str(path) for path in everything(data)]
    assert as_nobody(paths[1:]) == []
    assert as_nobody([str(data)]) == []


def as_nobody(paths: list[str]) -> list[str]:
    """What another user can do with these paths, tried in a process of its own: this one has threads, and what it has
    loaded may not bear a fork."""
    command = [sys.executable, "-c", f"from {__name__} import try_as_nobody; try_as_nobody()"]
    ran = subprocess.run(
        command, input=json.dumps(paths), capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=ROOT
    )
    return list(json.loads(ran.stdout))


def try_as_nobody() -> None:
    """Reads paths, becomes another user, and prints what that one can do with them."""
    paths = json.load(sys.stdin)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    print(json.dumps(list(reached(paths))[:100]))


def reached(paths: list[str]) -> Iterator[str]:
    attempts = (
        ("list", lambda path: os.listdir(path)),
        ("read", lambda path: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))),
        ("make", lambda path: os.close(os.open(f"{path}/x", os.O_WRONLY | os.O_CREAT))),
        ("look", lambda path: os.stat(f"{path}/x")),
        ("connect", lambda path: socket.socket(socket.AF_UNIX).connect(path) if len(path) < 100 else os.stat(path)),
    )
    for path in paths:
        for name, attempt in attempts:
            try:
                attempt(path)
            except PermissionError:
                continue
            except OSError as error:  # not refused: it got as far as to learn what is there
                yield f"{name} {path}: {error.strerror}"
            else:
                yield f"{name} {path}"


def test_doctor_finds_nothing_off_in_it(data: Path) -> None:
    """But for what a machine itself lacks."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FORGELOG_")}
    command = ["doctor", "--security", "--data", str(data), "--output", "json"]
    ran = subprocess.run(
        [sys.executable, "-c", "from forgelog.cli import main; main()", *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=clean,
    )
    found = {check["check"]: check["result"] for check in json.loads(ran.stdout)}
    expected = {"folders above", "data folder", "modes", "keys/owner.key", "keys/services.key", "listeners"}
    expected |= {"kafka", "postgres"}
    assert {name: found.get(name) for name in expected} == dict.fromkeys(expected, "ok")
    assert found["tasks"] == "note"
    assert ran.returncode == (1 if "failed" in found.values() else 0)
