"""What an exception of a stage's work says to its user: as the fields of a `StageFailure`."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

from forgelog.worker import masking
from forgelog.worker.framing import Message

_OURS = str(Path(__file__).resolve().parent.parent)
"""The package `forgelog`, whose own frames tell a user nothing."""
_MOST_PROBLEM, _MOST_TRACE = 4_000, 8_000


def failure_of(error: BaseException) -> Message:
    """The fields. An error that names a field, what is wrong with it and what to do (`field`, `problem`, `remedy`) says
    so; for any other one, Python's own words and the lines of the user's code. The failure becomes an event, and
    libraries put into their errors what they were given, so values of the worker's secrets are masked."""
    secrets = masking.secrets()
    return {
        name: masking.masked(text, secrets) if isinstance(text, str) else text for name, text in _fields(error).items()
    }


def _fields(error: BaseException) -> Message:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryException":
        return {
            "kind": "memory",
            "problem": _cut(f"there was not enough memory: {_said(error)}"),
            "remedy": "give the stage more by resources.memory_bytes, or let it take less at a time",
        }
    problem = getattr(error, "problem", None)
    if isinstance(problem, str) and problem:
        return {
            "kind": getattr(error, "kind", "error"),
            "field": str(getattr(error, "field", ""))[:500],
            "problem": _cut(problem),
            "remedy": str(getattr(error, "remedy", ""))[:2000],
            # What the user's own function raised, where that is behind it.
            **(_traced(error.__cause__) if error.__cause__ is not None else {}),
        }
    if isinstance(error, SystemExit):
        said = f"the stage's code has called sys.exit({error.code!r})"
        return {"kind": "error", "problem": _cut(said), "remedy": "return from the function", **_traced(error)}
    return {"kind": "error", "problem": _cut(_said(error)), **_traced(error)}


def _said(error: BaseException) -> str:
    text = str(error).strip()
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def _cut(text: str) -> str:
    """Without what no event can hold, and not longer than it may be."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= _MOST_PROBLEM else f"{text[: _MOST_PROBLEM - 1]}…"


def _traced(error: BaseException) -> dict[str, str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    if not frames:
        return {}
    text = "".join(traceback.format_list(frames))
    return {"traceback": text[-_MOST_TRACE:]}


def _is_ours(file: str) -> bool:
    return file.startswith((_OURS, "<frozen")) or file == contextlib.__file__
