"""TensorBoard's folders: each folder with event files is a run; its scalars are points, its hyperparameters parameters.

Histograms, images, texts and graphs have no place in the platform, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from forgelog.importing.event_files import events, milliseconds, scalar_of
from forgelog.importing.folder import Folder, readable, stamp
from forgelog.importing.source import (
    Content,
    Contents,
    Pieces,
    Series,
    SourceExperiment,
    SourceRun,
    Told,
    Trouble,
    Unreadable,
)
from forgelog_pb.tensorboard.v1.events_pb2 import HparamsContent

KIND = "tensorboard"

_EVENT_FILE = "tfevents"
_SCALARS, _HPARAMS = "scalars", "hparams"
_ENDS = {1: "finished", 2: "failed", 3: "running"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TensorBoard:
    """A `Source`."""

    kind = KIND

    def __init__(self, path: Path, experiment: str = "") -> None:
        """`experiment`: what the runs' experiment is called; the folder's name if left out."""
        self._folder = Folder(path)
        self._experiment = readable(experiment or self._folder.root.name)
        self._files: dict[str, list[Path]] = {}
        """Key of a run → its files, the oldest first."""
        self._left_out: Counter[str] = Counter()

    def contents(self) -> Contents:
        troubles: list[Trouble] = []
        found: dict[str, list[Path]] = {}
        for name, path in self._folder.files(self._folder.root):
            if _EVENT_FILE not in path.name:
                continue
            try:
                real = self._folder.file(path)
            except Unreadable as error:
                troubles.append(Trouble(name, str(error)))
                continue
            found.setdefault(name.rpartition("/")[0], []).append(real)
        if not found and not troubles:
            raise Unreadable(
                f"DIR: {self._folder.root} has no event files of TensorBoard (files with {_EVENT_FILE} in their names)"
            )
        runs: dict[str, SourceRun] = {}
        for place, files in sorted(found.items()):
            run = self._run(place, sorted(files, key=lambda path: path.name))
            if run.key in runs:
                troubles.append(Trouble(place or ".", f"has the same files as {runs[run.key].label}"))
            else:
                runs[run.key] = run
        return Contents([SourceExperiment(KIND, self._experiment)], list(runs.values()), troubles=troubles)

    def _run(self, place: str, files: list[Path]) -> SourceRun:
        """A run is known by its first file and when that begins, wherever its folder lies."""
        began = self._begin(files[0])
        key = f"{self._experiment}/{readable(files[0].name)}@{began}"
        self._files[key] = files
        name = readable(place or self._folder.root.name)
        return SourceRun(key, KIND, name[-250:], "finished", _moment(began), None, label=name)

    @staticmethod
    def _begin(path: Path) -> int | None:
        """When its first event was written, in milliseconds; None if it has none."""
        try:
            with path.open("rb") as file:
                for event in events(file, Told("", [])):
                    return milliseconds(event.wall_time)
        except OSError:
            pass  # told when it is read
        return None

    def fingerprint(self, run: SourceRun) -> str:
        return stamp({path.name: path for path in self._files[run.key]})

    def content(self, run: SourceRun) -> Content:
        """Reads all of the run's files: hyperparameters may stand anywhere, and a run ends with its last event."""
        params: dict[str, str] = {}
        troubles: list[Trouble] = []
        last: int | None = None
        status, ended = "", None
        for event, values in self._read(run, []):
            time = milliseconds(event.wall_time)
            last = time if last is None else max(last, time or last)
            for value in values:
                if value.metadata.plugin_data.plugin_name != _HPARAMS:
                    continue
                try:
                    said = HparamsContent.FromString(value.metadata.plugin_data.content)
                except DecodeError:
                    troubles.append(Trouble(run.where, "has hyperparameters that can't be read"))
                    continue
                params |= {key: _text(each) for key, each in said.session_start_info.hparams.items()}
                if said.HasField("session_end_info"):
                    status = _ENDS.get(said.session_end_info.status, "")
                    ended = milliseconds(said.session_end_info.end_time_secs) or None
        return Content(params, {}, {}, troubles, status=status, ended_at=_moment(last if ended is None else ended))

    def points(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[Series]:
        pieces: dict[str, Pieces] = {}
        plugins: dict[str, str] = {}
        told = Told(run.where, troubles)
        for event, values in self._read(run, troubles):
            time = milliseconds(event.wall_time)
            for value in values:
                number = _number(value, plugins)
                if number is None:
                    self._left_out.update(_kind(value, plugins))
                    continue
                if time is None:
                    told.add(f"{value.tag!r}, step {event.step}: the time is {event.wall_time}")
                    continue
                if value.tag not in pieces:
                    pieces[value.tag] = Pieces(value.tag)
                if (full := pieces[value.tag].add(event.step, time, number)) is not None:
                    yield full
        told.end()
        for each in pieces.values():
            if (rest := each.rest()) is not None:
                yield rest

    def _read(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[tuple[Any, Any]]:
        """The events of a run with their values."""
        for path in self._files[run.key]:
            told = Told(f"{run.where}, {path.name}", troubles)
            try:
                with self._folder.file(path).open("rb") as file:
                    for event in events(file, told):
                        yield event, event.summary.value
            except OSError as error:
                told.add(f"can't be read: {error.strerror}")
            except Unreadable as error:
                told.add(str(error))
            told.end()

    def notes(self) -> list[str]:
        if not self._left_out:
            return []
        told = ", ".join(f"{count} of {kind}" for kind, count in sorted(self._left_out.items()))
        return [f"what is no scalar has no place here and was left out: {told}"]

    def close(self) -> None:
        """Nothing is kept open."""


def _number(value: Any, plugins: dict[str, str]) -> float | None:
    """The number of a value, if it is a scalar. `plugins`: tag → its plugin, which its first value names."""
    plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
    if value.HasField("simple_value"):
        return float(value.simple_value)
    return scalar_of(value.tensor) if plugin == _SCALARS and value.HasField("tensor") else None


def _kind(value: Any, plugins: dict[str, str]) -> Iterator[str]:
    """What a value is that is no scalar, for those who are told; nothing of hyperparameters, which have a place."""
    if plugins[value.tag] != _HPARAMS:
        kinds = (kind for kind in ("image", "histogram", "audio") if value.HasField(kind))
        yield plugins[value.tag] or next(kinds, "tensor")


def _text(value: Any) -> str:
    """A hyperparameter as text: 3, not 3.0."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number.is_integer() and abs(number) < 1 << 53 else repr(number)
    return str(getattr(value, kind)) if kind in ("string_value", "bool_value") else ""


def _moment(time: int | None) -> datetime | None:
    if time is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=time)
    except OverflowError:
        return None
