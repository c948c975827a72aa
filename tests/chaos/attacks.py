"""What is done to the platform while it works: each attack is a coroutine that returns what it did, in words."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from events.log.topics import CONTEXTS
from events.runtime import faults
from tests.chaos.arena import AGENTS, SERVERS, Arena
from tests.integration.cluster import FORGELOG

SERVICES = (*CONTEXTS, "gateway")
AGENT_NAMES = tuple(f"agent-{number}" for number in range(AGENTS))

Attack = Callable[[Arena, random.Random], Awaitable[str]]


async def kill(arena: Arena, chance: random.Random) -> str:
    """SIGKILL to any process."""
    name = chance.choice((*SERVICES, *AGENT_NAMES, *SERVERS, "supervisor"))
    arena.signal(name, signal.SIGKILL)
    if name == "supervisor":
        await asyncio.sleep(chance.uniform(0, 3))
        await arena.platform.up()
    return f"kill {name}"


async def kill_several(arena: Arena, chance: random.Random) -> str:
    """SIGKILL to two or three at once."""
    names = chance.sample((*SERVICES, *AGENT_NAMES, *SERVERS), chance.randint(2, 3))
    for name in names:
        arena.signal(name, signal.SIGKILL)
    return f"kill {', '.join(names)} at once"


async def kill_all(arena: Arena, chance: random.Random) -> str:
    """A power cut of the platform, its machine's page cache apart: the tasks live on."""
    names = ["supervisor", *SERVICES, *AGENT_NAMES, *SERVERS]
    for name in names:
        arena.signal(name, signal.SIGKILL)
    await asyncio.sleep(chance.uniform(0, 1))
    await arena.platform.up()
    return "kill everything"


async def kill_again(arena: Arena, chance: random.Random) -> str:
    """The same process whenever it is back."""
    name = chance.choice((*CONTEXTS, *AGENT_NAMES))
    for _ in range(3):
        arena.signal(name, signal.SIGKILL)
        await asyncio.sleep(chance.uniform(0.3, 2.5))
    return f"kill {name} 3 times"


async def freeze(arena: Arena, chance: random.Random) -> str:
    """SIGSTOP, and SIGCONT after a while: a pause of a virtual machine, a long collection of garbage."""
    name = chance.choice((*SERVICES, *AGENT_NAMES, *SERVERS, "supervisor"))
    seconds = chance.choice([0.3, 1.0, 3.0, 12.0])
    arena.signal(name, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    arena.thaw()
    return f"freeze {name} for {seconds:g} s"


async def zombie(arena: Arena, chance: random.Random) -> str:
    """A writer is paused for so long that another takes its partitions over; then it goes on as if nothing was."""
    context = chance.choice(CONTEXTS)
    replica = await arena.start_replica(context)
    frozen = chance.choice((context, replica))
    arena.signal(frozen, signal.SIGSTOP)
    seconds = chance.uniform(10.5, 14)  # the group's session ends after 10
    await asyncio.sleep(seconds)
    arena.thaw()
    await asyncio.sleep(chance.uniform(0, 2))
    arena.end_replica(replica)
    return f"{context} has a second writer; {frozen} is frozen for {seconds:.1f} s; {replica} is killed"


async def second_writer(arena: Arena, chance: random.Random) -> str:
    """A second replica comes and is killed: partitions wander."""
    context = chance.choice(CONTEXTS)
    replica = await arena.start_replica(context)
    await asyncio.sleep(chance.uniform(0, 3))
    arena.end_replica(replica)
    return f"a second writer of {context} comes and is killed"


def at_point(point: str, instances: tuple[str, ...]) -> Attack:
    """SIGKILL at a named point of the code, up to twice."""

    async def attack(arena: Arena, chance: random.Random) -> str:
        instance = chance.choice(instances)
        if instance == "agent":
            nodes = sorted(path.name for path in (arena.data / "agents").iterdir())
            instance = f"agent-{chance.choice(nodes)}"
        times = chance.randint(1, 2)
        hit = 0
        for _ in range(times):
            arena.arm(instance, point)
            for _ in range(100):
                await asyncio.sleep(0.05)
                if not (arena.faults / f"{instance}@{point}").exists():
                    hit += 1
                    break
        return f"kill {instance} {point}, {hit} times"

    return attack


async def rebuild_killed(arena: Arena, chance: random.Random) -> str:
    """A rebuild that is killed midway or right before its swap, and one that is let through."""
    context = chance.choice(CONTEXTS)
    point = chance.choice((faults.MID_REBUILD, faults.BEFORE_SWAP))
    arena.arm("rebuilder", point)
    codes = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *FORGELOG,
            "rebuild",
            context,
            env=arena.environment("rebuilder"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        codes.append(process.returncode)
    if codes != [-signal.SIGKILL, 0]:
        raise AssertionError(f"the rebuilds of {context} ended with {codes}: {said.decode()}")
    return f"a rebuild of {context} is killed {point}, another follows"


async def full_disk(arena: Arena, chance: random.Random) -> str:
    """Not a byte is left, for a few seconds."""
    arena.fill_disk()
    seconds = chance.uniform(0.5, 5)
    await asyncio.sleep(seconds)
    arena.empty_disk()
    return f"the disk is full for {seconds:.1f} s"


async def clock(arena: Arena, chance: random.Random) -> str:
    """The clock jumps, and back."""
    seconds = chance.choice([-86_400, -600, -5, 5, 600, 86_400])
    arena.set_clock(seconds)
    await asyncio.sleep(chance.uniform(1.5, 4))
    arena.set_clock(0)
    return f"the clock jumps by {seconds:+d} s and back"


async def nothing(_arena: Arena, _chance: random.Random) -> str:
    """A quiet round: what holds under attack must hold without."""
    return "nothing"


def attacks(*, disk: bool, clocks: bool) -> list[tuple[str, Attack, float]]:
    """Name, attack and weight of each that can be made here."""
    writers = tuple(f"{context}-0" for context in CONTEXTS)
    found: list[tuple[str, Attack, float]] = [
        ("kill", kill, 4),
        ("kill several", kill_several, 2),
        ("kill everything", kill_all, 1),
        ("kill again and again", kill_again, 1),
        ("freeze", freeze, 4),
        ("zombie", zombie, 2),
        ("second writer", second_writer, 1),
        ("rebuild killed", rebuild_killed, 1),
        ("nothing", nothing, 0.5),
    ]
    for point, instances in (
        (faults.AFTER_READ, writers),
        (faults.AFTER_APPEND, writers),
        (faults.AFTER_MARKER, writers),
        (faults.MID_ROWS, writers),
        (faults.MID_SNAPSHOT, writers),
        (faults.BEFORE_LAUNCH, ("agent",)),
        (faults.AFTER_LAUNCH, ("agent",)),
        (faults.AFTER_PUBLISH, ("gateway-0",)),
    ):
        found.append((f"kill {point}", at_point(point, instances), 1))
    if disk:
        found.append(("full disk", full_disk, 1.5))
    if clocks:
        found.append(("clock", clock, 1.5))
    return found
