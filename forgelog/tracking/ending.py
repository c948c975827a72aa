"""How a program's runs end when the program does: by leaving its `with`, by an exception, by a signal, at its exit.

Knows of runs only that they can be ended.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

FINISHED, FAILED, KILLED = "finished", "failed", "killed"


class Terminated(SystemExit):
    """SIGTERM came while a run was open: the program ends, and says so by its exit code (143)."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Open(Protocol):
    """A run that was not ended yet."""

    def end(self, status: str = ..., reason: str = ...) -> None: ...
    def forked(self) -> None: ...


_open: list[Open] = []
_set_by: int = 0
"""The process that has our handler for SIGTERM; 0: none has."""
_terminated = False
_registered = False


def of(error: BaseException | None) -> tuple[str, str]:
    """Status and reason of a run that an error ends. The error's text stays here: it may hold anything."""
    if error is None:
        return FINISHED, ""
    if isinstance(error, KeyboardInterrupt):
        return KILLED, "interrupted"
    if isinstance(error, Terminated):
        return KILLED, "terminated by SIGTERM"
    if isinstance(error, SystemExit):
        code = error.code
        return (FINISHED, "") if code in (None, 0) else (FAILED, f"exit code {code}" if type(code) is int else "exit")
    if isinstance(error, GeneratorExit):
        return FINISHED, ""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return FAILED, name[:500]


def began(run: Open) -> None:
    """A run is open from here on."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_at_exit)
        os.register_at_fork(after_in_child=_in_child)
    _open.append(run)
    _heed_sigterm()


def ended(run: Open) -> None:
    """It is open no more."""
    with suppress(ValueError):
        _open.remove(run)
    if not _open:
        _leave_sigterm()


def _heed_sigterm() -> None:
    """Only where the program has no handler of its own, which knows better."""
    global _set_by
    if threading.current_thread() is not threading.main_thread():
        return  # Python lets the main thread alone do it
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)
        _set_by = os.getpid()


def _leave_sigterm() -> None:
    global _set_by
    if _set_by and threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _set_by = 0


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    global _terminated
    _terminated = True
    raise Terminated


def _in_child() -> None:
    """A forked process, such as a worker that loads data, ends no run of its parent's."""
    global _set_by
    for run in _open:
        run.forked()
    _open.clear()
    if _set_by:
        with suppress(ValueError):  # forked by another thread than the main one
            if signal.getsignal(signal.SIGTERM) is _on_sigterm:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _set_by = 0


def _at_exit() -> None:
    """Of runs without a `with`."""
    status, reason = of(_what_ended_it())
    for run in reversed(_open[:]):
        run.end(status, reason)


def _what_ended_it() -> BaseException | None:
    if _terminated:
        return Terminated()
    if hasattr(sys, "ps1") or "IPython" in sys.modules:
        return None  # the last error of a session ended no program
    error: Any = getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None
