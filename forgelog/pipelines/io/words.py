"""How messages quote values."""

from __future__ import annotations

from events.language import common


def shown(value: object) -> str:
    """A value as an error message quotes it: a path or a URL is seldom too long for a message, and useless in part."""
    return common.shown(value, 400)
