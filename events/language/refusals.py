"""What pydantic refuses, without what follows from something else that it refuses. Knows no message."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


def refusals_of(error: ValidationError) -> list[Any]:
    """What pydantic found. Of a list in which an entry is wrong it also says that it is too short without that one."""
    found = error.errors(include_url=False)
    inside = {each["loc"][:length] for each in found for length in range(len(each["loc"]))}
    return [each for each in found if each["type"] != "too_short" or each["loc"] not in inside]
