"""How a protobuf message says null in a field whose default is something else: what is left out has the default.

Knows no generated code, and imports nothing but protobuf: a client's start takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor

_NULL_AS = "forgelog.common.v1.null_as"


@cache
def nulls_of(descriptor: Descriptor) -> Mapping[str, int]:
    """The fields of a message in which a number stands for null, each with that number."""
    return {
        field.name: value
        for field in descriptor.fields
        for option, value in field.GetOptions().ListFields()
        if option.full_name == _NULL_AS
    }
