"""One round: users work, the platform is attacked, it is left alone until it is whole, and everything is checked."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from events.process.envoy import installed_envoy
from forgelog.embedded.process import EmbeddedError
from tests.chaos import checks, derived, served
from tests.chaos.arena import PATIENCE, Arena, can_mount, clock_library, describe
from tests.chaos.attacks import attacks, deck
from tests.chaos.broken import TAKING
from tests.chaos.health import Health
from tests.chaos.losing import LOG_LOST, mended
from tests.chaos.workload import Workload

ANSWERS = 20.0
"""Seconds within which every command that is in the log has its outcome there, with the platform whole."""

USERS = 150.0
"""Seconds for the users of a round to have said all they want: they try again until Kafka takes it."""


@dataclass(slots=True)
class Round:
    """What happened in a round."""

    seed: int
    number: int
    kind: str
    what: str = ""
    jobs: int = 0
    """Jobs of this round that have ended as they had to."""
    recovery: float = 0.0
    """Seconds from the end of the attack until the platform is whole and every job has ended."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        return asdict(self)


async def play(
    seed: int,
    rounds: int,
    *,
    minutes: float = 0,
    only: str = "",
    say: Callable[[str], None] = print,
    folder: Path | None = None,
) -> list[Round]:
    """Rounds on one platform, until one is not clean. Its folder is removed if all were."""
    chance = random.Random(seed)
    folder = folder or Path(tempfile.mkdtemp(prefix=f"forgelog-chaos-{seed}-"))
    disk, clocks = can_mount(), clock_library() is not None
    possible = [item for item in attacks(disk=disk, clocks=clocks) if only in item[0]]
    cards = deck(possible, random.Random(chance.getrandbits(64)))
    if not possible:
        raise ValueError(f"no attack has {only!r} in its name")
    played: list[Round] = []
    began = time.monotonic()
    witness = folder / "witness"
    async with Arena(folder, disk=disk, clock=clocks) as arena:
        witness.mkdir()
        log, everyone = checks.Log(), Workload(arena, witness, chance)
        others = (served.changing,) if installed_envoy() else ()
        positions = derived.Positions(arena)
        health = Health(arena)
        watching = asyncio.gather(positions.watch(), health.watch())
        disk_was_full = False
        try:
            for number in range(1, rounds + 1):
                if minutes and time.monotonic() - began > minutes * 60:
                    break
                kind, attack = next(cards)
                disk_was_full = disk_was_full or kind == "full disk"
                this = Round(seed, number, kind)
                load = Workload(arena, witness, random.Random(chance.getrandbits(64)), others)
                started = time.monotonic()
                users = asyncio.create_task(load.run())
                await asyncio.sleep(chance.uniform(0.2, 2.5))
                if kind == LOG_LOST:  # the history ends with what it has
                    await users
                try:
                    this.what = await attack(arena, load, random.Random(chance.getrandbits(64)))
                except (EmbeddedError, AssertionError) as error:
                    this.problems.append(f"the attack: {error}")
                if kind == LOG_LOST:
                    witness = folder / f"witness-{number}"  # what still ends writes to the old one
                    witness.mkdir()
                    log, everyone = checks.Log(), Workload(arena, witness, chance)
                    load = Workload(arena, witness, random.Random(chance.getrandbits(64)), others)
                    positions.begin()
                    users = asyncio.create_task(load.run())
                attacked = time.monotonic()
                await _aftermath(this, arena, log, load, everyone, users, positions)
                this.recovery = time.monotonic() - attacked
                this.problems += await _checked(arena, log, everyone, witness, disk_was_full)
                if kind == LOG_LOST and not this.problems:
                    this.problems += await mended(arena)
                if kind == TAKING and not this.problems:
                    this.problems += await derived.streams(arena, log)
                this.problems += await health.problems()
                this.seconds = time.monotonic() - started
                this.jobs = len(load.wanted)
                played.append(this)
                verdict = "clean" if not this.problems else f"{len(this.problems)} PROBLEMS"
                say(
                    f"seed {seed}, round {number}: {this.what}; {this.jobs} jobs, whole after {this.recovery:.1f} s, "
                    f"{this.seconds:.1f} s in all: {verdict}"
                )
                if this.problems:
                    for problem in this.problems[:20]:
                        say(f"  {problem[:1000]}")
                    break
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if played and played[-1].problems:
                kept = folder / "logs"
                shutil.copytree(arena.data / "logs", kept, dirs_exist_ok=True)
                say(f"logs are kept in {kept}, the witness in {witness}")
    if played and not played[-1].problems:
        shutil.rmtree(folder)
    return played


async def _aftermath(
    this: Round,
    arena: Arena,
    log: checks.Log,
    load: Workload,
    everyone: Workload,
    users: asyncio.Task[None],
    positions: derived.Positions,
) -> None:
    """Until the platform is whole, the users have said all, and what they wanted has come to its end."""
    try:
        await arena.recover()
    except EmbeddedError as error:
        this.problems.append(f"the platform does not recover: {error}; {describe(arena.state)}")
    done, late = await asyncio.wait([users, *load.working], timeout=USERS)
    for task in late:
        task.cancel()
        named = ", ".join(sorted(load.busy)) or "those that the attack called for"
        this.problems.append(f"users of the round were not done after {USERS:.0f} s: {named}")
    for task in done:
        if (error := task.exception()) is not None:
            this.problems.append(f"a user met {type(error).__name__}: {error}")
    everyone.wanted += load.wanted
    everyone.answers += load.answers
    everyone.commands |= load.commands
    everyone.poisoned |= load.poisoned
    everyone.printed |= load.printed
    everyone.runs |= load.runs
    everyone.cut_short |= load.cut_short
    everyone.deployments |= load.deployments
    if not this.problems:
        this.problems += await checks.settled(arena, log, everyone, PATIENCE)
    this.problems += positions.problems


async def _whole(arena: Arena, log: checks.Log, load: Workload, witness: Path, disk_was_full: bool) -> list[str]:
    """All that must hold now. What was said last, an agent's report or garbage, is given a moment to be answered."""
    until = time.monotonic() + ANSWERS
    while True:
        await log.read(arena)
        found = [*checks.outcomes(log, load), *checks.dead_letters(log, load), *checks.processes(log, witness)]
        if not found or time.monotonic() > until:
            break
        await asyncio.sleep(0.5)
    found += [
        *checks.lives(log, load, disk_was_full),
        *checks.allocations(log),
        *checks.answers(log, load),
        *served.histories(log),
    ]
    found += await derived.output(arena, load)
    found += await derived.chain(arena)
    found += await derived.tables(arena)
    return found


async def _checked(*what: Any) -> list[str]:
    """`_whole`; that something could not even be looked at is a problem of the round too."""
    try:
        return await _whole(*what)
    except Exception as error:  # noqa: BLE001 - any error is reported
        return [f"the checks ended with {type(error).__name__}: {error}"]
