"""What MLflow's folders and its databases have in common: words, times, and where the files of runs and models lie.

Read by this package itself: the package mlflow is not needed, and its servers are not spoken to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from forgelog.importing.folder import Folder, readable
from forgelog.importing.source import SourceModel, SourceRun, SourceVersion, Trouble, Unreadable

KIND = "mlflow"

STATUSES = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
    1: "running",
    2: "running",
    3: "finished",
    4: "failed",
    5: "killed",
}
"""MLflow's words and numbers, and the platform's words."""

NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
CONTEXT = "mlflow.data.context"
PROMPT = "mlflow.prompt.is_prompt"

MAX_PARAM, MAX_TAG = 6_000, 8_000
"""Characters of a value."""
MAX_DETAILS = 60_000
"""Characters of what is said of a dataset."""
MAX_BITS = 64
"""Of a number; Python does not write out very large ones."""
WIDEST = 4
"""Bytes of a character, at most."""

_DELETED_VERSION = "Deleted_Internal"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: Any) -> datetime | None:
    """A time of MLflow's; None if it is none."""
    try:
        return _EPOCH + timedelta(milliseconds=int(milliseconds))
    except (TypeError, ValueError, OverflowError):
        return None


def text(fields: Mapping[str, Any], name: str) -> str:
    """A field that is text, a number or missing. Raises `Unreadable` for another."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Unreadable(f"has a {name} of {value.bit_length()} bits")
    if isinstance(value, str | int | float):
        return readable(str(value))
    raise Unreadable(f"has a {name} that is no text")


def is_deleted(fields: Mapping[str, Any]) -> bool:
    return text(fields, "lifecycle_stage").lower() == "deleted"


def status_of(fields: Mapping[str, Any]) -> str:
    """Raises `Unreadable`."""
    value = fields.get("status", 1)
    if isinstance(value, str | int) and value in STATUSES:
        return STATUSES[value]
    raise Unreadable(f"has the status {text(fields, 'status')[:40]!r}, which MLflow does not have")


def input_of(dataset: Mapping[str, Any], tags: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset that a run reads, as `LogInputs` takes it. Raises `Unreadable`."""
    rest = {key: text(tags, key) for key in tags}
    said = {"source_type": "source_type", "source": "source", "columns": "schema", "profile": "profile"}
    details = {ours: text(dataset, theirs) for ours, theirs in said.items()}
    if long := next((name for name, value in details.items() if len(value) > MAX_DETAILS), ""):
        raise Unreadable(f"has a {said[long]} of {len(details[long])} characters; {MAX_DETAILS} at most")
    names = {"name": text(dataset, "name"), "digest": text(dataset, "digest")}
    return {**names, "role": rest.pop(CONTEXT, ""), **details, "tags": rest}


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that a run of MLflow 3 logged: its files lie beside the run's."""

    id: str
    name: str
    run: str
    location: str


