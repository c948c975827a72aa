"""The Open Inference Protocol v2 as JSON: requests from plain values, and answers as plain values. Pure; sends nothing.

An input is a list of lists; a model's own description says of which type its numbers are, and how many dimensions there
are. One item less than that is taken for one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forgelog.errors import InvalidInput

Tensor = dict[str, Any]
"""``name``, ``shape``, ``datatype`` and ``data``."""

MAX_DIMENSIONS = 32
"""Of a tensor; a replica takes no more."""

_KINDS = ((bool, "BOOL"), (int, "INT64"), (float, "FP64"), (str, "BYTES"))
_RANKS = {"INT64": 0, "FP64": 1}
"""Of mixed numbers the wider counts."""


def complete(body: Any) -> bool:
    """Whether this is a request of the protocol already: its inputs have shapes and types."""
    return (
        isinstance(body, Mapping)
        and isinstance(body.get("inputs"), Sequence)
        and all(
            isinstance(each, Mapping) and {"name", "shape", "datatype", "data"} <= each.keys()
            for each in body["inputs"]
        )
    )


def request(
    inputs: Mapping[str, Any],
    described: Sequence[Mapping[str, Any]] = (),
    *,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A request with these inputs. `described`: the inputs as the model describes them (``name``, ``datatype``,
    ``shape``); a type that is not described follows from the values. Raises `InvalidInput`."""
    known = {str(each["name"]): each for each in described}
    if unknown := [name for name in inputs if known and name not in known]:
        raise InvalidInput(f"input {unknown[0]!r} is none of the model's; they are {', '.join(known)}")
    if missing := [name for name in known if name not in inputs]:
        raise InvalidInput(f"input {missing[0]!r} is missing; the model's are {', '.join(known)}")
    if not inputs:
        raise InvalidInput("no input is given; give each of the model's, such as name=[[1, 2]]")
    found: dict[str, Any] = {"inputs": [_tensor(name, value, known.get(name)) for name, value in inputs.items()]}
    if outputs:
        found["outputs"] = [{"name": name} for name in outputs]
    if parameters:
        found["parameters"] = dict(parameters)
    return found


def _tensor(name: str, value: Any, described: Mapping[str, Any] | None) -> Tensor:
    if hasattr(value, "tolist"):  # NumPy's arrays, and those that are like them
        value = value.tolist()
    shape: list[int] = []
    data: list[Any] = []
    _flatten(name, value, 0, shape, data)
    kind = _kind(name, data)
    if described is not None:
        wanted = described["shape"]
        if len(shape) == len(wanted) - 1 and wanted[0] in (-1, 1):
            shape = [1, *shape]
        kind = str(described["datatype"])
    return {"name": name, "shape": shape, "datatype": kind, "data": data}


def _flatten(name: str, value: Any, depth: int, shape: list[int], data: list[Any]) -> None:
    """Row by row. Raises `InvalidInput` for rows of different lengths."""
    if not isinstance(value, list | tuple):
        if depth != len(shape):
            raise InvalidInput(f"input {name!r} has a value where a list of {shape[depth]} should be; {_EVEN}")
        data.append(value)
        return
    if depth == MAX_DIMENSIONS:
        raise InvalidInput(f"input {name!r} is nested in more than {MAX_DIMENSIONS} lists; give it flatter")
    if depth == len(shape):
        if data:
            raise InvalidInput(f"input {name!r} has a list where a value should be; {_EVEN}")
        if not value:
            raise InvalidInput(f"input {name!r} has an empty list; give at least one row")
        shape.append(len(value))
    elif len(value) != shape[depth]:
        raise InvalidInput(f"input {name!r} has lists of {shape[depth]} and of {len(value)} items; {_EVEN}")
    for each in value:
        _flatten(name, each, depth + 1, shape, data)


_EVEN = "all rows must have the same form"


def _kind(name: str, data: Sequence[Any]) -> str:
    """The type of values that nobody has described. Raises `InvalidInput`."""
    found = set()
    for value in data:
        kind = next((word for each, word in _KINDS if isinstance(value, each)), "")
        if not kind:
            raise InvalidInput(f"input {name!r} has {_shown(value)}; give numbers, texts, or true and false")
        found.add(kind)
    if found <= _RANKS.keys():
        return max(found, key=_RANKS.__getitem__)
    if len(found) > 1:
        raise InvalidInput(f"input {name!r} mixes {' and '.join(sorted(found))}; give values of one type")
    return found.pop()


def _shown(value: Any) -> str:
    return "null" if value is None else f"a value of type {type(value).__name__}"


def values(answer: Any) -> dict[str, Any]:
    """Output → its values as lists of lists. Raises ValueError for what is no answer of the protocol."""
    try:
        return {str(each["name"]): _nested(each) for each in answer["outputs"]}
    except (KeyError, TypeError, IndexError, ValueError):
        raise ValueError("the answer is none of the Open Inference Protocol v2") from None


def _nested(output: Mapping[str, Any]) -> Any:
    data, shape = output["data"], [int(size) for size in output["shape"]]
    if data and isinstance(data[0], list):
        return data  # some servers answer so
    total = 1
    for size in shape:
        total *= size
    if len(data) != total:
        raise ValueError("data and shape differ")
    for size in reversed(shape[1:]):
        data = [data[start : start + size] for start in range(0, len(data), size)] if size else []
    return data if shape else data[0]


def rows(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outputs row by row, for tables. A row lacks those outputs that have fewer."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in outputs.items()}
    count = max((len(each) for each in lists.values()), default=0)
    return [
        {name: each[number] for name, each in lists.items() if number < len(each)} | {"row": number}
        for number in range(count)
    ]
