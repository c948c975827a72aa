"""The aggregate that ordered something, as the header ``ce_origin`` names it: ``context/kind/id``. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Asker(NamedTuple):
    """An aggregate that decides, with its context."""

    context: str
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.context}/{self.kind}/{self.id}"


def parsed(text: str) -> Asker | None:
    """The aggregate that a ``ce_origin`` names; None if it names none."""
    parts = text.split("/", 2)
    return Asker(*parts) if len(parts) == 3 and all(parts) else None
