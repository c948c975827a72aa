"""How people name a model's version: ``digits``, ``digits/3``, ``digits@champion``, ``digits:production``. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from forgelog.errors import InvalidInput

_REF = re.compile(r"(?P<model>[^/@:]+)(?:/(?P<number>[0-9]{1,9})|@(?P<alias>[^/@:]+)|:(?P<environment>[^/@:]+))?")


class ModelRef(NamedTuple):
    """A model, and which of its versions; the newest one if nothing says which."""

    model: str
    """Its name or its id."""
    number: int = 0
    alias: str = ""
    environment: str = ""

    def choice(self) -> dict[str, Any]:
        """The same as a deployment's spec has it."""
        said = {"name": self.model, "number": self.number, "alias": self.alias, "environment": self.environment}
        return {key: value for key, value in said.items() if value}


def parse_ref(text: str) -> ModelRef:
    """Raises `InvalidInput`."""
    if (match := _REF.fullmatch(text)) is None:
        raise InvalidInput(f"{text!r} names no version of a model; write NAME, NAME/3, NAME@ALIAS or NAME:ENVIRONMENT")
    return ModelRef(match["model"], int(match["number"] or 0), match["alias"] or "", match["environment"] or "")
