"""What is done to the platform while it works: each attack is a coroutine that returns what it did, in words."""

# ruff: noqa: ARG001 - all attacks are called alike
from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

from events.log.topics import CONTEXTS
from events.process import faults
from forgelog.embedded.roster import node_name
from tests.chaos.arena import AGENTS, PATIENCE, SERVERS, Arena
from tests.chaos.broken import TAKING, defect, defect_in_dump, defect_in_take, forged_event
from tests.chaos.checks import Log
from tests.chaos.losing import LOG_LOST, log_lost
from tests.chaos.served import serving_killed
from tests.chaos.workload import Workload
from tests.integration.cluster import FORGELOG

SERVICES = (*CONTEXTS, "gateway")
AGENT_NAMES = tuple(f"agent-{number}" for number in range(AGENTS))

Attack = Callable[[Arena, Workload, random.Random], Awaitable[str]]

TO_A_POINT = 20.0
"""Seconds within which work brings a process to a named point."""


async def kill(arena: Arena, load: Workload, chance: random.Random) -> str:
    """SIGKILL to any process."""
    name = chance.choice((*SERVICES, *AGENT_NAMES, *SERVERS, "supervisor"))
    arena.signal(name, signal.SIGKILL)
    if name == "supervisor":
        await asyncio.sleep(chance.uniform(0, 3))
        await arena.platform.up()
    return f"kill {name}"


async def kill_several(arena: Arena, load: Workload, chance: random.Random) -> str:
    """SIGKILL to two or three at once."""
    names = chance.sample((*SERVICES, *AGENT_NAMES, *SERVERS), chance.randint(2, 3))
    for name in names:
        arena.signal(name, signal.SIGKILL)
    return f"kill {', '.join(names)} at once"


