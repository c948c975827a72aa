"""How models become protobuf: types, presence, documentation."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from events.language.base import Model
from events.language.common import Timestamp
from proto.shapes import FileShape, Unmappable, _message


class Inside(Model):
    """A part."""


def shapes(annotation: Any, **field: Any) -> tuple[str, str, str]:
    """Label, type and documentation of a field with this annotation."""
    namespace = {"__annotations__": {"value": annotation}, "__module__": __name__}
    if field:
        namespace["value"] = Field(**field)
    model = type("Sample", (Model,), namespace)
    (shape,) = _message(model, FileShape("jobs")).fields
    return shape.label, shape.type, shape.doc


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        (str, {}, ("", "string", "")),
        (int, {}, ("", "int64", "")),
        (Annotated[int, Field(ge=0, le=10)], {}, ("", "int32", "0 to 10.")),
        (float, {"default": 1.0}, ("optional", "double", "Default 1.")),
        (float, {"default": 0.0}, ("", "double", "")),
        (bool, {"default": True}, ("optional", "bool", "Default true.")),
        (int | None, {"default": None}, ("optional", "int64", "")),
        (Timestamp | None, {"default": None}, ("", "google.protobuf.Timestamp", "")),
        (tuple[str, ...], {"default": (), "max_length": 3}, ("repeated", "string", "At most 3 entries.")),
        (dict[str, int], {"default_factory": dict}, ("", "map<string, int64>", "")),
        (dict[str, str | None], {"default_factory": dict}, ("", "map<string, google.protobuf.Value>", "")),
        (dict[str, Any], {"default_factory": dict}, ("", "google.protobuf.Struct", "")),
    ],
)
def test_each_kind_of_field_has_its_protobuf_type(annotation: Any, field: dict[str, Any], expected: Any) -> None:
    assert shapes(annotation, **field) == expected


@pytest.mark.parametrize(
    ("annotation", "field", "problem"),
    [
        (tuple[tuple[int, ...], ...], {}, "list of lists"),
        (tuple[str, ...] | None, {"default": None}, "can't be None"),
        (tuple[str, ...], {"default": ("a",)}, "let its default be empty"),
        (int | str, {}, "union"),
        (complex, {}, "no protobuf type"),
    ],
)
def test_what_protobuf_can_not_say_is_refused_with_the_fields_name(
    annotation: Any, field: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Unmappable, match=problem) as refusal:
        shapes(annotation, **field)
    assert "Sample.value" in str(refusal.value)