class Locations:
    """Finds files by the addresses that MLflow has for them, in folders that were given and nowhere else."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [Folder(path) for path in folders]

    def find(self, address: str) -> tuple[Folder, Path] | None:
        """The folder or file of an address; None if it is in none of the folders.

        Stores are moved: ``/home/ada/mlruns/3/4e70/artifacts`` is also found as ``3/4e70/artifacts`` in a folder."""
        parts = self._parts(address)
        for folder in self._folders:
            whole = Path("/", *parts)
            if whole.is_relative_to(folder.root) and _exists(whole):
                return folder, whole
            for first in range(len(parts) - 1):  # at least two names: one alone, such as `artifacts`, says too little
                found = folder.root.joinpath(*parts[first:])
                if _exists(found):
                    return folder, found
        return None

    @staticmethod
    def _parts(address: str) -> list[str]:
        try:
            split = urlsplit(address)
        except ValueError:
            return []
        path = unquote(split.path) if split.scheme else address
        return [part for part in path.split("/") if part not in ("", ".", "..")]


class Artifacts:
    """The files of runs and versions."""

    def __init__(self, locations: Locations) -> None:
        self._locations = locations
        self._models: dict[str, list[LoggedModel]] = {}
        self._addresses: dict[str, str] = {}
        self._by_id: dict[str, LoggedModel] = {}

    def add_run(self, key: str, address: str) -> None:
        self._addresses[key] = address.rstrip("/")

    def add_model(self, model: LoggedModel) -> None:
        self._models.setdefault(model.run, []).append(model)
        self._by_id[model.id] = model

    def of_run(self, run: SourceRun, own: tuple[Folder, Path] | None, troubles: list[Trouble]) -> dict[str, Path]:
        """All files of a run, those of the models that it logged in folders of their names. `own`: where its
        artifacts are, if that is known without its address."""
        where, address = run.where, self._addresses.get(run.key, "")
        place = own or self._locations.find(address)
        files = place[0].artifacts(place[1], troubles, where) if place else {}
        for model in self._models.get(run.key, ()):
            if (found := self._locations.find(model.location)) is not None:
                files |= found[0].artifacts(found[1], troubles, where, self._folder_of(model))
        return files

    def lacking(self, runs: Iterable[str]) -> list[str]:
        """A note about those of these runs, and about models, whose files are in no folder that was given. They may
        have none: MLflow makes the folder with the first file."""
        found = [self._addresses.get(key, "") for key in runs]
        places = [*found, *(model.location for model in self._by_id.values())]
        away = [address for address in places if address and self._locations.find(address) is None]
        if not away:
            return []
        many = f"{len(away)} runs and models" if len(away) > 1 else "a run or a model"
        return [f"{many} have no files in the folders that were given: {_elsewhere(away[0])}"]

    def _folder_of(self, model: LoggedModel) -> str:
        """A name that several models of a run have is not enough."""
        same = [each for each in self._models[model.run] if each.name == model.name]
        return model.name if len(same) == 1 else f"{model.name}-{model.id}"

    def of_version(self, source: str, run: str) -> tuple[str, str, dict[str, Path]]:
        """Run, path there, files of a version that has this source. Raises `Unreadable`."""
        scheme, _, rest = source.partition(":/")
        if scheme == "runs":
            run, _, path = rest.strip("/").partition("/")
            return run, path, {}
        if scheme == "models":
            if (model := self._by_id.get(rest.strip("/"))) is None:
                raise Unreadable(f"comes from {source!r}, which is not in this store")
            if model.run:
                return model.run, self._folder_of(model), {}
            return "", "", self._files(model.location)
        for key in [run] if run in self._addresses else self._addresses:
            address = self._addresses[key]
            if address and f"{source.rstrip('/')}/".startswith(f"{address}/"):
                return key, source.rstrip("/")[len(address) + 1 :], {}
        for model in self._by_id.values():
            if source.rstrip("/") == model.location.rstrip("/") and model.run:
                return model.run, self._folder_of(model), {}
        return run, "", self._files(source)

    def _files(self, address: str) -> dict[str, Path]:
        if (found := self._locations.find(address)) is None:
            raise Unreadable(_elsewhere(address))
        troubles: list[Trouble] = []
        files = found[0].artifacts(found[1], troubles, "") if found[1].is_dir() else {found[1].name: found[1]}
        if troubles:
            raise Unreadable(troubles[0].problem)
        return files


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, say
        return False


def _elsewhere(address: str) -> str:
    return f"files that are at {address} are imported if --artifacts names a folder that has them"


def version_of(fields: Mapping[str, Any], tags: Mapping[str, str], artifacts: Artifacts) -> SourceVersion | None:
    """A version of a model; None for one that was deleted. Raises `Unreadable`."""
    stage = text(fields, "current_stage")
    if stage == _DELETED_VERSION:
        return None
    try:
        number = int(text(fields, "version"))
    except ValueError:
        raise Unreadable("has a version that is no number") from None
    created = text(fields, "creation_timestamp") or text(fields, "creation_time")
    trouble, run, path, files = "", text(fields, "run_id"), "", dict[str, Path]()
    try:
        run, path, files = artifacts.of_version(text(fields, "source"), run)
    except Unreadable as error:
        trouble = str(error)
    return SourceVersion(
        key=f"{text(fields, 'name')}\n{number}\n{created}",
        number=number,
        run=run,
        path=path,
        files=files,
        notes=text(fields, "description"),
        stage=stage.lower() or "none",
        tags=tags,
        created_at=moment(created),
        trouble=trouble,
    )


def without_prompts(models: Iterable[SourceModel]) -> tuple[list[SourceModel], list[str]]:
    """Models that are models, and a note about the others: MLflow keeps prompts as models without files."""
    found = list(models)
    kept = [model for model in found if PROMPT not in model.tags]
    left = len(found) - len(kept)
    return kept, [f"prompts are left out ({left} of them): the platform has none"] if left else []
