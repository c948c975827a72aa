"""What becomes of a task whose process is gone: ended for good, or run again, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from events.language.jobs import ExitReason, TaskExit
from events.language.jobspec import RestartMode, RestartPolicy


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


def backoff(policy: RestartPolicy, restarts: int) -> float:
    """Seconds before restart number `restarts` + 1: doubled each time, up to the policy's most."""
    return min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0 ** min(restarts, 60))


def describe(exit: TaskExit) -> str:
    """A task's end in a few words."""
    match exit.reason:
        case ExitReason.TIMEOUT:
            return "runtime limit reached"
        case ExitReason.OUT_OF_MEMORY:
            return "memory limit reached"
        case ExitReason.SPAWN_FAILED:
            return f"could not be started: {exit.message}"
        case ExitReason.LOST:
            return "its node was lost"
        case ExitReason.STOPPED:
            return "stopped by its node"
        case ExitReason.EXITED:
            return f"signal {exit.signal}" if exit.signal is not None else f"exit code {exit.exit_code}"


def judge(policy: RestartPolicy, exit: TaskExit, restarts: int, cancelling: bool) -> Verdict:
    """The fate of a task that has been restarted `restarts` times (counted ones)."""
    succeeded = exit.reason is ExitReason.EXITED and exit.exit_code == 0 and exit.signal is None
    if cancelling:
        return Verdict(Fate.COMPLETED if succeeded else Fate.CANCELLED)
    if exit.reason is ExitReason.STOPPED:
        # Nobody cancelled it: its node was drained. It made room and is owed another run.
        return Verdict(Fate.AGAIN, reason="its node was drained")
    if exit.reason is ExitReason.LOST and policy.restart_lost:
        return Verdict(Fate.AGAIN, reason=describe(exit))
    wanted = policy.mode is RestartMode.ALWAYS or (policy.mode is RestartMode.ON_FAILURE and not succeeded)
    if wanted and restarts < policy.max_restarts:
        reason = f"{describe(exit)}; restart {restarts + 1} of {policy.max_restarts}"
        return Verdict(Fate.AGAIN, backoff(policy, restarts), True, reason)
    return Verdict(Fate.COMPLETED if succeeded else Fate.FAILED)
