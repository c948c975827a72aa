"""The agent's notes on its disk: two folders for each attempt, and its position in the log.

An attempt's control folder is made by its warden; that it exists is the proof that the attempt was started. A restarted
agent finds its processes by these folders: same boot, pid and start time. None of it needs to survive the machine's
boot. A task can't reach them by accident from its own folder. A hostile task can, since it runs as the same user: so
missing or invalid notes count as absent.

    tasks/<allocation>-<task>-<attempt>/   started, or ended and not yet known to the log (files: see `warden`)
    scratch/<the same>/                    the task's own folder: `work`, its working directory, and `secrets`
    code/<the same>/                       its working directory if its job has uploaded code
    bundles/                               files of uploaded code; see `bundles`
    ended/...                              failed ones, kept for a while, to be looked at
    instance.json                          names this folder, and knows a copy of it; see `Store.open`
    membership.json                        whether the running agent holds its node; see `membership`
    spare/, trash/, secrets/, position.json, lock
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from events.language.jobs import ExitReason, ReportJobStarted
from events.log.identity import StoredPosition
from events.log.positions import ReaderPosition
from events.process import notes
from events.process.copied import is_copied, place_of
from events.process.settings import SettingsError
from services.resources.agent import proctree, removing, warden
from services.resources.agent.attempts import Attempt, Exit, Stop, Task

log = logging.getLogger("forgelog.agent.store")

KEEP_SECONDS = 24 * 3600.0
"""How long the folders of failed attempts are kept."""
KEEP_FOLDERS = 1000
"""How many of them at most."""
MEMBERSHIP = "membership.json"
UP = "up.json"
ASKED = frozenset({ExitReason.STOPPED, ExitReason.OUT_OF_MEMORY, ExitReason.LOST, ExitReason.UNHEALTHY})
"""Ends that only the agent asks a warden for."""
STUCK_PAUSE = 600.0
"""Seconds until it is tried again to remove what could not be removed."""
_MOST_ENTERED = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 4
"""Control folders that are open at a time; the agent raises its limit to the hard one."""
_TASK = TypeAdapter(Task)


@dataclass(frozen=True, slots=True)
class Found:
    """An attempt that an earlier agent had started."""

    task: Task
    warden: int
    warden_ticks: int
    pid: int
    """0 when its process never came to be, or its warden died before noting it."""
    ticks: int
    started_at: float
    alive: bool
    """Whether its warden still runs."""
    exit: Exit | None
    stop: Stop | None = None
    """What an earlier agent has asked its warden for."""
    up: bool = False
    """Whether an earlier agent has noted that it is up; see `note_up`."""

    def check(self) -> None:
        """Raises ValueError or OverflowError when it could not be told to the log."""
        start = Attempt(self.task, pid=self.pid, started_at=self.started_at).start()
        ReportJobStarted(job_id=self.task.job_id, node_id="node", tasks=(start,))


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder = folder.resolve()  # a link on the way is the user's own; below no link is followed
        self.tasks = folder / "tasks"
        self.scratch = folder / "scratch"
        self.spare = folder / "spare"
        self.code = folder / "code"
        self.bundles = folder / "bundles"
        self._ended = folder / "ended"
        self._trash = folder / "trash"
        self._position = folder / "position.json"
        self._lock = -1
        self.instance_id = ""
        """Names this folder to the pool; known once it is open."""
        self._stuck: dict[Path, float] = {}
        """What could not be removed → when to try again (monotonic seconds)."""
        self._entered: dict[str, notes.Folder] = {}
        """Control folders that are looked into often, by the attempt's key."""

    def open(self) -> None:
        """Make the folders, take the lock, and find or make the folder's instance.

        The instance is this folder's alone: it is noted with the folder's device and inode, and a copy (also a restored
        backup) gets an instance of its own, since its original may be in use. What a copy says of tasks is not true of
        it, and is put away. Raises SettingsError when another agent has the folder, or it can't be used.
        """
        try:
            for path in (
                self.tasks,
                self.scratch,
                self.code,
                self.spare,
                self._ended,
                self._trash,
                self.folder / "secrets",
            ):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._lock = os.open(self.folder / "lock", flags, 0o600)
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
            self._remove(path)
        self._identify()

    def _identify(self) -> None:
        path = self.folder / "instance.json"
        known = _note(path)
        if known is not None and not is_copied(known, self.folder):
            self.instance_id = known["instance"]
            return
        if known is not None:
            log.warning("%s is a copy of another agent's folder; starting afresh in it", self.folder)
            self._position.unlink(missing_ok=True)
            for task in self.tasks.iterdir():
                self.retire(task.name, keep=True)
        self.instance_id = os.urandom(8).hex()
        warden.write_json(str(path), {"instance": self.instance_id, **place_of(self.folder)})

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
        for key in list(self._entered):
            self.leave(key)
        os.close(self._lock)

    # How far the log was read

    def load_position(self, log_name: str) -> StoredPosition | None:
        """Where to read on in that log (its prefix, pool and partition); None at the very first start there."""
        data = _note(self._position)
        if data is None or data.get("log") != log_name:
            return None
        return StoredPosition(ReaderPosition(data["offset"], data["epoch"]), data.get("origin", ""))

    def save_position(self, log_name: str, stored: StoredPosition) -> None:
        content = {
            "log": log_name,
            "offset": stored.position.offset,
            "epoch": stored.position.epoch,
            "origin": stored.origin,
        }
        warden.write_json(str(self._position), content)

    # Attempts

    def has(self, key: str) -> bool:
        """Whether the attempt was started already."""
        return os.path.lexists(f"{self.tasks}/{key}")

    def found(self) -> list[Found]:
        """The attempts that were started and whose end is not settled. What has no good note is put aside."""
        found = []
        for path in sorted(self.tasks.iterdir()):
            one = self.find(path.name)
            if one is None:
                log.warning("%s has no note of its task; putting it aside", path)
                self.retire(path.name, keep=True)
            else:
                found.append(one)
        known = {one.task.key for one in found}
        for path in (*self.scratch.iterdir(), *self.code.iterdir()):
            if path.name not in known:
                self._put_away(path, self._trash / f"{path.name}.{time.time_ns()}")
        return found

    def find(self, key: str) -> Found | None:
        """An attempt that was started; None when there is no good note of it."""
        control = self.control(key)
        data = _note_in(control, warden.TASK)
        started = _note_in(control, warden.STARTED) or {}
        try:
            one = Found(
                task=_TASK.validate_python(data),
                warden=int(data["warden"]),
                warden_ticks=int(data["warden_ticks"]),
                pid=int(started.get("pid", 0)),
                ticks=int(started.get("ticks", 0)),
                started_at=float(started.get("started_at", 0.0)),
                alive=proctree.alive(int(data["warden"]), int(data["warden_ticks"])),
                exit=self.exit_of(key),
                stop=_stop_in(control),
                up=_note_in(control, UP) is not None,
            )
            one.check()
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return None
        return one if one.task.key == key else None

    def control(self, key: str) -> notes.Folder:
        """The control folder of an attempt."""
        return self._entered.get(key) or notes.Folder(f"{self.tasks}/{key}")

    def enter(self, key: str) -> None:
        """Have an attempt's control folder open from now on, until `leave`, if that leaves enough descriptors."""
        if len(self._entered) < _MOST_ENTERED:
            control = self._entered[key] = self.control(key)
            control.open()

    def leave(self, key: str) -> None:
        if (control := self._entered.pop(key, None)) is not None:
            control.close()

    def exit_of(self, key: str, *, unpublished: bool = False) -> Exit | None:
        """How the attempt ended; None when nobody wrote it down, or what is written can't be.

        `unpublished`: also what its warden kept and did not publish, since the disk was full and it was to write the
        output first. That is the last word once the warden is gone.
        """
        control = self.control(key)
        data = _note_in(control, warden.EXIT)
        if data is None and unpublished:
            data = _note_in(control, notes.kept(warden.EXIT))
        if data is None:
            return None
        try:
            exit = Exit.of(data)
        except ValueError as error:
            log.warning("the note of how %s ended makes no sense: %s", key, error)
            return None
        if exit.reason in ASKED and _stop_in(control) is None:
            log.warning("the note of how %s ended says %s, but nobody asked for that", key, exit.reason.value)
            return None
        return exit

    def last_word(self, key: str) -> Exit | None:
        """How it ended, published or not, as far as that can be read. Its warden is gone."""
        try:
            return self.exit_of(key, unpublished=True)
        except Exception as error:
            log.error("the note of how %s ended can't be read: %s", key, error, exc_info=error)
            return None

    def ask_to_stop(self, key: str, stop: Stop) -> None:
        """Leave the wish where the attempt's warden looks for it; the warden is woken by SIGTERM. Raises OSError."""
        request = {"reason": stop.reason.value, "grace": stop.grace_seconds, "message": stop.message}
        self.control(key).write(warden.STOP, json.dumps(request).encode())

    def note_up(self, key: str) -> None:
        """A service's task has started as it should; its startup probe need not be good again. Raises OSError."""
        self.control(key).write(UP, b"{}")

    def retire(self, key: str, *, keep: bool) -> None:
        """The log knows its end: put the folders away. Secrets are never kept."""
        name = f"{key}.{time.time_ns()}"
        if not keep:
            self.discard_code(key)
        if not self._put_away(self.tasks / key, (self._ended if keep else self._trash) / name):
            self._put_away(self.scratch / key, self._trash / name)
            self.discard_code(key)
        elif not keep:
            self._put_away(self.scratch / key, self._trash / f"{name}.scratch")
        else:
            self._keep_scratch(key, self._ended / name, self._trash / name)

    def new_code(self, key: str) -> Path:
        """Where an attempt's copy of uploaded code is to be made; nothing is there."""
        self.discard_code(key)
        return self.code / key

    def discard_code(self, key: str) -> None:
        self._put_away(self.code / key, self._trash / f"{key}.{time.time_ns()}.code")

    def _keep_scratch(self, key: str, control: Path, trash: Path) -> None:
        """Put the task's own folder into the control folder that is kept. Where a task has put a link or something else
        in place of one of them, it goes to the trash instead."""
        try:
            with notes.entered(str(control)) as folder, notes.entered(f"{self.scratch}/{key}"):
                removing.move(self.scratch / key, "scratch", folder)
                with suppress(FileNotFoundError):
                    removing.move(self.code / key, "code", folder)
            with notes.entered(f"{control}/scratch") as own, suppress(FileNotFoundError):
                removing.move(warden.SECRETS, trash, parent=own)
        except OSError as error:
            log.warning("%s is not kept: %s", self.scratch / key, error.strerror)
            self._put_away(self.scratch / key, trash)
            self.discard_code(key)

    def _put_away(self, path: Path, target: Path) -> bool:
        """Whether it is there now. What can't be moved stays where it is, and is told."""
        try:
            removing.move(path, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("%s can't be put away: %s", path, error.strerror)
            return False
        return True

    def tidy(self) -> None:
        """Remove what was put away and is not kept any more. May take long: run it in a thread."""
        now = time.monotonic()
        self._stuck = {path: again for path, again in self._stuck.items() if again > now}
        stuck = {path.name for path in self._stuck if path.parent == self._trash}
        if left := removing.empty(self._trash, stuck):
            self._leave_for_now([self._trash / name for name in left], list(left.values()))
        kept = sorted((path.lstat().st_mtime, path) for path in self._ended.iterdir())
        for number, (since, path) in enumerate(kept):
            if number < len(kept) - KEEP_FOLDERS or since < time.time() - KEEP_SECONDS:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        if path not in self._stuck and (reasons := removing.remove(path)):
            self._leave_for_now([path], reasons)

    def _leave_for_now(self, paths: Iterable[Path], reasons: Sequence[str]) -> None:
        again = time.monotonic() + STUCK_PAUSE
        self._stuck |= dict.fromkeys(paths, again)
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        log.warning("what is put away can't all be removed: %s%s", "; ".join(reasons[:3]), more)


def _note(path: Path) -> Any:
    return _note_in(notes.Folder(os.fspath(path.parent)), path.name)


def _note_in(folder: notes.Folder, name: str) -> Any:
    """A JSON file that a task may have reached: None when it is anything else than a small plain file of JSON, is not
    there, or was cut short by a power failure."""
    try:
        return json.loads(folder.read(name))
    except (OSError, ValueError, RecursionError):
        return None


def _stop_in(control: notes.Folder) -> Stop | None:
    data = _note_in(control, warden.STOP)
    try:
        return Stop(ExitReason(data["reason"]), float(data["grace"]), str(data["message"])) if data else None
    except (KeyError, TypeError, ValueError):
        return None
