"""TensorBoard's event files: records of TFRecord, each an `Event`.

A record is its length (64 bits), a checksum of that, its bytes, and a checksum of those. Checksums are CRC-32C, masked
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from aiokafka.record.util import calc_crc32c
from google.protobuf.message import DecodeError

from forgelog.importing.source import Told
from forgelog_pb.tensorboard.v1.events_pb2 import Event

MAX_RECORD = 64 << 20
"""Bytes of a record that is read; larger ones, which are images and the like, are passed over."""

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")
_FLOAT, _DOUBLE, _HALF, _BFLOAT = 1, 2, 19, 14
_CONTENT = {
    _FLOAT: "<f",
    _DOUBLE: "<d",
    _HALF: "<e",
    3: "<i",
    4: "<B",
    5: "<h",
    6: "<b",
    9: "<q",
    10: "<?",
    17: "<H",
    22: "<I",
    23: "<Q",
}
"""TensorFlow's number of a type → how a value of it is packed."""


def events(file: BinaryIO, told: Told) -> Iterator[Any]:
    """The events of a file. What can't be read is told: a record with a wrong checksum is passed over; where a length
    is wrong, nobody knows where the next record begins.

    An end in the middle of a record is none: a writer that was killed, or that still writes, leaves one."""
    place = 0
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, check = _HEAD.unpack(head)
        if masked(calc_crc32c(head[:8])) != check:
            told.add(f"the record at byte {place} has a length with a wrong checksum; the rest of the file is not read")
            return
        if length > MAX_RECORD:
            told.add(f"the record at byte {place} has {length} bytes; {MAX_RECORD} are read at most")
            place += _HEAD.size + length + _TAIL.size
            if place > os.fstat(file.fileno()).st_size:
                return
            file.seek(place)
            continue
        data, tail = file.read(length), file.read(_TAIL.size)
        if len(data) < length or len(tail) < _TAIL.size:
            return
        if masked(calc_crc32c(data)) != _TAIL.unpack(tail)[0]:
            told.add(f"the record at byte {place} has a wrong checksum")
        else:
            try:
                yield Event.FromString(data)
            except DecodeError:
                told.add(f"the record at byte {place} is no event")
        place += _HEAD.size + length + _TAIL.size


def masked(check: int) -> int:
    """A checksum as it stands in a file."""
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


def milliseconds(seconds: float) -> int | None:
    """A time of an event in milliseconds since 1970; None if it is none."""
    return round(seconds * 1000) if math.isfinite(seconds) else None


def scalar_of(tensor: Any) -> float | None:
    """The number of a tensor that has one; None if it has none or more."""
    if math.prod(each.size for each in tensor.tensor_shape.dim) != 1:
        return None
    if tensor.tensor_content:
        return _unpacked(tensor.dtype, tensor.tensor_content)
    if tensor.half_val:
        kind = "<e" if tensor.dtype == _HALF else ""
        bits = struct.pack("<H", tensor.half_val[0] & 0xFFFF)
        return float(struct.unpack(kind, bits)[0]) if kind else _bfloat(bits)
    for name in ("float_val", "double_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val"):
        if values := getattr(tensor, name):
            return float(values[0])
    # Writers leave out what is 0.
    return 0.0 if tensor.dtype in _CONTENT or tensor.dtype == _BFLOAT else None


def _unpacked(dtype: int, content: bytes) -> float | None:
    if dtype == _BFLOAT and len(content) == 2:
        return _bfloat(content)
    packed = _CONTENT.get(dtype, "")
    if not packed or len(content) != struct.calcsize(packed):
        return None
    return float(struct.unpack(packed, content)[0])


def _bfloat(bits: bytes) -> float:
    """The upper half of a 32-bit float."""
    return float(struct.unpack("<f", b"\0\0" + bits)[0])
