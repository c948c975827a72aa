"""The text below a field or a member is its description, in every document and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum

import pytest
from pydantic import Field

from events.language.base import Model
from events.language.descriptions import descriptions_of
from events.language.json_schemas import definitions


class Colour(StrEnum):
    """Of a thing."""

    RED = "red"
    """Like a rose,
    at dawn."""
    GREEN = "green"


class Thing(Model):
    """A thing."""

    """Not below a field."""
    size: int
    """In metres."""
    weight: int = 1
    colour: Colour = Colour.RED
    """Of paint."""
    named: str = Field(default="", description="Given.")

    class Part(Model):
        number: int
        """From 1."""


class Larger(Thing):
    size: int
    weight: int = 2
    """In tonnes."""


def test_it_is_the_text_right_below() -> None:
    assert descriptions_of(Colour) == {"RED": "Like a rose,\nat dawn."}
    assert descriptions_of(Thing) == {"size": "In metres.", "colour": "Of paint.", "named": "Given."}


def test_a_field_is_inherited_with_it_and_defined_anew_without() -> None:
    assert descriptions_of(Larger) == {"weight": "In tonnes.", "colour": "Of paint.", "named": "Given."}


def test_a_class_may_be_within_another_or_a_function() -> None:
    class Local(Model):
        part: Thing.Part
        """What is in it."""

    assert descriptions_of(Local) == {"part": "What is in it."}
    assert descriptions_of(Thing.Part) == {"number": "From 1."}


def test_without_a_source_there_is_none() -> None:
    made = type("Made", (Larger,), {"__module__": "nowhere"})
    assert descriptions_of(made) == descriptions_of(Larger)
    assert descriptions_of(type("Bare", (Model,), {"__module__": "nowhere", "__annotations__": {"a": int}})) == {}


def test_a_schema_has_it_with_each_field() -> None:
    _, schemas = definitions([Larger], "#/{model}")
    assert {name: field.get("description") for name, field in schemas["Larger"]["properties"].items()} == {
        "size": None,
        "weight": "In tonnes.",
        "colour": "Of paint.",
        "named": "Given.",
    }


@pytest.mark.parametrize("module", ["services.jobs.service", "forgelog.client"])
def test_a_start_reads_no_source_and_makes_no_validator(module: str) -> None:
    code = (
        f"import {module}, sys; from events.language.registry import command_types; "
        "print('events.language.descriptions' in sys.modules, "
        "*(name for name, kind in command_types().items() if kind.__pydantic_complete__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
