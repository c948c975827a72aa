"""The platform's own nodes as its tables show them, and the removal of those that it keeps no agent for any more.

Asks the gateway by plain HTTP: a client library would cost the supervisor, which stays, its memory.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from events.process import notes
from events.process.keys import OWNER, KeyFileProblem, key_path, read_key
from events.process.listening import stranger
from events.process.settings import split_address

MEMBERSHIP = "membership.json"
"""In an agent's folder: whether it holds its node; written by the agent, absent until it has begun to ask for it."""
OURS = "platform-node"
"""In an agent's folder: marks a node of the platform's own, unlike one that a person keeps in the same data folder."""


RETIRED = "no agent is kept for it: "
"""How the reason begins with which the platform drains and removes its own nodes."""


class NotAnswered(Exception):
    """The gateway can't be asked now, or can't answer."""


class Nodes:
    """All calls block for some seconds at most, and raise `NotAnswered`."""

    def __init__(self, gateway: str, pool: str, data: Path) -> None:
        """`gateway`: ``host:port``; `data`: the platform's folder, which has its key."""
        self._gateway = split_address(gateway)
        self._key = key_path(data, OWNER)
        self._pool = pool

    def row(self, node: str) -> dict[str, Any] | None:
        """The node as `ListNodes` gives it; None when the pool has no such node."""
        code, answer = self._ask("GET", f"/v1/nodes/{quote(node)}?pool={quote(self._pool)}")
        if code == 404:
            return None
        if code != 200:
            raise NotAnswered(answer)
        row: dict[str, Any] = answer["node"]
        return row

    def is_kept_by(self, node: str, folder: Path) -> bool:
        """Whether the tables show the node as held by the agent that runs in that folder."""
        said = membership(folder)
        row = self.row(node) if said.get("registered") else None
        return row is not None and row.get("agent_id") == said["agent_id"] and row.get("status") != "lost"

    def drain(self, node: str, reason: str) -> None:
        """Let nothing more onto a node, and move what runs there, as far as the tables know of it."""
        if self.row(node) is not None:
            self._command("DrainNode", node, reason=RETIRED + reason)

    def retire(self, node: str, reason: str) -> bool:
        """Remove a node once it holds nothing. True when the pool has no such node any more."""
        row = self.row(node)
        if row is None:
            return True
        return not row.get("running_allocations") and self._command("RemoveNode", node, reason=RETIRED + reason)

    def take_back(self, node: str) -> None:
        """Let work onto a node that was to be removed and is wanted again; what a person holds stays held."""
        row = self.row(node)
        if row is not None and row.get("hold_reason", "").startswith(RETIRED):
            self._command("UncordonNode", node)

    def _command(self, name: str, node: str, **fields: str) -> bool:
        data = {"pool": self._pool, "node_id": node, **fields}
        command = {"type": f"forgelog.resources.v1.{name}", "data": data}
        code, _ = self._ask("POST", "/v1/commands?timeout=5", json.dumps(command))
        return code == 200

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        if user := stranger(*self._gateway):
            raise NotAnswered(f"a program of {user} has taken the gateway's port")
        connection = http.client.HTTPConnection(*self._gateway, timeout=10.0)
        try:
            headers = {"Authorization": f"Bearer {read_key(self._key)}"}
            connection.request(method, path, body, headers | ({"Content-Type": "application/json"} if body else {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (KeyFileProblem, OSError, ValueError, http.client.HTTPException) as error:
            raise NotAnswered(str(error)) from error
        finally:
            connection.close()


def membership(folder: Path) -> dict[str, Any]:
    """What the agent in that folder says of its node: ``registered``, ``agent_id``, ``problem``. Empty: nothing yet."""
    try:
        said: dict[str, Any] = json.loads(notes.read(str(folder.resolve() / MEMBERSHIP)))
    except (OSError, ValueError):
        return {}
    return said


def in_use(folder: Path) -> bool:
    """Whether an agent runs in that folder."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
