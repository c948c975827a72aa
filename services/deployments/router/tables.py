"""The routing tables that a router knows, in memory and on disk: it starts from there when nobody can be asked.

Knows neither Envoy nor where tables come from.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from events.language.deployments.routing import RoutedReplica, RoutingTable
from events.language.wording import told
from events.log.positions import Place, ReaderPosition

log = logging.getLogger("forgelog.router")

_POSITION = "position"


@dataclass(frozen=True, slots=True)
class Leaving:
    """A replica that its table names no more, and that may still have requests."""

    revision: int
    replica: RoutedReplica


@dataclass(slots=True)
class Tables:
    """The newest table of each deployment, those that have ended left out."""

    folder: Path
    now: dict[str, RoutingTable] = field(default_factory=dict)
    """By deployment."""
    leaving: dict[str, dict[str, Leaving]] = field(default_factory=dict)
    """Deployment → id of a replica."""
    ended: dict[str, int] = field(default_factory=dict)
    """Deployment that has ended → number of its last table: what comes late is older."""
    position: dict[Place, ReaderPosition] = field(default_factory=dict)
    """Up to where the log was read."""

    def load(self) -> None:
        """What the last process knew. A file that can't be read is left out: its table comes again."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        position: dict[Place, ReaderPosition] = {}
        whole = True
        for path in sorted(self.folder.glob("*.json")):
            try:
                if path.stem == _POSITION:
                    position = _positions(json.loads(path.read_bytes()))
                else:
                    self._put(RoutingTable.model_validate_json(path.read_bytes()))
            except (OSError, ValueError, TypeError, ValidationError) as error:
                log.warning("%s can't be used; it comes again: %s", path, told(error).partition("\n")[0])
                whole = False
        self.position = position if whole else {}

    def put(self, table: RoutingTable) -> bool:
        """Take a table; False if it is no newer than what is known."""
        if not self._put(table):
            return False
        if table.terminated:
            self._path(table.deployment_id).unlink(missing_ok=True)
        else:
            _write(self._path(table.deployment_id), table.to_json())
        return True

    def keep_only(self, tables: Iterable[RoutingTable]) -> bool:
        """Take these for all there are. Returns whether something is different."""
        given = {table.deployment_id: table for table in tables}
        changed = False
        for deployment in self.now.keys() - given.keys():
            self._forget(deployment)
            self._path(deployment).unlink(missing_ok=True)
            changed = True
        for table in given.values():
            changed |= self.put(table)
        return changed

    def note(self, position: Mapping[Place, ReaderPosition]) -> None:
        """Keep up to where the log was read: the tables of what comes before are kept."""
        if position != self.position:
            self.position = dict(position)
            known = {f"{context}/{partition}": list(at) for (context, partition), at in position.items()}
            _write(self.folder / f"{_POSITION}.json", json.dumps(known).encode())

    def left(self, deployment: str, replica: str) -> None:
        """A replica that was leaving has no requests any more."""
        leaving = self.leaving.get(deployment, {})
        leaving.pop(replica, None)
        if not leaving:
            self.leaving.pop(deployment, None)

    def _put(self, table: RoutingTable) -> bool:
        deployment = table.deployment_id
        known = self.now.get(deployment)
        if table.number <= (known.number if known else self.ended.get(deployment, 0)):
            return False
        self._note_leaving(known, table)
        if table.terminated:
            self._forget(deployment)
            self.ended[deployment] = table.number
        else:
            self.now[deployment] = table
        return True

    def _forget(self, deployment: str) -> None:
        self.now.pop(deployment, None)
        self.leaving.pop(deployment, None)

    def _note_leaving(self, before: RoutingTable | None, table: RoutingTable) -> None:
        there = {replica.replica_id for revision in table.revisions for replica in revision.replicas}
        numbers = {revision.revision for revision in table.revisions}
        gone = self.leaving.get(table.deployment_id, {})
        for revision in before.revisions if before else ():
            gone |= {one.replica_id: Leaving(revision.revision, one) for one in revision.replicas}
        # Of a revision that is gone there is no cluster: its requests go on, unseen.
        gone = {name: one for name, one in gone.items() if name not in there and one.revision in numbers}
        if gone:
            self.leaving[table.deployment_id] = gone
        else:
            self.leaving.pop(table.deployment_id, None)

    def _path(self, deployment: str) -> Path:
        return self.folder / f"{deployment}.json"


def _positions(known: Mapping[str, list[int]]) -> dict[Place, ReaderPosition]:
    found = {}
    for place, (offset, epoch) in known.items():
        context, _, partition = place.rpartition("/")
        found[context, int(partition)] = ReaderPosition(offset, epoch)
    return found


def _write(path: Path, content: bytes) -> None:
    """Readers see the old content or the new."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
