"""A pipeline as Python declares it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.stages import Stage, folder_of

if TYPE_CHECKING:
    from forgelog.manifest.pipelines import ManifestPipeline


class DeclaredPipeline:
    """What `pipeline` returns. `document` is what a manifest would say; `described` is what is sent."""

    def __init__(self, name: str, stages: Iterable[Any], keys: Mapping[str, Any], upload: str | Path | None) -> None:
        self.name = name
        self.stages = _whole(stages)
        self._keys, self._upload = keys, upload

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    def document(self) -> dict[str, Any]:
        """The pipeline with the keys of a manifest. Raises `InvalidInput`."""
        written = {"name": self.name, **self._keys}
        parameters = {**self._parameters(), **(self._keys.get("parameters") or {})}
        if parameters:
            written["parameters"] = parameters
        if folder := self._folder():
            written["upload"] = str(folder)
        written["stages"] = [each.document() if isinstance(each, Stage) else dict(each) for each in self.stages]
        return written

    def described(self) -> ManifestPipeline:
        """The pipeline, checked as one of a manifest is. Raises `ManifestError`, `InvalidInput`."""
        from forgelog.manifest.kinds import described
        from forgelog.manifest.nodes import from_python
        from forgelog.manifest.pipelines import PIPELINE

        (found,) = described([from_python(self.document())], f"pipeline {self.name}", PIPELINE)
        return found

    def _parameters(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        where: dict[str, str] = {}
        for each in self.stages:
            for name, said in each.parameters().items() if isinstance(each, Stage) else ():
                if found.setdefault(name, said) != said:
                    raise InvalidInput(
                        f"stages {where[name]!r} and {each.id!r} say different things of the parameter {name!r}; give "
                        "both the same type and default"
                    )
                where.setdefault(name, each.id)
        return found

    def _folder(self) -> Path | None:
        if self._upload is not None:
            return Path(self._upload)
        folders = {folder_of(each.function) for each in self.stages if isinstance(each, Stage)}
        if len(folders) > 1:
            raise InvalidInput(
                f"the stages are in modules of several folders ({', '.join(sorted(map(str, folders)))}); put them into "
                "one, or say with upload= which folder has all of them"
            )
        return next(iter(folders), None)


def pipeline(
    name: str,
    *,
    stages: Iterable[Any],
    schedule: str | timedelta | Mapping[str, Any] | None = None,
    timezone: str | None = None,
    upload: str | Path | None = None,
    **keys: Any,
) -> DeclaredPipeline:
    """A pipeline of stages: ``forgelog.pipeline("daily", stages=[clean], schedule="30 1 * * *")``.

    Args:
        name: its name, given once in a project.
        stages: functions that `stage` made into stages, or maps with the keys of a manifest. Stages that these read
            or wait for belong to it too.
        schedule: a cron expression, a `timedelta`, or a map with the keys of `Schedule`.
        timezone: the zone of a cron expression; UTC if left out.
        upload: the folder whose copy the stages run in; that of their modules if left out.
        keys: all other keys of a pipeline in a manifest (``parameters``, ``triggers``, ``sla``, ``execution``, …).

    `forgelog pipeline validate FILE.py` and its kin take a Python file with pipelines at the top of the module.
    """
    if schedule is not None:
        keys["schedule"] = _schedule(schedule, timezone)
    elif timezone is not None:
        raise InvalidInput("timezone: is the zone of a schedule, and none is given; give one, or leave it out")
    return DeclaredPipeline(name, stages, keys, upload)


def _schedule(given: str | timedelta | Mapping[str, Any], timezone: str | None) -> dict[str, Any]:
    said: dict[str, Any]
    if isinstance(given, timedelta):
        said = {"every_seconds": given.total_seconds()}
    else:
        said = {"cron": given} if isinstance(given, str) else dict(given)
    return {**said, **({"timezone": timezone} if timezone is not None else {})}


def _whole(stages: Iterable[Any]) -> list[Any]:
    """The stages, and those that they name, each once: before those that name them."""
    found: dict[int, Any] = {}

    def add(each: Any) -> None:
        if id(each) in found:
            return
        if not isinstance(each, Stage | Mapping):
            raise InvalidInput(f"stages: {each!r} is no stage; decorate the function with @forgelog.stage")
        for before in each.before if isinstance(each, Stage) else ():
            add(before)
        found[id(each)] = each

    for each in stages:
        add(each)
    return list(found.values())
