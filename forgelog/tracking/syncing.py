"""Sends the sessions of a spool whose programs are gone: by hand, by a node's agent, by the next run's sender."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from forgelog.errors import ForgelogError
from forgelog.tracking.draining import Draining, Later
from forgelog.tracking.platform import Connected
from forgelog.tracking.spool import About, Destination, Spool


@dataclass(slots=True)
class Synced:
    """What became of the sessions of a spool."""

    runs: list[str] = field(default_factory=list)
    """Those of which nothing is left to be sent."""
    points: int = 0
    running: list[str] = field(default_factory=list)
    """Those whose programs still log to them, and send it themselves."""
    left: dict[str, str] = field(default_factory=dict)
    """Folder of a session that is still there → why."""
    foreign: dict[str, str] = field(default_factory=dict)
    """The same, of those that are meant for another platform."""
    problems: list[str] = field(default_factory=list)
    """What was refused."""


async def sync(
    spool: Spool, destination: Destination, *, any_destination: bool = False, own_files: bool = False
) -> Synced:
    """Send what is in a spool to the platform that the environment means. `any_destination`: also what was meant for
    another one. `own_files`: no file from outside of the spool."""
    done = Synced()
    connected: dict[str, Connected] = {}
    try:
        for folder in spool.sessions():
            try:
                about = About.read(folder)
                if about.destination != destination and not any_destination:
                    done.foreign[folder.name] = f"it is meant for {about.destination}, and this is {destination}"
                    continue
                if not Draining.is_left(folder):
                    done.running.append(about.run_id)
                    continue
                if about.project not in connected:
                    connected[about.project] = Connected(about.project)
                await _one(folder, connected[about.project], done, own_files)
            except (Later, ForgelogError) as error:
                done.left[folder.name] = str(error)
            except (OSError, ValueError) as error:
                done.left[folder.name] = f"it can't be read: {error}"
    finally:
        for each in connected.values():
            await each.close()
    return done


async def _one(folder: Path, platform: Connected, done: Synced, own_files: bool) -> None:
    draining = Draining(folder, only_own_files=own_files)
    try:
        sent = await draining.once(platform)
        done.points += sent.points
        if sent.over:
            done.runs.append(draining.about.run_id)
        else:
            done.running.append(draining.about.run_id)  # somebody has begun to log to it just now
    finally:
        done.problems += [f"run {draining.about.run_id}: {problem}" for problem in draining.state.problems]
        draining.close()
