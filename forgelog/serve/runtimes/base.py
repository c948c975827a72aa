"""What a runtime is: it makes of a model's files something that computes.

A runtime is a function ``load(files, settings, served)`` under a name of the entry points ``forgelog.runtimes``. Other
packages may add theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from events.language.common import shown
from events.language.deployments.serving import RuntimeSettings, ServedModel
from forgelog.serve.problems import NotServable
from forgelog.serve.schema import TensorSchema
from forgelog.serve.tensors import Array

SHOWN = 10
"""Files that an error names."""


class LoadedModel(Protocol):
    """A model that can compute. Its methods block; one thread calls them."""

    @property
    def platform(self) -> str:
        """As metadata tells it, such as ``onnxruntime_onnx``."""

    @property
    def inputs(self) -> Sequence[TensorSchema]: ...

    @property
    def outputs(self) -> Sequence[TensorSchema] | None:
        """None: known from its first answer only."""

    @property
    def mergeable(self) -> bool:
        """Whether the rows of several requests may be computed together: each tensor's first dimension counts rows."""

    @property
    def streams(self) -> bool:
        """Whether `stream` gives an answer in parts."""

    @property
    def concurrency(self) -> int:
        """How many calls it takes at a time, each from a thread of its own. 1 where a library computes in this
        process."""

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        """Name → output. What it raises is the request's error."""

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        """The parts of an answer, in order. Called only if `streams`."""

    def close(self) -> None:
        """No call follows."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a version, in a folder of this machine."""

    folder: Path
    file: str = ""
    """The one that is to be loaded; empty: it is looked for."""

    def only(self, *endings: str) -> Path:
        """The file that is to be loaded. Raises `NotServable` unless exactly one has such an ending."""
        if self.file:
            path = self.folder / self.file
            if not path.is_file():
                raise NotServable(f"the version has no file {self.file!r}; it has {self.listed()}")
            return path
        found = self.ending(*endings)
        if not found:
            raise NotServable(f"the version has no file that ends in {' or '.join(endings)}; it has {self.listed()}")
        if len(found) > 1:
            raise NotServable(
                f"the version has {len(found)} files that end in {' or '.join(endings)}, and one is loaded; name it by "
                f"model.file. It has {self.listed()}"
            )
        return found[0]

    def ending(self, *endings: str) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name.endswith(endings))

    def listed(self) -> str:
        """The first of their names, for people."""
        names = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") if names else "none"


def uses_gpu(model: LoadedModel) -> bool:
    """Whether a model says, by the attribute `on_gpu`, that it computes on a GPU."""
    return bool(getattr(model, "on_gpu", False))


def computes_itself(model: LoadedModel) -> bool:
    """Whether a model says, by the attribute `computes_itself`, that its calls compute on this machine's CPUs, end by
    themselves and run nobody's Python: those that are short may be made in the loop of requests."""
    return bool(getattr(model, "computes_itself", False))


Load = Callable[[ModelFiles, RuntimeSettings, ServedModel], LoadedModel]
"""Blocks. Raises `NotServable`."""


def counts_rows(tensors: Sequence[TensorSchema]) -> bool:
    """Whether each of these tensors may have any number of rows."""
    return bool(tensors) and all(tensor.shape[:1] == (-1,) for tensor in tensors)


def disagreeing(inputs: Mapping[str, Array], dimensions: Mapping[str, Sequence[str]]) -> str:
    """Which input has another length than one before it in a dimension that both call by one name; empty if none has.

    `dimensions`: input → the names of its dimensions, empty for those without one. Inputs that are not given don't
    count.
    """
    seen: dict[str, tuple[str, int]] = {}
    for input, names in dimensions.items():
        if input not in inputs:
            continue
        for number, (name, length) in enumerate(zip(names, inputs[input].shape, strict=False)):
            if not name:
                continue
            first, before = seen.setdefault(name, (input, length))
            if before != length:
                return (
                    f"input {shown(input)}: dimension {number} ({name}) is {length}, and that of input {shown(first)} "
                    f"is {before}; give both the same"
                )
    return ""


def threads(settings: RuntimeSettings) -> int:
    """How many threads compute a batch: what the settings say, else the CPUs that the task was given (its agent tells
    libraries of them by ``OMP_NUM_THREADS``), else those of the machine that this process may use."""
    if settings.threads:
        return settings.threads
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
