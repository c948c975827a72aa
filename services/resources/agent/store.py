"""What the agent knows on its disk: one folder per attempt, and how far it has read the log.

An attempt's folder is made by its warden; that it exists is the proof that the attempt was started. A restarted agent
finds its processes by these folders: same boot, pid and start time. None of it needs to survive the machine's boot.

    tasks/<allocation>-<task>-<attempt>/   started, or ended and not yet known to the log (files: see `warden`)
    ended/...                              failed ones, kept for a while for whoever wants to look
    instance.json                          names this folder, and knows a copy of it; see `Store.open`
    membership.json                        whether the running agent holds its node; see `membership`
    spare/, trash/, secrets/, position.json, lock
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from events.log.identity import Stand
from events.log.tail import ReaderPosition
from events.runtime.settings import SettingsError
from services.resources.agent import proctree, warden
from services.resources.agent.attempts import Exit, Stop, Task

log = logging.getLogger("forgelog.agent.store")

KEEP_SECONDS = 24 * 3600.0
"""How long the folders of failed attempts are kept."""
KEEP_FOLDERS = 1000
"""How many of them at most."""
MEMBERSHIP = "membership.json"
_TASK_FIELDS = frozenset(field.name for field in fields(Task))


@dataclass(frozen=True, slots=True)
class Found:
    """An attempt that an earlier agent had started."""

    task: Task
    warden: int
    pid: int
    """0 when its process never came to be, or its warden died before noting it."""
    ticks: int
    started_at: float
    alive: bool
    """Whether its warden still runs."""
    exit: Exit | None


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "tasks"
        self.spare = folder / "spare"
        self._ended = folder / "ended"
        self._trash = folder / "trash"
        self._position = folder / "position.json"
        self._lock = -1
        self.instance_id = ""
        """Names this folder to the pool; known once it is open."""

    def open(self) -> None:
        """Make the folders, take the lock, and find or make the folder's instance.

        The instance is this folder's alone: it is noted with the folder's device and inode, and a copy (also a restored
        backup) gets an instance of its own, since its original may be in use. What a copy says of tasks is not true of
        it, and is put away. Raises SettingsError when another agent has the folder, or it can't be used.
        """
        try:
            for path in (self.tasks, self.spare, self._ended, self._trash, self.folder / "secrets"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SettingsError(
                f"FORGELOG_AGENT_DIR={str(self.folder)!r} can't be used: {error.filename}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"FORGELOG_AGENT_DIR={str(self.folder)!r} is in use by another agent; give each a folder of its own"
            ) from None
        self.membership.unlink(missing_ok=True)  # an earlier agent's
        for path in self.spare.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        self._identify()

    def _identify(self) -> None:
        place = os.stat(self.folder)
        here = {"device": place.st_dev, "inode": place.st_ino}
        path = self.folder / "instance.json"
        known = _read(path)
        if known is not None and {name: known.get(name) for name in here} == here:
            self.instance_id = known["instance"]
            return
        if known is not None:
            log.warning("%s is a copy of another agent's folder; starting afresh in it", self.folder)
            self._position.unlink(missing_ok=True)
            for task in self.tasks.iterdir():
                self.retire(task.name, keep=True)
        self.instance_id = os.urandom(8).hex()
        warden.write_json(str(path), {"instance": self.instance_id, **here})

    @property
    def membership(self) -> Path:
        """Says whether the running agent holds its node; absent while none has begun to ask for it."""
        return self.folder / MEMBERSHIP

    def save_membership(self, data: Mapping[str, Any]) -> None:
        try:
            warden.write_json(str(self.membership), {**data, "pid": os.getpid()})
        except OSError as error:  # a full disk, as a rule: the node works all the same
            log.warning("%s can't be written: %s", self.membership, error.strerror)

    def close(self) -> None:
        os.close(self._lock)

    # How far the log was read

    def load_position(self, log_name: str) -> Stand | None:
        """Where to read on in that log (its prefix, pool and partition); None at the very first start there."""
        data = _read(self._position)
        if data is None or data.get("log") != log_name:
            return None
        return Stand(ReaderPosition(data["offset"], data["epoch"]), data.get("origin", ""))

    def save_position(self, log_name: str, stand: Stand) -> None:
        content = {
            "log": log_name,
            "offset": stand.position.offset,
            "epoch": stand.position.epoch,
            "origin": stand.origin,
        }
        warden.write_json(str(self._position), content)

    # Attempts

    def has(self, key: str) -> bool:
        """Whether the attempt was started already."""
        return (self.tasks / key).exists()

    def found(self) -> list[Found]:
        """The attempts that were started and whose end is not settled."""
        found = []
        for path in sorted(self.tasks.iterdir()):
            data = _read(path / warden.TASK)
            if data is None:
                log.warning("%s has no note of its task: its start was cut off; putting it aside", path)
                self.retire(path.name, keep=True)
                continue
            started = _read(path / warden.STARTED) or {}
            task = Task(**{**{k: v for k, v in data.items() if k in _TASK_FIELDS}, "gpus": tuple(data["gpus"])})
            found.append(
                Found(
                    task=task,
                    warden=data["warden"],
                    pid=started.get("pid", 0),
                    ticks=started.get("ticks", 0),
                    started_at=started.get("started_at", 0.0),
                    alive=proctree.alive(data["warden"], data["warden_ticks"]),
                    exit=self.exit_of(path.name),
                )
            )
        return found

    def exit_of(self, key: str) -> Exit | None:
        """How the attempt ended; None when nobody wrote it down."""
        data = _read(f"{self.tasks}/{key}/{warden.EXIT}")
        return Exit.of(data) if data is not None else None

    def ask_to_stop(self, key: str, stop: Stop) -> None:
        """Leave the wish where the attempt's warden looks for it; the warden is woken by SIGTERM."""
        request = {"reason": stop.reason.value, "grace": stop.grace_seconds, "message": stop.message}
        warden.write_json(str(self.tasks / key / warden.STOP), request)

    def retire(self, key: str, *, keep: bool) -> None:
        """The log knows its end: put the folder away."""
        path = self.tasks / key
        if path.exists():
            os.rename(path, (self._ended if keep else self._trash) / f"{key}.{time.time_ns()}")

    def tidy(self) -> None:
        """Remove what was put away and is not kept any more. May take long: run it in a thread."""
        for path in self._trash.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        kept = sorted((path.stat().st_mtime, path) for path in self._ended.iterdir())
        for number, (since, path) in enumerate(kept):
            if number < len(kept) - KEEP_FOLDERS or since < time.time() - KEEP_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path | str) -> Any:
    """A JSON file; None when it is not there, or was cut short by a power failure."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
