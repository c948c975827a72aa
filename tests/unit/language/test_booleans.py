"""A boolean is no number, in any field of a command and on both ways in; where either may stand it stays what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field

from events.language.base import Model
from events.language.booleans import booleans_for_numbers
from events.language.common import Refused
from events.language.jobs import SubmitJob
from events.language.problems import command_class, decode_command, validate_data

Decode = Callable[[str, Any], Any]


def by_kafka(type_name: str, data: Any) -> Any:
    return decode_command(command_class(type_name).type_name(), json.dumps(data).encode())


def by_http(type_name: str, data: Any) -> Any:
    return validate_data(command_class(type_name), data)


both = pytest.mark.parametrize("decode", [by_kafka, by_http])


def job(**more: Any) -> dict[str, Any]:
    return {"spec": {"metadata": {"name": "a"}, "command": "true", **more}}


@both
@pytest.mark.parametrize(
    ("type_name", "data", "fields"),
    [
        ("SubmitJob", job(resources={"cpus": True, "gpus": False}), ["spec.resources.cpus", "spec.resources.gpus"]),
        ("SubmitJob", job(array={"size": True}), ["spec.array.size"]),
    ],
)
def test_a_boolean_is_no_number(decode: Decode, type_name: str, data: Any, fields: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        decode(type_name, data)
    assert [error.field for error in caught.value.errors] == fields
    assert caught.value.errors[0].problem == "true is not a number"
    assert caught.value.errors[0].hint == "give a number"


def test_a_boolean_is_found_wherever_it_stands_in_a_body() -> None:
    for body in ('{"size": true}', '{"size":\n\ttrue }', '{ "size"\r\n: true}'):
        with pytest.raises(Refused, match=r"spec\.array\.size: true is not a number"):
            decode_command(
                SubmitJob.type_name(),
                f'{{"spec": {{"metadata": {{"name": "a"}}, "command": "true", "array": {body}}}}}'.encode(),
            )


@both
def test_what_may_be_a_boolean_stays_one(decode: Decode) -> None:
    found = decode("SubmitJob", job(resources={"exclusive": True, "cpus": 2}, args=["true"]))
    assert (found.spec.resources.exclusive, found.spec.resources.cpus, found.spec.args) == (True, 2, ("true",))


class Inner(Model):
    numbers: tuple[float, ...] = ()
    named: dict[str, int] = Field(default_factory=dict)
    either: bool | float | None = None


class Outer(Model):
    inner: tuple[Inner, ...] = ()


def test_lists_and_maps_are_looked_through() -> None:
    sent = {"inner": [{}, {"numbers": [0.5, True], "named": {"a": 1, "b": False}, "either": True}]}
    found = list(booleans_for_numbers(sent, Outer.model_validate(sent)))
    assert found == [(("inner", 1, "numbers", 1), True), (("inner", 1, "named", "b"), False)]
