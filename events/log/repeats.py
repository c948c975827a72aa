"""Refuses JSON objects with duplicate keys. Parsers silently keep the last one, which may not be what the sender meant.

In C if that was compiled (see `events.log.native`): one pass clears nearly every text; the rest is parsed.
"""

from __future__ import annotations

import json
from typing import Any

from events.language.common import ErrorCode, FieldError, Refused, shown
from events.log import native

_compiled = native.load("_records")
_may_repeat = _compiled.may_repeat if _compiled is not None else lambda _: True


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Twice(key)
        seen.add(key)


def repeated_key(text: bytes) -> str | None:
    """A key that occurs twice in one object; None if there is none, or if the text is not JSON."""
    if not _may_repeat(text):
        return None
    try:
        json.loads(text, object_pairs_hook=_once)
    except _Twice as twice:
        return str(twice)
    except (ValueError, RecursionError):
        return None  # its parser says what is wrong
    return None


def refuse_repeats(text: bytes) -> None:
    """Raises Refused(invalid_argument), which names a key that occurs twice in one object."""
    if _may_repeat(text) and (key := repeated_key(text)) is not None:
        problem = f"key {shown(key)} is given twice in one object"
        error = FieldError(field=key[:200] or "(body)", problem=problem, hint="give it once")
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"the body is not clear: {problem}", [error])
