"""A stage of a pipeline: what it takes, what it does, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model

StageId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"), Field(examples=["clean"])]
"""1 to 63 lower-case letters, digits, ``_`` and ``-``, with a letter or digit at both ends. Its pipeline has no other
stage of this id."""

InputName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), Field(examples=["raw"])]
"""What a stage calls one of its inputs: 1 to 63 lower-case letters, digits and ``_``, no digit first. SQL and Python
know the input by it."""

Description = Annotated[str, StringConstraints(max_length=4_000)]


class StageInput(Model):
    """One input of a stage."""

    stage: StageId
    """The stage whose output it is."""


class StageSpec(Model):
    """One stage. It begins when the stages that it names, by `after` or as an input, have ended."""

    id: StageId
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    """For people; empty: its id."""
    description: Description = ""
    after: tuple[StageId, ...] = Field(default=(), max_length=1_000)
    """Stages that it waits for without taking their output."""
    inputs: dict[InputName, StageInput] = Field(default_factory=dict, max_length=100)

    def needs(self) -> tuple[str, ...]:
        """The ids of the stages that it waits for, each once, in the order in which it names them."""
        return tuple(dict.fromkeys([*self.after, *(given.stage for given in self.inputs.values())]))
