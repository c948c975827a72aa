"""What the demo promises is checked."""

from __future__ import annotations

from forgelog.errors import ForgelogError


class DemoFailed(ForgelogError):
    """Something that the demo promises did not hold."""


def check(holds: bool, text: str) -> None:
    """Raises DemoFailed unless it holds."""
    if not holds:
        raise DemoFailed(f"the demo's promise does not hold: {text}")
