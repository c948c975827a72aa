"""Which variables a platform that runs was started with: `up` does not change them.

The supervisor and its children have the environment of the `up` that started the supervisor. Must not show a value: it
may be a password.
"""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from events.process.identity import Identity
from events.process.settings import PREFIX, Settings

_FAMILIES = ("NODE_", "AGENT_", "ROUTER_")
_OTHERS = frozenset({"ENVOY", "JAVA", "PURE"})
_SET_BY_THE_PLATFORM = frozenset(
    {
        "AGENT_DIR",
        "AGENT_STOP",
        "DATA",
        "GATEWAY",
        "INSTANCE",
        "KAFKA",
        "KAFKA_CONFIG",
        "LISTEN",
        "NODE_SHARE",
        "OWNER_KEY_FILE",
        "POSTGRES",
        "SERVICES",
    }
)
"""Each child is told its own; `up` itself looks at the servers' addresses."""


def changed_since_start(supervisor: Identity, here: Mapping[str, str]) -> list[str]:
    """Names of variables of the platform that are set, not set, or set otherwise than in the supervisor's environment.
    Empty if that environment can't be read."""
    process = supervisor.process()
    try:
        there = process.environ() if process is not None else here
    except psutil.Error:
        return []
    return sorted(
        name for name in {*there, *here} if _is_of_the_platform(name) and there.get(name, "") != here.get(name, "")
    )


def _is_of_the_platform(variable: str) -> bool:
    if not variable.startswith(PREFIX):
        return False
    name = variable.removeprefix(PREFIX)
    of_settings = {field.rstrip("_").upper() for field in Settings.model_fields}
    return name not in _SET_BY_THE_PLATFORM and (name in of_settings or name in _OTHERS or name.startswith(_FAMILIES))
