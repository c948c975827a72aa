"""Decides whether a task whose process has ended runs again, and when. Pure.

Two kinds of restarts are counted separately. A restart after a failure depends on the restart policy: whether, how
often and how soon. A restart after an interruption (the node was lost or drained) is always granted. Each one waits
longer than the one before, so that a task that crashes its nodes does so less and less often.

A task that may be restarted without bound is counted anew, of both kinds, after an attempt that ran for `STEADY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from signal import Signals

from events.language.jobs import ExitReason, TaskExit
from events.language.jobs.spec import RestartMode, RestartPolicy

LONGEST = 300
"""Most characters of a process's own message in a reason."""


class Fate(Enum):
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()
    AGAIN = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A task's fate; for `AGAIN` also when and why."""

    fate: Fate
    delay: float = 0.0
    """Seconds to wait before the next attempt."""
    counted: bool = False
    """Whether the restart counts against `max_restarts`."""
    reason: str = ""


STEADY = timedelta(seconds=60)
"""An attempt that ran for so long ends a row of restarts, where their number has no bound."""

INTERRUPTED, INTERRUPTED_MOST = 1.0, 300.0
"""Seconds before the restart after a task's first interruption, doubled for each further one, and the maximum."""


def backoff(policy: RestartPolicy, restarts: int) -> float:
    """Seconds before restart number `restarts` + 1: doubled each time, up to the policy's maximum."""
    return min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0 ** min(restarts, 60))


def describe(exit: TaskExit) -> str:
    """A task's end in a few words."""
    match exit.reason:
        case ExitReason.TIMEOUT:
            return _with("runtime limit reached", exit.message)
        case ExitReason.OUT_OF_MEMORY:
            return _with("memory limit reached", exit.message)
        case ExitReason.SPAWN_FAILED:
            return _with("could not be started", exit.message)
        case ExitReason.LOST:
            return "its node was lost"
        case ExitReason.UNTRACKED:
            return _with("its end is not known", exit.message)
        case ExitReason.STOPPED:
            return "stopped by its node"
        case ExitReason.UNHEALTHY:
            return _with("unhealthy", exit.message)
        case ExitReason.EXITED:
            return f"exit code {exit.exit_code}" if exit.signal is None else f"signal {exit.signal}{_name(exit.signal)}"


def _with(what: str, message: str) -> str:
    return f"{what}: {message[:LONGEST]}" if message else what


def _name(number: int) -> str:
    """`` (SIGSEGV)``; empty for a signal without a name on this system."""
    try:
        return f" ({Signals(number).name})"
    except ValueError:
        return ""


def judge(policy: RestartPolicy, exit: TaskExit, restarts: int, interruptions: int, cancelling: bool) -> Verdict:
    """The fate of a task that has been restarted `restarts` times after failures and `interruptions` times after
    interruptions."""
    succeeded = exit.reason is ExitReason.EXITED and exit.exit_code == 0 and exit.signal is None
    if cancelling:
        return Verdict(Fate.COMPLETED if succeeded else Fate.CANCELLED)
    if exit.reason is ExitReason.STOPPED:
        # Nobody cancelled it: its node was drained, so it runs again.
        return _interrupted("its node was drained", interruptions)
    if exit.reason is ExitReason.LOST and policy.restart_lost:
        return _interrupted(describe(exit), interruptions)
    wanted = policy.mode is RestartMode.ALWAYS or (policy.mode is RestartMode.ON_FAILURE and not succeeded)
    if wanted and (policy.max_restarts is None or restarts < policy.max_restarts):
        most = "" if policy.max_restarts is None else f" of {policy.max_restarts}"
        reason = f"{describe(exit)}; restart {restarts + 1}{most}"
        return Verdict(Fate.AGAIN, backoff(policy, restarts), True, reason)
    return Verdict(Fate.COMPLETED if succeeded else Fate.FAILED)


def _interrupted(what: str, before: int) -> Verdict:
    delay = min(INTERRUPTED_MOST, INTERRUPTED * 2.0 ** min(before, 60))
    return Verdict(Fate.AGAIN, delay, reason=f"{what}; interruption {before + 1} of this task" if before else what)