async def kill_all(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A power cut of the platform, its machine's page cache apart: the tasks live on."""
    names = ["supervisor", *SERVICES, *AGENT_NAMES, *SERVERS]
    for name in names:
        arena.signal(name, signal.SIGKILL)
    await asyncio.sleep(chance.uniform(0, 1))
    await arena.platform.up()
    return "kill everything"


async def kill_again(arena: Arena, load: Workload, chance: random.Random) -> str:
    """The same process whenever it is back."""
    name = chance.choice((*CONTEXTS, *AGENT_NAMES))
    for _ in range(3):
        arena.signal(name, signal.SIGKILL)
        await asyncio.sleep(chance.uniform(0.3, 2.5))
    return f"kill {name} 3 times"


async def freeze(arena: Arena, load: Workload, chance: random.Random) -> str:
    """SIGSTOP, and SIGCONT after a while: a pause of a virtual machine, a long collection of garbage."""
    name = chance.choice((*SERVICES, *AGENT_NAMES, *SERVERS, "supervisor"))
    seconds = chance.choice([0.3, 1.0, 3.0, 12.0, 27.0])
    arena.signal(name, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    arena.thaw()
    return f"freeze {name} for {seconds:g} s"


async def zombie(arena: Arena, load: Workload, chance: random.Random) -> str:
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


async def second_writer(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A second replica comes and is killed: partitions wander."""
    context = chance.choice(CONTEXTS)
    replica = await arena.start_replica(context)
    await asyncio.sleep(chance.uniform(0, 3))
    arena.end_replica(replica)
    return f"a second writer of {context} comes and is killed"


async def two_agents(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A second agent claims a node's name, while the first works, is killed, or is frozen until its node is lost."""
    number, copied = chance.randrange(AGENTS), chance.random() < 0.5
    first, fate = f"agent-{number}", chance.choice(("works", "is killed", "is frozen"))
    rival = arena.start_rival(number, copied=copied)
    load.working.append(asyncio.create_task(load.pump(30, 0.1)))
    await asyncio.sleep(chance.uniform(1, 4))
    if fate == "is killed":
        for _ in range(chance.randint(1, 3)):
            arena.signal(first, signal.SIGKILL)
            await asyncio.sleep(chance.uniform(0.5, 2))
    elif fate == "is frozen":
        arena.signal(first, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(16, 20))  # a node is lost after 15
        arena.thaw()
    load.working.append(asyncio.create_task(load.pump(30, 0.1)))
    await asyncio.sleep(chance.uniform(2, 5))
    await arena.end_rival(rival)
    return f"a second {first} {'with a copy of its folder' if copied else 'with its own folder'}; the first {fate}"


async def _brought(arena: Arena, load: Workload, instance: str, point: str) -> bool:
    """Whether a process got to its armed point, while work came that leads there."""
    working: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    until, more = loop.time() + TO_A_POINT, 0.0
    while not arena.reached(instance, point) and loop.time() < until:
        if loop.time() >= more:
            more = loop.time() + 0.5
            working.append(asyncio.create_task(load.waiting() if instance == "gateway-0" else load.pump()))
        await asyncio.sleep(0.02)
    load.working += working  # they end when the platform is whole
    return arena.reached(instance, point)


def _instance(chance: random.Random, instances: tuple[str, ...]) -> str:
    instance = chance.choice(instances)
    return f"agent-{node_name(chance.randrange(AGENTS))}" if instance == "agent" else instance


def at_point(point: str, instances: tuple[str, ...]) -> Attack:
    """SIGKILL at a named point of the code, up to twice."""

    async def attack(arena: Arena, load: Workload, chance: random.Random) -> str:
        instance = _instance(chance, instances)
        hit = 0
        for _ in range(chance.randint(1, 2)):
            arena.arm(instance, point)
            if point == faults.AFTER_MARKER:
                arena.signal(instance.removesuffix("-0"), signal.SIGKILL)
            hit += await _brought(arena, load, instance, point)
        return f"kill {instance} {point}, {hit} times"

    return attack


def stopped_at(point: str, instances: tuple[str, ...]) -> Attack:
    """SIGSTOP at a named point, and SIGCONT; a writer may be replaced meanwhile, and go on there as a zombie."""

    async def attack(arena: Arena, load: Workload, chance: random.Random) -> str:
        instance = _instance(chance, instances)
        context = instance.removesuffix("-0")
        replaced = context in CONTEXTS and chance.random() < 0.5
        arena.arm(instance, point, signal.SIGSTOP)
        hit = await _brought(arena, load, instance, point)
        arena.hold(instance)
        replica = await arena.start_replica(context) if replaced and hit else None
        seconds = chance.uniform(10.5, 13) if replica else chance.choice([0.5, 3.0])
        await asyncio.sleep(seconds)
        arena.thaw()
        if replica:
            await asyncio.sleep(chance.uniform(0, 2))
            arena.end_replica(replica)
        return f"freeze {instance} {point} for {seconds:.1f} s, {int(hit)} times{', replaced' if replica else ''}"

    return attack


def others_killed_at(points: tuple[tuple[str, tuple[str, ...]], ...]) -> Attack:
    """While a process stands at a named point, a server, the supervisor or an agent is killed or frozen."""

    async def attack(arena: Arena, load: Workload, chance: random.Random) -> str:
        point, instances = chance.choice(points)
        instance = _instance(chance, instances)
        victim = chance.choice((*SERVERS, *SERVERS, "supervisor", *AGENT_NAMES))
        number = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        arena.arm(instance, point, signal.SIGSTOP)
        hit = await _brought(arena, load, instance, point)
        arena.hold(instance)
        arena.signal(victim, number)
        await asyncio.sleep(chance.choice([0.1, 1.0, 3.0]))
        arena.thaw()
        return f"{number.name} to {victim} while {instance} stands {point} ({int(hit)} times)"

    return attack


async def broker_restarted(arena: Arena, load: Workload, chance: random.Random) -> str:
    """The broker ends, in order or by SIGKILL, while producers send all the time."""
    number = chance.choice((signal.SIGTERM, signal.SIGKILL))
    load.working.append(asyncio.create_task(load.pump(30, 0.1)))
    await asyncio.sleep(chance.uniform(0.5, 2))
    arena.signal("kafka", number)
    await asyncio.sleep(chance.uniform(0.5, 2))
    return f"{number.name} to the broker while producers send"


async def unruly_producers(arena: Arena, load: Workload, chance: random.Random) -> str:
    """Commands that come late, again, in another order, in the wrong partition."""
    return f"{await load.unruly()} records are delayed, repeated and swapped"


async def producer_stopped(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A producer is frozen amid its sends, or killed and begins anew."""
    number = chance.choice((signal.SIGSTOP, signal.SIGKILL))
    seconds = chance.choice([0.5, 3.0, 8.0])
    await load.interrupted(number, seconds)
    return f"{number.name} to a producer amid its sends" + (f", for {seconds:g} s" if number is signal.SIGSTOP else "")


async def poison(arena: Arena, load: Workload, chance: random.Random) -> str:
    """Records that no good producer sends, into every command topic; a writer may be killed on them."""
    count = await load.poison(12)
    if kill := chance.random() < 0.5:
        arena.signal(context := chance.choice(CONTEXTS), signal.SIGKILL)
    return f"{count} poisoned records" + (f", kill {context}" if kill else "")


async def hostile_tasks(arena: Arena, load: Workload, chance: random.Random) -> str:
    """Tasks attack their wardens, notes and folders. Their agents stay up, or are killed amid it all."""
    killed = chance.random() < 0.3
    before = {name: arena.pids(name) for name in AGENT_NAMES}
    jobs = await load.hostile()
    if killed:
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.2, 2))
            arena.signal(chance.choice(AGENT_NAMES), signal.SIGKILL)
    else:
        log = Log()
        async with asyncio.timeout(PATIENCE):
            while log.ended(jobs):
                await log.read(arena)
        await asyncio.sleep(6)  # their folders are removed meanwhile
        after = {name: arena.pids(name) for name in AGENT_NAMES}
        if after != before:
            raise AssertionError(f"agents ended under hostile tasks: {before} before, {after} after")
    return f"{len(jobs)} hostile tasks" + (", agents are killed" if killed else "")


async def rebuild_killed(arena: Arena, load: Workload, chance: random.Random) -> str:
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


async def full_disk(arena: Arena, load: Workload, chance: random.Random) -> str:
    """Not a byte is left, for a few seconds."""
    await asyncio.to_thread(arena.fill_disk)
    seconds = chance.uniform(0.5, 5)
    await asyncio.sleep(seconds)
    arena.empty_disk()
    return f"the disk is full for {seconds:.1f} s"


async def clock(arena: Arena, load: Workload, chance: random.Random) -> str:
    """The clock jumps, and back."""
    seconds = chance.choice([-86_400, -600, -5, 5, 600, 86_400])
    arena.set_clock(seconds)
    await asyncio.sleep(chance.uniform(1.5, 4))
    arena.set_clock(0)
    return f"the clock jumps by {seconds:+d} s and back"


async def nothing(_arena: Arena, _load: Workload, _chance: random.Random) -> str:
    """A quiet round: what holds under attack must hold without."""
    return "nothing"


async def broker_stalls_under_output(arena: Arena, load: Workload, chance: random.Random) -> str:
    """The broker is frozen, or killed, again and again while tasks print megabytes."""
    printing = asyncio.create_task(load.print_much(4))
    load.working.append(printing)
    done = []
    for _ in range(3):
        await asyncio.sleep(chance.uniform(0.3, 2.0))
        if chance.random() < 0.6:
            seconds = chance.choice([0.5, 2.0, 6.0])
            arena.signal("kafka", signal.SIGSTOP)
            await asyncio.sleep(seconds)
            arena.thaw()
            done.append(f"frozen for {seconds:g} s")
        else:
            arena.signal("kafka", signal.SIGKILL)
            done.append("killed")
    return f"broker {', '.join(done)} under output"


def attacks(*, disk: bool, clocks: bool) -> list[tuple[str, Attack, int]]:
    """Name, attack and how often it is in a deck, of each that can be made here."""
    writers = tuple(f"{context}-0" for context in CONTEXTS)
    points = (
        (faults.AFTER_READ, writers),
        (faults.AFTER_APPEND, writers),
        (faults.AFTER_MARKER, writers),
        (faults.MID_ROWS, writers),
        (faults.MID_STREAM, ("jobs-0",)),
        (faults.MID_SNAPSHOT, writers),
        (faults.BEFORE_LAUNCH, ("agent",)),
        (faults.AFTER_LAUNCH, ("agent",)),
        (faults.AFTER_PUBLISH, ("gateway-0",)),
    )
    while_working = tuple(each for each in points if each[0] != faults.AFTER_MARKER)  # there only when it takes over
    found: list[tuple[str, Attack, int]] = [
        ("kill", kill, 4),
        ("kill several", kill_several, 2),
        ("kill everything", kill_all, 1),
        ("kill again and again", kill_again, 1),
        ("freeze", freeze, 4),
        ("zombie", zombie, 2),
        ("second writer", second_writer, 1),
        ("two agents of a name", two_agents, 2),
        ("rebuild killed", rebuild_killed, 2),
        ("others killed at a point", others_killed_at(while_working), 3),
        ("broker restarted under producers", broker_restarted, 2),
        ("broker stalls under output", broker_stalls_under_output, 2),
        ("producers: late, again, swapped", unruly_producers, 2),
        ("producers: frozen, killed", producer_stopped, 2),
        ("poison", poison, 2),
        ("events that do not fold", forged_event, 3),
        ("defect in a reaction", defect(faults.IN_REACT), 1),
        ("defect in a projection", defect(faults.IN_PROJECT), 1),
        ("defect in acting by itself", defect(faults.IN_WAKE), 1),
        ("defect in a snapshot", defect_in_dump, 1),
        (TAKING, defect_in_take, 1),
        ("hostile tasks", hostile_tasks, 2),
        ("kill what serves", serving_killed, 2),
        (LOG_LOST, log_lost, 1),
        ("nothing", nothing, 1),
    ]
    found += [(f"kill {point}", at_point(point, instances), 1) for point, instances in points]
    found += [(f"freeze {point}", stopped_at(point, instances), 1) for point, instances in while_working]
    if disk:
        found.append(("full disk", full_disk, 2))
    if clocks:
        found.append(("clock", clock, 2))
    return found


def deck(possible: list[tuple[str, Attack, int]], chance: random.Random) -> Iterator[tuple[str, Attack]]:
    """Attacks without end: all of them in a random order, then all again, so that each is drawn."""
    while True:
        cards = [(name, attack) for name, attack, times in possible for _ in range(times)]
        chance.shuffle(cards)
        yield from cards
