"""Whole numbers in texts from outside. Imports nothing: every command of the CLI asks this."""

from __future__ import annotations

MOST_DIGITS = 18
"""Most digits of a number that fits into 63 bits with any digits."""


def count_of(text: str) -> int | None:
    """The number that is written in the digits 0 to 9; None for anything else, and for what no counter of ours reaches.

    (`str.isdigit` alone also takes "²", which `int` does not.)"""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
