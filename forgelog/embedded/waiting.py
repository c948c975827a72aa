"""How long the start of a platform is waited for, and what is said of it. Must not start or ask anything.

A machine may be busy, so time alone says little: a child that lives and has not failed is waited for. One that has
ended, can't be started or says what is wrong gets less time: the supervisor tries it again, and that may help. It does
not help a router that can't work with what it is told (`os.EX_CONFIG`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from forgelog.embedded.layout import ChildState, PlatformState, Wanted
from forgelog.embedded.process import exit_of, last_line
from forgelog.embedded.router import ROUTER

FAILED_SECONDS = 120.0
"""How long a start may take in which something fails."""
LONGEST_SECONDS = 900.0
"""How long any start may take."""


def is_up(state: PlatformState, wanted: Wanted) -> bool:
    """Whether all that is wanted is there and answers."""
    if not (state.kafka and state.postgres):
        return False
    kinds = {"server": 0, "service": 0, "agent": 0, ROUTER: 0}
    for child in state.children:
        if not child.up:
            return False
        kinds[child.kind] += 1
    servers = [wanted.kafka.source, wanted.postgres.source].count("embedded")
    if kinds["server"] != servers:
        return False
    if not wanted.services:
        return kinds["service"] == 0 and kinds["agent"] == 0
    return bool(state.gateway) and kinds["service"] > 0 and kinds["agent"] == wanted.agents


def restarts_of(children: Iterable[ChildState]) -> dict[str, int]:
    """How often each was started again, by name."""
    return {child.name: child.restarts for child in children}


def failed(child: ChildState, before: Mapping[str, int]) -> bool:
    """Whether more than time is in the way of a child that is not up; `before`: restarts as the wait began."""
    if child.up:
        return False
    ended = child.restarts > before.get(child.name, 0)
    return ended or child.state in ("restarting", "held", "stopped") or bool(child.problem and not child.slow)


def given_up(children: Iterable[ChildState], before: Mapping[str, int], waited: float, limit: float | None) -> bool:
    """Whether the wait is over after `waited` seconds; `limit`: what the user asked for."""
    children = list(children)
    if refused(children) and any(child.restarts > before.get(child.name, 0) for child in children if not child.up):
        return True
    if limit is not None:
        return waited > limit
    return waited > LONGEST_SECONDS or (waited > FAILED_SECONDS and any(failed(child, before) for child in children))


def refused(children: Iterable[ChildState]) -> str:
    """What a router ended of that no wait mends, once all others are up: they may have more to say. Else empty."""
    down = [child for child in children if not child.up]
    if [child.kind for child in down] != [ROUTER] or down[0].last_exit != exit_of(os.EX_CONFIG):
        return ""
    return last_line(down[0].problem) or f"see {down[0].log}"


def awaited(children: Iterable[ChildState]) -> list[str]:
    """The children that are not up, each in a few words."""
    said = []
    for child in children:
        if not child.up:
            why = child.problem.splitlines()[0] if child.problem else ""
            last = f", last {child.last_exit}" if child.last_exit else ""
            said.append(f"{child.name} ({child.state}{last}{': ' + why if why else ''})")
    return said


def not_up(state: PlatformState, seconds: float) -> str:
    """What is told when the wait is over."""
    if why := refused(state.children):
        return _router_refuses(why)
    lines = [f"not everything was ready after {seconds:.0f} s:"]
    lines += [_why(child) for child in state.children if not child.up]
    if len(lines) == 1:
        lines.append("  every process is up, but the tables do not show every node yet. See the log of `resources`.")
    return "\n".join(lines)


def not_up_already(state: PlatformState) -> str:
    """What is told without a wait: the children that have failed so far. Empty if none has."""
    if why := refused(state.children):
        return _router_refuses(why)
    lines = [_why(child) for child in state.children if failed(child, {})]
    return "\n".join(["not everything is ready:", *lines]) if lines else ""


def _router_refuses(why: str) -> str:
    return (
        f"the platform runs, but its router can't start:\n  {why}\nThe router is tried again by itself: mend the file, "
        "or the variable with 'forgelog down' and 'forgelog up'"
    )


def _why(child: ChildState) -> str:
    times = f", {child.restarts} restarts" if child.restarts else ""
    last = f", last {child.last_exit}" if child.last_exit else ""
    return f"  {child.name}: {child.state}{times}{last}. {child.problem or f'See {child.log}'}"
