"""Runtimes by name: the entry points ``forgelog.runtimes``, of Forgelog and of other packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import NotServable
from forgelog.serve.runtimes.base import Load, LoadedModel, ModelFiles
from forgelog.serve.runtimes.choosing import chosen

GROUP = "forgelog.runtimes"


def load_model(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    """Blocks. Raises `NotServable`, also for whatever a library says of files that it can't read."""
    name = chosen(files, settings, served)
    load = find(name)
    try:
        return load(files, settings.model_copy(update={"name": name}), served)
    except NotServable:
        raise
    except Exception as error:
        raise NotServable(
            f"runtime {name} can't load the model: {type(error).__name__}: {str(error)[:2000]}"
        ) from error


def find(name: str) -> Load:
    """Raises `NotServable` for a name that nothing has."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise NotServable(
            f"runtime.name: {name!r} is none; there are {', '.join(sorted(known)) or 'none'} (a package "
            f"adds one by an entry point {GROUP})"
        )
    try:
        return cast(Load, known[name].load())
    except ImportError as error:
        raise NotServable(f"runtime {name} can't be imported: {error}") from error
