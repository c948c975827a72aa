"""What is wrong with a message, for people: pydantic's errors as `FieldError`s that name field, problem and remedy.

The same words on every door: Kafka, gRPC, HTTP, CLI, manifest.
"""

from __future__ import annotations

import difflib
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from events.language.base import Command, Model
from events.language.common import ErrorCode, FieldError, Refused
from events.language.registry import command_types, upcast


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that a path leads to, for suggesting keys; None where it leads out of models."""
    current: Any = model
    for part in path:
        if not isinstance(part, str):
            continue
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        if field is None:
            return None
        current = _inner_model(field.annotation)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _inner_model(inner)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_errors(error: ValidationError, model: type[Model]) -> tuple[FieldError, ...]:
    """One `FieldError` per problem."""
    found: list[FieldError] = []
    for item in error.errors(include_url=False):
        path = item["loc"]
        field = ".".join(str(part) for part in path) or "(the whole body)"
        problem, hint = item["msg"].removeprefix("Value error, "), ""
        if item["type"] == "extra_forbidden":
            owner = _model_at(model, path[:-1])
            names = list(owner.model_fields) if owner else []
            close = difflib.get_close_matches(str(path[-1]), names, 1)
            problem = "there is no such field"
            hint = f"did you mean {close[0]!r}?" if close else (f"fields are {', '.join(names)}" if names else "")
        elif item["type"] == "missing":
            problem, hint = "is missing", "give a value"
        elif item["type"] == "enum":
            problem = f"{_shown(item['input'])} is not one of {item['ctx']['expected']}"
        elif item["type"] not in ("value_error", "json_invalid"):
            problem = f"{_shown(item['input'])}: {problem[0].lower()}{problem[1:]}"
        found.append(FieldError(field=field, problem=problem, hint=hint))
    return tuple(found)


def decode_command(type_name: str, value: bytes) -> Command:
    """A command from its type and JSON body. Raises Refused(invalid_argument); with field errors when it is JSON."""
    type_name, value = _upcast(type_name, value)
    model = command_types().get(type_name)
    if model is None:
        close = difflib.get_close_matches(type_name, list(command_types()), 1, 0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"unknown command type {type_name!r}{hint}")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        if errors and errors[0]["type"] == "json_invalid":
            text = errors[0]["msg"].removeprefix("Invalid JSON: ")
            raise Refused(ErrorCode.INVALID_ARGUMENT, f"the body is not JSON: {text}") from None
        problems = field_errors(error, model)
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"{first.field}: {first.problem}{more}"
        raise Refused(ErrorCode.INVALID_ARGUMENT, message, problems) from None


def _upcast(type_name: str, value: bytes) -> tuple[str, bytes]:
    try:
        return upcast(type_name, value)
    except (ValueError, orjson.JSONDecodeError) as error:
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"the body is not a JSON object: {error}") from None
