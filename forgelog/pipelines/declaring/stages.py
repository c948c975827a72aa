"""A stage as a Python function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from functools import update_wrapper
from pathlib import Path
from typing import Any, get_type_hints, overload

from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.places import Place

PARAMETER_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    date: "date",
    datetime: "timestamp",
}
"""Annotation of an argument → type of the pipeline's parameter."""


class Stage:
    """A function that is a stage. Calling it calls the function, as tests do.

    The function's arguments that are no inputs are parameters of the pipeline, with their defaults; their types come
    from annotations.
    """

    def __init__(
        self, function: Callable[..., Any], id: str, inputs: Mapping[str, Any], keys: Mapping[str, Any]
    ) -> None:
        self.function = function
        self.id = id or function.__name__.replace("_", "-").strip("-").lower()
        self.inputs = dict(inputs)
        self.keys = {key: value for key, value in keys.items() if value is not None}
        update_wrapper(self, function)
        if getattr(function, "__qualname__", "") != function.__name__ or function.__name__ == "<lambda>":
            raise InvalidInput(
                f"stage {self.id!r}: {function.__qualname__} is not at the top of its module, where a worker finds it; "
                "define it there"
            )

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.function(*args, **named)

    def __repr__(self) -> str:
        return f"<stage {self.id}>"

    @property
    def before(self) -> list[Stage]:
        """The stages that it names, as inputs or in `after`."""
        return [each for each in (*self.inputs.values(), *self.keys.get("after", ())) if isinstance(each, Stage)]

    def document(self) -> dict[str, Any]:
        """As a manifest says it."""
        keys = dict(self.keys)
        python = {"module": module_of(self.function), "function": self.function.__name__}
        if frame := keys.pop("frame", None):
            python["frame"] = frame
        if columns := keys.pop("columns", None):
            python["columns"] = columns
        own = {"type": "custom", "custom": {"python": python}}
        if "after" in keys:
            keys["after"] = [each.id if isinstance(each, Stage) else each for each in keys["after"]]
        if isinstance(sink := keys.get("sink"), Place):
            keys["sink"] = sink.document()
        inputs = {name: _input(given) for name, given in self.inputs.items()}
        transformations = [*keys.pop("transformations", ()), own]
        return {"id": self.id, **({"inputs": inputs} if inputs else {}), "transformations": transformations, **keys}

    def parameters(self) -> dict[str, dict[str, Any]]:
        """The pipeline's parameters that it takes: name → as a manifest says it. Raises `InvalidInput`."""
        relations = {*self.inputs, *(each.get("id") for each in self.keys.get("transformations", ()))}
        hints = _hints(self.function)
        found: dict[str, dict[str, Any]] = {}
        arguments = [
            each
            for each in inspect.signature(self.function).parameters.values()
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        ]
        if arguments and self.inputs and not relations & {each.name for each in arguments}:
            arguments = arguments[1:]  # the first one is what the function reads, by whatever name
        for each in arguments:
            if each.name not in relations:
                found[each.name] = _parameter(self.id, each, hints.get(each.name, str))
        return found


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations; those of frames may name what is imported for type checkers alone."""
    try:
        return get_type_hints(function)
    except NameError:
        said = {name: hint for name, hint in function.__annotations__.items() if isinstance(hint, str)}
        known = {kind.__name__: kind for kind in PARAMETER_TYPES}
        return {**function.__annotations__, **{name: known.get(hint, hint) for name, hint in said.items()}}


def _parameter(stage: str, argument: inspect.Parameter, hint: Any) -> dict[str, Any]:
    kind = PARAMETER_TYPES.get(hint)
    if kind is None:
        known = ", ".join(each.__name__ for each in PARAMETER_TYPES)
        raise InvalidInput(
            f"stage {stage!r}: {argument.name!r} is no input, and as a parameter its type is one of {known}; "
            "annotate it, or name an input so"
        )
    if argument.default is inspect.Parameter.empty:
        return {"type": kind, "required": True}
    default = argument.default
    return {"type": kind, "default": default.isoformat() if isinstance(default, date) else default}


def _input(given: Any) -> Any:
    if isinstance(given, Stage):
        return given.id
    return {"source": given.document()} if isinstance(given, Place) else given


@overload
def stage(function: Callable[..., Any], /) -> Stage: ...


@overload
def stage(
    *,
    id: str = "",
    inputs: Mapping[str, Any] | None = None,
    sink: Place | Mapping[str, Any] | None = None,
    after: Iterable[Any] | None = None,
    frame: str | None = None,
    retries: int | None = None,
    **keys: Any,
) -> Callable[[Callable[..., Any]], Stage]: ...


def stage(
    function: Callable[..., Any] | None = None,
    /,
    *,
    id: str = "",
    inputs: Mapping[str, Any] | None = None,
    sink: Place | Mapping[str, Any] | None = None,
    after: Iterable[Any] | None = None,
    frame: str | None = None,
    retries: int | None = None,
    **keys: Any,
) -> Any:
    """A function as a stage of a pipeline.

    Args:
        id: its name; the function's, with hyphens, if left out.
        inputs: name → `files`, `dataset`, `table`, `topic`, or another stage. The function has an argument for each.
        sink: where its rows go, as `files` and the others say it; without one, they go to the stages that read it.
        after: stages that it waits for without reading them.
        frame: as what it gets its inputs: narwhals (the default), arrow, reader, polars, pandas, relation, spark.
        retries: how often it is tried again.
        keys: all other keys of a stage in a manifest (``rules``, ``condition``, ``timeout``, ``resources``, …).

    Raises: `InvalidInput`, for a function that a worker could not find.
    """
    if retries is not None:
        keys["retry"] = {"max": retries, **(keys.get("retry") or {})}
    given = {**keys, "sink": sink, "after": list(after) if after is not None else None, "frame": frame}

    def decorate(function: Callable[..., Any]) -> Stage:
        return Stage(function, id, inputs or {}, given)

    return decorate if function is None else decorate(function)


def module_of(function: Callable[..., Any]) -> str:
    """The module as a worker imports it. Raises `InvalidInput`."""
    if function.__module__ != "__main__":
        return function.__module__
    return file_of(function).stem


def file_of(function: Callable[..., Any]) -> Path:
    """The file of a function's module. Raises `InvalidInput`, for one that was typed in."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        raise InvalidInput(f"{function.__name__} is in no file, and a worker needs one; write it into a module")
    return Path(file).resolve()


def folder_of(function: Callable[..., Any]) -> Path:
    """The folder from which a worker imports the function's module. Raises `InvalidInput`."""
    file = file_of(function)
    levels = module_of(function).count(".") + (file.name == "__init__.py")
    return file.parents[levels]
