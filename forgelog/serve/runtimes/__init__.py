"""Runtimes by name: the entry points ``forgelog.runtimes``, of Forgelog and of other packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import NotServable, NotServableHere
from forgelog.serve.runtimes.base import Load, LoadedModel, ModelFiles
from forgelog.serve.runtimes.choosing import chosen

GROUP = "forgelog.runtimes"
_OF_FILES_ALONE = frozenset({"onnx", "sklearn", "torchscript"})
"""Runtimes whose models are their files, and no code that does what it likes."""


def load_model(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    """Blocks. Raises `NotServable`, also for whatever a library says of files that it can't read."""
    name = chosen(files, settings, served)
    load = find(name)
    try:
        return load(files, settings.model_copy(update={"name": name}), served)
    except NotServable:
        raise
    except Exception as error:
        # A file that a library can't read stays so; the author's own code may wait for something else.
        of_the_file = name in _OF_FILES_ALONE and not isinstance(error, OSError | MemoryError)
        raise (NotServable if of_the_file else NotServableHere)(
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
        raise NotServableHere(f"runtime {name} can't be imported: {error}") from error
