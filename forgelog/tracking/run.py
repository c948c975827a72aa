"""`forgelog.run`: a run of an experiment, for the program that trains.

All that is said of a run goes into the spool, a folder on this machine, and a process beside the program sends it to
the platform: so a call costs microseconds, and neither a platform that is away nor a kill -9 of the program loses
anything. Knows no connection.
"""

from __future__ import annotations

import math
import os
import shutil
import time as clock
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forgelog.command_ids import new_id
from forgelog.errors import InvalidInput, Unavailable
from forgelog.tracking import checking, ending
from forgelog.tracking.around import Around
from forgelog.tracking.recording import Recorder, over
from forgelog.tracking.spool import About, Session, Spool, State
from forgelog.tracking.starting import Sender

WAIT = 10.0
"""Seconds for which the end of a run waits without any word of its sender."""
_LOOK = 0.02
MOST_ENTRIES = 1000
"""Parameters, or tags, of one command."""
MOST_TEXT = 400_000
"""Characters of them."""


class RunWarning(UserWarning):
    """Something that was said of a run does not reach the platform, or not now. Training goes on."""


class Run:
    """A run that this program logs to. Made by `forgelog.run`.

    Several threads may use it. A forked process may log to it too; only the process that began it ends it.
    """

    def __init__(
        self,
        spool: Spool,
        around: Around,
        sending: Sender,
        id: str,
        experiment: str,
        name: str,
        program: dict[str, Any] | None = None,
    ) -> None:
        """Use `forgelog.run`."""
        self.id = id
        self.experiment = experiment
        """The experiment's name; empty where the program did not say it."""
        self.name = name
        self._spool = spool
        self._around = around
        self._sender = sending
        self._program = program
        self._session: Session | None = None
        self._points = Recorder(id, sending.wake, self._warn)
        self._params: dict[str, str] = {}
        self._pid = os.getpid()
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    # Points

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        /,
        *,
        step: int | None = None,
        time: datetime | int | None = None,
        dataset: str = "",
        model_id: str = "",
        **more: float,
    ) -> None:
        """Log values of metrics at a step: ``run.log(loss=0.5, step=3)``, or ``run.log({"val/loss": 0.5}, step=3)``.

        `step`: one more than the last one (0 at first) if left out. `time`: a datetime, or milliseconds since 1970; now
        if left out. `dataset`: what it was measured on; `model_id`: the model whose metric it is.

        Costs some microseconds and never waits. Raises `InvalidInput`, which names what is no number or no name.
        """
        values = checking.merged(metrics, more, "metrics") if metrics is not None else more
        if values:
            at = None if time is None else checking.moment(time)
            self._points.add(step, at, values, dataset, model_id)

    @property
    def dropped(self) -> int:
        """Points of this process that were not kept, since the spool was full."""
        return self._points.dropped

    @property
    def params(self) -> dict[str, str]:
        """The parameters that this process has logged."""
        return {**self._params}

    # Everything else

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Log parameters: ``run.log_params(lr=0.1)``. A value becomes text; a mapping in a mapping gives dotted names.
        A parameter keeps its first value. Raises `InvalidInput`."""
        found = checking.params(checking.merged(params, more, "params"))
        for name, value in found.items():
            if self._params.get(name, value) != value:
                raise InvalidInput(
                    f"params.{name}: is {value[:60]!r}, but the run has it as {self._params[name][:60]!r} already; log "
                    "it under another name"
                )
        self._params.update(found)
        for batch in batches(found):
            self.note("LogRunData", {"params": batch})

    def set_tags(self, tags: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set tags, whose values may change; None takes one away. Raises `InvalidInput`."""
        for batch in batches(checking.tags(checking.merged(tags, more, "tags"))):
            self.note("LogRunData", {"tags": batch})

    def log_input(
        self,
        name: str,
        digest: str,
        *,
        role: str = "",
        source: str = "",
        source_type: str = "",
        columns: str = "",
        profile: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Say which dataset the run reads. Name and digest say which: a registered version that has both is the same
        one. `role`: what it is used for, such as ``training``. Raises `InvalidInput`."""
        given = {"name": name, "digest": digest, "role": role, "source": source, "source_type": source_type}
        found = checking.dataset_input({**given, "columns": columns, "profile": profile, "tags": tags})
        self.note("LogInputs", {"inputs": [found]})

    def log_artifact(self, file: str | Path, *, folder: str = "") -> None:
        """Log a file, or a folder with its name, as it is now, into a folder of the run.

        It is copied into the spool, and sent from there. One that the spool has no room for is sent from where it lies,
        and the call waits for that. Raises `InvalidInput`, and then `Unavailable`."""
        self._put(Path(file), folder, named=True)

    def log_artifacts(self, source: str | Path, *, folder: str = "") -> None:
        """As `log_artifact`, but a folder's files are logged without its name."""
        self._put(Path(source), folder, named=False)

    def _put(self, source: Path, folder: str, *, named: bool) -> None:
        base = Path(*[part for part in folder.split("/") if part])
        if ".." in base.parts or "\0" in folder:
            raise InvalidInput(f"folder: {folder[:60]!r} is no path in a run; write it without ..")
        try:
            real = source.resolve(strict=True)
            if not (real.is_dir() or real.is_file()):
                raise InvalidInput(f"{source}: is neither a file nor a folder")
            size = sum(each.stat().st_size for each in real.rglob("*") if each.is_file()) if real.is_dir() else (
                real.stat().st_size)  # fmt: skip
            session = self._open()
            if not self._spool.has_room(size):
                self.note("artifacts", {"source": str(real), "folder": base.as_posix(), "named": named})
                self._send_now(source, size)
                return
            place = session.place()
            target = place / base if not real.is_dir() or not named else place / base / real.name
            if real.is_dir():
                shutil.copytree(real, target, dirs_exist_ok=True, copy_function=_copy)
            else:
                target.mkdir(parents=True, exist_ok=True)
                _copy(real, target / source.name)
        except OSError as error:
            raise InvalidInput(f"{source}: can't be logged: {error.strerror or error}") from None
        self.note("artifacts", {"place": place.name})

    def _send_now(self, source: Path, size: int) -> None:
        if not self.flush(math.inf):
            raise Unavailable(
                f"{source}: has {size} bytes, for which the spool {self._spool.path} has no room, and it can't be sent "
                f"now: {self._why_not()}"
            )

    def flush(self, timeout: float = WAIT) -> bool:
        """Wait until the platform has all that this process has logged. `timeout`: seconds without any progress.
        Whether it has; False at once when it can't be reached."""
        session = self._open()
        self._points.finish()
        return self._wait(session, timeout)

    # Its end

    def end(self, status: str = ending.FINISHED, reason: str = "") -> None:
        """Say how the run ended: finished, failed or killed. Does nothing if it is ended already, or in a forked
        process.

        Waits until the platform has everything, for as long as that goes on. When the platform is away, all stays in
        the spool, and a warning says so. Raises `InvalidInput`."""
        if status not in (ending.FINISHED, ending.FAILED, ending.KILLED):
            raise InvalidInput(f"status: {status[:60]!r} is no end of a run; write finished, failed or killed")
        session = self._session
        if session is None or self._pid != os.getpid():
            return
        self._points.close()
        self._session = None
        ended_at = datetime.now(UTC).isoformat()
        body = {"status": status, "reason": reason[: checking.MAX_REASON], "ended_at": ended_at}
        try:
            self._append(session, "EndRun", body)
            self._append(session, "closed", {})
            if not self._wait(session, WAIT):
                self._warn(
                    f"run {self.id} is kept in {self._spool.path}: {self._why_not(session)}. The next run sends it, or "
                    "`forgelog runs sync`"
                )
            self._tell(session)
        finally:
            session.close()
            ending.ended(self)

    def resume(self) -> None:
        """Go on with the run after its end. Does nothing if it is not ended."""
        if self._session is None:
            self.begin("ResumeRun", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(*ending.of(error))

    def __reduce__(self) -> Any:
        return joined, (str(self._spool.path), self._spool.limit, str(self._open().folder), self._around, self.name)

    # Its session

    def begin(self, kind: str, body: dict[str, Any]) -> None:
        """Begin a session of it, with this command."""
        self._spool.make()
        about = About(
            self.id,
            self._around.destination,
            project=self._around.project,
            in_job=self._around.process is not None,
            pid=os.getpid(),
            program=self._program,
        )
        session = self._spool.begin(about)
        self._append(session, kind, body)
        self._params.update(body.get("params") or {})
        self._session = session
        self._points.open(session)
        self._pid = os.getpid()
        ending.began(self)
        self._wake()

    def _wake(self) -> None:
        if not self._sender.wake() and self._sender.problem:
            self._warn(f"run {self.id} is only kept in {self._spool.path}: {self._sender.problem}")

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Have a command on it sent."""
        session = self._open()
        self._append(session, kind, body)
        self._wake()
        self._tell(session)

    def _append(self, session: Session, kind: str, body: dict[str, Any]) -> None:
        try:
            session.note(kind, body, new_id())
        except OSError as error:
            self._warn(f"{kind} of run {self.id} can't be kept in {session.folder}: {error.strerror or error}")

    def _open(self) -> Session:
        if self._session is None:
            raise over(self.id)
        return self._session

    def _wait(self, session: Session, timeout: float) -> bool:
        """Whether the platform has what is in the session by now."""
        asked, seen, until = clock.time(), -1, clock.monotonic() + timeout
        size = session.written()
        mine = [*session.folder.glob(f"points-{os.getpid()}-*")]
        self._sender.wake()
        while session.folder.exists():
            state = State.read(session.folder)
            left = [each for each in mine if each.exists()]
            if state.journal >= size and not left:
                return True
            if state.away and state.tried_at >= asked:
                return False
            if (progress := state.journal + sum(state.segments.values()) - len(left)) != seen:
                seen, until = progress, clock.monotonic() + timeout
            if clock.monotonic() > until:
                return False
            clock.sleep(_LOOK)
        return True

    def _why_not(self, session: Session | None = None) -> str:
        session = session or self._session
        state = State.read(session.folder) if session is not None else State()
        return state.away or self._sender.problem or "its sender gives no word"

    def _tell(self, session: Session) -> None:
        """Warn of what the platform refused."""
        for problem in State.read(session.folder).problems:
            self._warn(f"run {self.id}: {problem}")

    def _warn(self, text: str) -> None:
        """Once each."""
        if text not in self._told:
            self._told.add(text)
            warnings.warn(text, RunWarning, stacklevel=4)

    def forked(self) -> None:
        """This is a process that was forked."""
        self._points.forked()
        if self._session is not None:
            self._session.forked()


def joined(spool: str, limit: int, folder: str, around: Around, name: str) -> Run:
    """A run that another process handed to this one, which may log to it and not end it."""
    where = Spool(Path(spool), limit)
    session = Session.join(where, Path(folder))
    resting = Sender(where, around.destination, None, starts=False)
    made = Run(where, around, resting, session.about.run_id, "", name)
    made._session = session
    made._points.open(session)
    made._pid = 0
    return made


def _copy(source: str | Path, target: str | Path) -> None:
    """For its user alone, as all of a spool."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    shutil.copyfile(source, target)


def batches(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What one command each may say."""
    batches: list[dict[str, Any]] = []
    size = 0
    for key, value in given.items():
        length = len(key) + len(value or "")
        if not batches or len(batches[-1]) == MOST_ENTRIES or size + length > MOST_TEXT:
            batches.append({})
            size = 0
        batches[-1][key] = value
        size += length
    return batches
