"""Folders that templates of experiments are made of, and those that are made of a template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.client.bundles import Progress
from forgelog.client.core import Core
from forgelog.client.fetching import Fetching, in_thread
from forgelog.errors import InvalidInput
from forgelog.units import format_bytes, parse_bytes, quoted

if TYPE_CHECKING:
    from events.objects.manifest import BundleFile
    from events.objects.remote import RemoteObjects

JOB = "job.yaml"
SETTINGS = "experiment.json"


def described(folder: Path, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a folder's ``template.yaml`` says, with what is given instead: fields of `TemplateSpec`, and its scripts by
    their roles. Raises `ManifestError`, `InvalidInput`."""
    from forgelog.manifest import kinds
    from forgelog.manifest.templates import NAME, TEMPLATE

    path = folder / NAME
    said: dict[str, Any] = kinds.load(path, TEMPLATE)[0] if path.exists() else {}
    said |= given
    scripts = said.pop("scripts", {})
    if not isinstance(scripts, Mapping):
        raise InvalidInput("scripts: needs to be a map; write {'training': 'train.py'}")
    return said, dict(scripts)


def checked(files: Sequence[BundleFile], scripts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The files of a template as `TemplateSpec` has them. Raises `InvalidInput`."""
    from forgelog.manifest.templates import NAME

    kept = [file for file in files if file.path != NAME and "__pycache__" not in file.path.split("/")]
    paths = {file.path for file in kept}
    for role, path in scripts.items():
        if path not in paths:
            raise InvalidInput(f"scripts.{role}: the folder has no file {path!r}; it has {', '.join(sorted(paths))}")
    if own := {JOB, SETTINGS} & paths:
        raise InvalidInput(f"{own.pop()} is written for each experiment; leave it out of the template")
    roles = {path: role for role, path in scripts.items()}
    return [
        {
            "path": file.path,
            "file": {"digest": file.digest, "size": file.size},
            "role": roles.get(file.path, "other"),
        }
        for file in kept
    ]


class Folder:
    """What a folder has that an experiment begins with."""

    def __init__(self, template: Any) -> None:
        from events.objects.manifest import BundleFile

        self._template = template
        self.files: list[BundleFile] = [
            BundleFile(path=each.path, digest=each.file.digest, size=each.file.size) for each in template.files
        ]
        """The template's."""
        self.own: dict[str, bytes] = {}
        """Path → content of those that are made for the experiment."""

    def add_own(self, name: str, hyperparameters: Any) -> None:
        """Add those that are made for an experiment of this name."""
        settings = {
            "experiment": name,
            "template": f"{self._template.name}/{self._template.version}",
            "hyperparameters": _without_defaults(hyperparameters),
        }
        self.own[SETTINGS] = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
        scripts = {each.role: each.path for each in self._template.files}
        if script := scripts.get("training") or scripts.get("evaluation"):
            self.own[JOB] = _job(name, script, self._template.resources).encode()


def place_of(folder: str | Path, name: str, *, force: bool) -> tuple[Path, str]:
    """Where an experiment's files go, and what it is called: `name`, or like the folder. Raises `InvalidInput`, also
    for the folder of another experiment, but for `force`."""
    into = Path(folder).resolve()
    if not (name := name or into.name):
        raise InvalidInput("name: is empty, and the folder has no name; give the experiment one")
    if not force:
        _check_free(into, name)
    return into, name


def _check_free(into: Path, name: str) -> None:
    try:
        found = json.loads((into / SETTINGS).read_bytes())
    except (OSError, ValueError):
        return  # what is in the way is told when it is to be written
    other = found.get("experiment") if isinstance(found, dict) else None
    if other not in (None, name):
        raise InvalidInput(f"{into} is the folder of experiment {quoted(str(other))}; take another folder, or --force")


def _without_defaults(value: Any) -> Any:
    """Of a configuration as an answer has it, the values that are given."""
    if isinstance(value, Mapping):
        found = {key: _without_defaults(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each not in (None, "", [], {})}
    return list(value) if isinstance(value, list | tuple) else value


def _job(name: str, script: str, resources: Any) -> str:
    """A manifest of the job that runs a script."""
    lines = [
        f"# `forgelog submit {JOB}` runs {script} in a copy of this folder, on any node.",
        f"name: {json.dumps(name, ensure_ascii=False)}",
        f"command: {json.dumps(['python3', script], ensure_ascii=False)}",
        "upload: .",
    ]
    if wanted := _resources(resources):
        lines += ["resources:", *(f"  {key}: {value}" for key, value in wanted.items())]
    return "\n".join(lines) + "\n"


def _resources(resources: Any) -> dict[str, Any]:
    """Resources as a manifest has them, without what every job has."""
    from events.language.jobs.spec import JobResources

    if resources is None:
        return {}
    said = JobResources.model_validate({key: value for key, value in resources.items() if value is not None})
    return {
        key.removesuffix("_bytes"): _bytes(value) if key.endswith("_bytes") else json.dumps(value)
        for key, value in said.model_dump(mode="json", exclude_defaults=True).items()
    }


def _bytes(amount: int) -> str:
    text = format_bytes(amount)
    return text if parse_bytes(text) == amount else str(amount)


async def placed(
    core: Core,
    folder: Folder,
    into: Path,
    *,
    force: bool,
    only_check: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write a folder's files; the paths of those that were not there yet. `only_check`: look only whether something
    else is in the way. Raises `InvalidInput`, `NotFound`, `Unavailable`."""

    def work(remote: RemoteObjects) -> list[str]:
        from blake3 import blake3

        from events.objects.manifest import BundleFile

        fetching = Fetching(remote, into, "", force)
        own = {
            path: BundleFile(path=path, digest=blake3(content).hexdigest(), size=len(content))
            for path, content in folder.own.items()
        }
        fetching.check([*folder.files, *own.values()])
        if only_check:
            return []
        there = fetching.place(folder.files, progress)
        there |= fetching.place_known({file: folder.own[path] for path, file in own.items()})
        return sorted({file.path for file in [*folder.files, *own.values()]} - there)

    return await in_thread(core, "had", work)
