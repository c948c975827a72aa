"""Tensors of the Open Inference Protocol v2: their types, and how they come as JSON and as bytes.

A tensor is a numpy array. BYTES are arrays of Python's `bytes`; BF16, which numpy lacks, is kept as float32. Pure.
Everything here is read from requests, so each length is checked before it is believed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from events.language.common import shown
from forgelog.serve.problems import invalid

Array = np.ndarray[Any, Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(np.float32),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""Datatype of the protocol → how it is kept here."""

FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})

_SIZES: Mapping[str, int] = {**{name: dtype.itemsize for name, dtype in DTYPES.items()}, "BF16": 2}
"""Bytes of an element on the wire; BYTES has none."""

_BY_DTYPE: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}

_WORDS: Mapping[str, str] = {
    "bool": "BOOL", "boolean": "BOOL",
    "byte": "UINT8", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int": "INT32", "integer": "INT32",
    "int64": "INT64", "long": "INT64",
    "float16": "FP16", "half": "FP16", "bfloat16": "BF16", "float32": "FP32", "float": "FP32",
    "float64": "FP64", "double": "FP64",
    "str": "BYTES", "string": "BYTES", "bytes": "BYTES", "binary": "BYTES", "object": "BYTES",
}  # fmt: skip
"""A signature's word for a type → datatype: those of numpy, of MLflow, and of ONNX."""

_MOST_LENGTH = (1 << 40) - 1
"""Longest dimension of a request's shape."""
_MAX_DIMENSIONS = 32
_FEW = 4096
"""Elements; products of more are computed by several threads."""
_LENGTH = struct.Struct("<I")


def datatype_of(word: str) -> str:
    """The datatype that a signature's word means. Raises KeyError for none."""
    text = word.strip()
    return text if text in DTYPES else _WORDS[text.lower()]


def datatype_kept(array: Array) -> str:
    """The datatype of an array that a model gave. Raises KeyError for none."""
    return "BYTES" if array.dtype.kind in "OSU" else _BY_DTYPE[array.dtype.newbyteorder("=")]


def checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A request's shape. Raises `ServingError`."""
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_DIMENSIONS:
        raise invalid(f"input {shown(name)}: shape should be a list of at most {_MAX_DIMENSIONS} whole numbers")
    for length in shape:
        if type(length) is not int or not 0 <= length <= _MOST_LENGTH:
            hint = f"give whole numbers from 0 to {_MOST_LENGTH}"
            raise invalid(f"input {shown(name)}: shape has {shown(length)}; {hint}")
    return tuple(shape)


def known_datatype(name: str, datatype: Any) -> str:
    """A request's datatype. Raises `ServingError`."""
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise invalid(f"input {shown(name)}: datatype {shown(datatype)} is none; there are {', '.join(DTYPES)}")
    return datatype


def from_nested(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Array:
    """A tensor from JSON: a list, flat or nested as the shape says. Raises `ServingError`."""
    if not isinstance(data, list):
        raise invalid(f"input {shown(name)}: data should be a list, and is {_kind(data)}")
    flat, nested, kinds = _flat(name, data)
    if len(nested) > 1 and nested != shape:
        raise invalid(f"input {shown(name)}: data has shape {list(nested)}, and shape says {list(shape)}")
    check_count(name, len(flat), shape)
    if datatype == "BYTES":
        return of_objects([each.encode() for each in _of(name, datatype, flat, kinds, _TEXT)], shape)
    allowed = _NUMBERS if datatype in FLOATS else _TRUTH if datatype == "BOOL" else _WHOLE
    try:
        with np.errstate(over="ignore"):
            array = np.array(_of(name, datatype, flat, kinds, allowed), dtype=DTYPES[datatype])
    except OverflowError:
        raise invalid(f"input {shown(name)}: data has a number that {datatype} can't hold") from None
    return (_rounded_to_bf16(array) if datatype == "BF16" else array).reshape(shape)


_TEXT, _TRUTH, _WHOLE, _NUMBERS = frozenset({str}), frozenset({bool}), frozenset({int}), frozenset({int, float})


def _flat(name: str, data: list[Any]) -> tuple[list[Any], tuple[int, ...], set[type]]:
    """What is in nested lists, their shape, and the types of what is in them. The lists are taken apart level by level,
    without recursion."""
    shape: tuple[int, ...] = (len(data),)
    while list in (kinds := set(map(type, data))):
        lengths = set(map(len, data)) if len(kinds) == 1 else ()
        if len(lengths) != 1 or len(shape) == _MAX_DIMENSIONS:
            raise invalid(f"input {shown(name)}: data is nested unevenly or too deep; give it flat, or as shape says")
        shape = (*shape, *lengths)
        data = list(chain.from_iterable(data))
    return data, shape, kinds


def _of(name: str, datatype: str, flat: list[Any], kinds: set[type], allowed: frozenset[type]) -> list[Any]:
    """The elements, if JSON gave each the right kind."""
    if kinds <= allowed:
        return flat
    wrong = next(each for each in flat if type(each) not in allowed)
    takes = {_TEXT: "texts", _TRUTH: "true and false", _WHOLE: "whole numbers"}.get(allowed, "numbers")
    raise invalid(f"input {shown(name)}: data has {shown(wrong)}, and datatype {datatype} takes {takes}")


def from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview | bytes) -> Array:
    """A tensor from its bytes: little-endian, row by row. Raises `ServingError`."""
    if datatype == "BYTES":
        return _bytes_from_raw(name, shape, raw)
    wanted = math.prod(shape) * _SIZES[datatype]
    if len(raw) != wanted:
        raise invalid(
            f"input {shown(name)}: has {len(raw):,} bytes, and {datatype} of shape {list(shape)} has {wanted:,}"
        )
    if datatype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    array = np.frombuffer(raw, DTYPES[datatype].newbyteorder("<")).reshape(shape)
    if datatype == "BOOL" and array.size and int(array.view(np.uint8).max()) > 1:
        raise invalid(f"input {shown(name)}: has bytes that are neither 0 nor 1; give BOOL as those")
    return array


