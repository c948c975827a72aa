"""MLflow's folders (``mlruns``): a folder for each experiment and run, a file for each parameter, tag and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from events.process.counts import count_of
from forgelog.importing.folder import Folder, readable, stamp
from forgelog.importing.mlflow import (
    KIND,
    MAX_PARAM,
    MAX_TAG,
    NOTE,
    PARENT,
    WIDEST,
    Artifacts,
    Locations,
    LoggedModel,
    input_of,
    is_deleted,
    moment,
    status_of,
    text,
    version_of,
    without_prompts,
)
from forgelog.importing.source import (
    Content,
    Contents,
    Pieces,
    Series,
    SourceExperiment,
    SourceModel,
    SourceRun,
    SourceVersion,
    Told,
    Trouble,
    Unreadable,
)

META = "meta.yaml"
TRASH, MODELS = ".trash", "models"
_NO_RUNS = frozenset({"tags", "datasets", "traces", MODELS})
"""Folders of an experiment that are no runs."""
_LINE = 1_000
"""Bytes of a line of a metric, at most."""


class MlflowFiles:
    """A `Source`."""

    kind = KIND

    def __init__(self, path: Path, artifacts: Iterable[Path] = ()) -> None:
        """`artifacts`: more folders that have files of runs and models."""
        self._folder = Folder(path)
        self._artifacts = Artifacts(Locations([path, *artifacts]))
        self._places: dict[str, Path] = {}
        """Key of a run → its folder."""

    def contents(self) -> Contents:
        root, troubles = self._folder.root, list[Trouble]()
        experiments: list[SourceExperiment] = []
        runs: list[SourceRun] = []
        for above, gone in ((root, False), (root / TRASH, True)):
            for name in self._names(above, troubles):
                place = above / name
                if name in (TRASH, MODELS) or not (place / META).is_file():
                    continue
                try:
                    experiment = self._experiment(place, gone, troubles)
                except Unreadable as error:
                    troubles.append(Trouble(f"{place.relative_to(root)}/{META}", str(error)))
                    continue
                experiments.append(experiment)
                runs += self._runs(place, experiment, troubles)
        models, notes = without_prompts(self._models(troubles))
        if not experiments and not models and not troubles:
            inner = root / "mlruns"
            hint = f"; did you mean {inner}?" if inner.is_dir() else "; give a folder such as mlruns"
            raise Unreadable(f"STORE: {root} has no experiments of MLflow{hint}")
        without = [key for key, place in self._places.items() if not (place / "artifacts").is_dir()]
        return Contents(experiments, runs, models, troubles, [*notes, *self._artifacts.lacking(without)])

    def _names(self, place: Path, troubles: list[Trouble]) -> list[str]:
        try:
            return self._folder.names(place)
        except Unreadable as error:
            troubles.append(Trouble(str(place.relative_to(self._folder.root)), str(error)))
            return []

    def _experiment(self, place: Path, gone: bool, troubles: list[Trouble]) -> SourceExperiment:
        fields = self._folder.fields(place / META)
        where = f"experiment {text(fields, 'name')!r}"
        tags = self._folder.entries(place / "tags", MAX_TAG * WIDEST, troubles, where)
        note = tags.pop(NOTE, "")
        return SourceExperiment(
            readable(place.name), text(fields, "name"), note, tags, deleted=gone or is_deleted(fields)
        )

    def _runs(self, place: Path, experiment: SourceExperiment, troubles: list[Trouble]) -> Iterator[SourceRun]:
        for name in self._names(place, troubles):
            each = place / name
            if name in _NO_RUNS or not (each / META).is_file():
                continue
            try:
                run = self._run(each, experiment)
            except Unreadable as error:
                troubles.append(Trouble(f"{each.relative_to(self._folder.root)}/{META}", str(error)))
                continue
            self._places[run.key] = each
            yield run
        for name in self._names(place / MODELS, troubles):
            self._logged_model(place / MODELS / name, troubles)

    def _run(self, place: Path, experiment: SourceExperiment) -> SourceRun:
        fields = self._folder.fields(place / META)
        key = text(fields, "run_id") or text(fields, "run_uuid")
        if not key:
            raise Unreadable("has no run_id")
        self._artifacts.add_run(key, text(fields, "artifact_uri"))
        parent = place / "tags" / PARENT
        return SourceRun(
            key=key,
            experiment=experiment.key,
            name=text(fields, "run_name") or text(fields, "name"),
            status=status_of(fields),
            started_at=moment(fields.get("start_time")),
            ended_at=moment(fields.get("end_time")),
            deleted=experiment.deleted or is_deleted(fields),
            parent=self._folder.text(parent, MAX_TAG).strip() if parent.is_file() else "",
        )

    def _logged_model(self, place: Path, troubles: list[Trouble]) -> None:
        if not (place / META).is_file():
            return
        try:
            fields = self._folder.fields(place / META)
            # It lies here, whatever address it had where it was made.
            model = LoggedModel(place.name, text(fields, "name"), text(fields, "source_run_id"), f"{place}/artifacts")
        except Unreadable as error:
            troubles.append(Trouble(f"{place.relative_to(self._folder.root)}/{META}", str(error)))
            return
        if not is_deleted(fields):
            self._artifacts.add_model(model)

    def fingerprint(self, run: SourceRun) -> str:
        place = self._places[run.key]
        logged = {name: each for name, each in self._folder.files(place) if not name.startswith("artifacts/")}
        files = {f"artifacts/{name}": each for name, each in self._files(run, []).items()}
        return stamp({**logged, **files})

    def content(self, run: SourceRun) -> Content:
        place, troubles = self._places[run.key], list[Trouble]()
        params = self._folder.entries(place / "params", MAX_PARAM * WIDEST, troubles, run.where)
        tags = self._folder.entries(place / "tags", MAX_TAG * WIDEST, troubles, run.where)
        return Content(params, tags, self._files(run, troubles), troubles, list(self._inputs(run, troubles)))

    def _inputs(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[dict[str, Any]]:
        place = self._places[run.key]
        for name in self._names(place / "inputs", troubles):
            try:
                fields = self._folder.fields(place / "inputs" / name / META)
                if text(fields, "source_type") != "DATASET":
                    continue  # a model that the run reads
                dataset = self._folder.fields(place.parent / "datasets" / text(fields, "source_id") / META)
                tags = fields.get("tags")
                yield input_of(dataset, tags if isinstance(tags, dict) else {})
            except Unreadable as error:
                troubles.append(Trouble(f"{run.where}, input {name!r}", str(error)))

    def _files(self, run: SourceRun, troubles: list[Trouble]) -> dict[str, Path]:
        own = self._places[run.key] / "artifacts"
        return self._artifacts.of_run(run, (self._folder, own) if own.is_dir() else None, troubles)

    def points(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[Series]:
        folder = self._places[run.key] / "metrics"
        for key, path in self._folder.files(folder):
            told = Told(f"{run.where}, metric {key!r}", troubles)
            try:
                yield from self._series(key, self._folder.file(path), told)
            except Unreadable as error:
                told.add(str(error))
            told.end()

    def _series(self, key: str, path: Path, told: Told) -> Iterator[Series]:
        pieces: dict[str, Pieces] = {}
        try:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(_LINE):
                    number += 1
                    if len(line) == _LINE and not line.endswith(b"\n"):
                        told.add(f"line {number} has more than {_LINE} bytes; the rest of the file is not read")
                        break
                    try:
                        step, time, value, dataset = _point(line.decode())
                    except ValueError:
                        told.add(f"line {number} is {line[:60]!r}, which is no point (time, value, step)")
                        continue
                    if dataset not in pieces:
                        pieces[dataset] = Pieces(key, dataset)
                    if (full := pieces[dataset].add(step, time, value)) is not None:
                        yield full
        except OSError as error:
            told.add(f"can't be read: {error.strerror}")
        for each in pieces.values():
            if (rest := each.rest()) is not None:
                yield rest

    def _models(self, troubles: list[Trouble]) -> Iterator[SourceModel]:
        above = self._folder.root / MODELS
        for name in self._names(above, troubles):
            place = above / name
            if not (place / META).is_file():
                continue
            try:
                yield self._model(place, troubles)
            except Unreadable as error:
                troubles.append(Trouble(f"{MODELS}/{name}", str(error)))

    def _model(self, place: Path, troubles: list[Trouble]) -> SourceModel:
        fields = self._folder.fields(place / META)
        where = f"model {text(fields, 'name')!r}"
        aliases = {}
        for alias, number in self._folder.entries(place / "aliases", 100, troubles, where).items():
            if (meant := count_of(number.strip())) is not None:
                aliases[alias] = meant
            else:
                troubles.append(Trouble(f"{where}, alias {alias!r}", f"means {number!r}, which is no version"))
        versions: list[SourceVersion] = []
        for name in self._folder.names(place):
            each = place / name
            if not name.startswith("version-") or not (each / META).is_file():
                continue
            try:
                tags = self._folder.entries(each / "tags", MAX_TAG * WIDEST, troubles, f"{where}, {name}")
                version = version_of(self._folder.fields(each / META), tags, self._artifacts)
            except Unreadable as error:
                troubles.append(Trouble(f"{where}, {name}", str(error)))
                continue
            if version is not None:
                versions.append(version)
        tags = self._folder.entries(place / "tags", MAX_TAG * WIDEST, troubles, where)
        model = SourceModel(text(fields, "name"), text(fields, "description"), tags, aliases)
        return replace(model, versions=sorted(versions, key=lambda version: version.number))

    def notes(self) -> list[str]:
        """All that is left out is known beforehand."""
        return []

    def close(self) -> None:
        """Nothing is kept open."""


def _point(line: str) -> tuple[int, int, float, str]:
    """Step, time, value, data set of a line: ``time value [step [name digest]]``. Raises ValueError."""
    time, value, *more = line.split()
    step = int(more[0]) if more else 0
    dataset = ""
    if len(more) > 1:
        *names, digest = more[1:]
        dataset = f"{' '.join(names)}@{digest}" if names else digest
    return step, int(time), float(value), dataset
