"""Which of the parts that are compiled where that can be done are in use, in words: for `status` and `doctor`.

There are two: the log's helper, which each service loads (see `events.log.native`), and the launcher, by which a node's
agent starts tasks and which it tells in a label. Both have a twin in Python that does the same work more slowly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from events.log import native

_SLOWER = "a record takes five times as long to read"
WORDS: Mapping[str, str] = {
    native.COMPILED: "compiled",
    native.PURE: f"in Python: {_SLOWER}",
    native.STALE: f"in Python, since the compiled helper is of another version: {_SLOWER}",
}
"""How the log is read and written."""

_COMPILER = "install a C compiler (gcc) and Python's headers (python3-dev)"
_COMPILED_BY_NOW = "the helper is compiled: restart it, without FORGELOG_PURE"
_NODE = "on its machine, install a C compiler (gcc) or unset FORGELOG_PURE, and restart its agent"


def helper_fix(status: str) -> str:
    """What makes it compiled; empty when it is."""
    if status == native.COMPILED:
        return ""
    if native.unwanted():
        return "unset FORGELOG_PURE"
    compile_it = f"run '{sys.executable} -m events.log.native'"
    return compile_it if status == native.STALE else f"{_COMPILER}, then {compile_it}"


def slower(contexts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Of a running platform, what does its work in Python: who, how, and what to do. `contexts`: see
    `forgelog.embedded.contexts`. A service or agent that does not say, as one of yesterday, is left out."""
    here = native.status()
    for each in contexts:
        if (status := each["native"]) not in ("", native.COMPILED):
            fix = f"{helper_fix(here)}, and restart it" if helper_fix(here) else _COMPILED_BY_NOW
            yield f"{each['context']} service", f"reads the log {WORDS.get(status, status)}", fix
        for node, launcher in each["launchers"].items():
            if launcher != native.COMPILED:
                yield f"node {node}", "starts tasks by Python: a start takes ten times the processor time", _NODE


def in_use(contexts: Iterable[Mapping[str, Any]]) -> str:
    """One word for `status`: ``compiled`` when everything that says what it uses does, ``pure`` when nothing does, else
    ``partly``; empty when nothing says so."""
    told = list(contexts)
    every = [each["native"] for each in told if each["native"]]
    every += [launcher for each in told for launcher in each["launchers"].values()]
    compiled = [each == native.COMPILED for each in every]
    if not every:
        return ""
    return native.COMPILED if all(compiled) else "partly" if any(compiled) else native.PURE