def _bytes_from_raw(name: str, shape: tuple[int, ...], raw: memoryview | bytes) -> Array:
    """Elements with their lengths before them (4 bytes, little-endian)."""
    view, at = memoryview(raw), 0
    found: list[bytes] = []
    while at < len(view):
        if at + 4 > len(view):
            raise invalid(f"input {shown(name)}: ends within an element's length")
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4
        if length > len(view) - at:
            raise invalid(
                f"input {shown(name)}: element {len(found)} says {length:,} bytes, and {len(view) - at:,} are left"
            )
        found.append(bytes(view[at : at + length]))
        at += length
    check_count(name, len(found), shape)
    return of_objects(found, shape)


def of_objects(elements: Sequence[Any], shape: Sequence[int]) -> Array:
    """Python's objects, row by row, as an array of that shape."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def to_raw(datatype: str, array: Array) -> bytes:
    """A tensor as its bytes."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(each)) + each for each in as_bytes(array))
    if datatype == "BF16":
        bits: bytes = (_rounded_to_bf16(array).view(np.uint32) >> 16).astype("<u2").tobytes()
        return bits
    return array.astype(DTYPES[datatype].newbyteorder("<"), copy=False).tobytes()


def to_flat(datatype: str, array: Array) -> list[Any]:
    """A tensor's elements, row by row, as JSON has them. Raises ValueError for bytes that are no UTF-8."""
    if datatype == "BYTES":
        return [each.decode() for each in as_bytes(array)]
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def as_bytes(array: Array) -> list[bytes]:
    """The elements of texts, row by row."""
    return [
        each if type(each) is bytes else str(each).encode() if not isinstance(each, bytes | bytearray) else bytes(each)
        for each in array.reshape(-1).tolist()
    ]


def finite(array: Array) -> bool:
    """Whether no element is NaN or infinite."""
    if array.dtype.kind != "f":
        return True
    if array.size <= _FEW and array.itemsize > 2:
        flat = array.reshape(-1)
        if math.isfinite(flat.dot(flat)):  # a seventh of the time; squares that overflow are looked at below
            return True
    return bool(np.isfinite(array).all())


def _rounded_to_bf16(array: Array) -> Array:
    """The nearest numbers that BF16 has, ties to even, as float32."""
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    special = (bits & 0x7F800000) == 0x7F800000
    return np.where(special, bits & np.uint32(0xFFFF0000), rounded).astype(np.uint32).view(np.float32)


def check_count(name: str, count: int, shape: Sequence[int]) -> None:
    """Raise `ServingError` unless a shape has so many elements."""
    if count != (wanted := math.prod(shape)):
        raise invalid(f"input {shown(name)}: has {count:,} elements, and shape {list(shape)} has {wanted:,}")


def _kind(value: Any) -> str:
    return "missing" if value is None else shown(value)
