"""The one process that keeps a platform's children running: ``python -m forgelog.embedded.supervisor FOLDER``.

It does what `wanted.json` says, tells what is in `platform.json`, and obeys two signals: SIGTERM (end everything, in
reverse order) and SIGHUP (read `wanted.json` again). When it is killed itself its children stay; the next one adopts
them. Must not know what the services do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import uvloop

from events.process.identity import Identity
from events.process.private import keep_private
from events.process.settings import Settings
from forgelog.embedded.disk import Room
from forgelog.embedded.keeper import Keeper, Plan
from forgelog.embedded.layout import Folder, Lock, PlatformState, Wanted
from forgelog.embedded.nodes import Nodes, NotAnswered
from forgelog.embedded.process import EmbeddedError, end, until
from forgelog.embedded.roster import GATEWAY, Roster
from forgelog.embedded.router import ROUTER

log = logging.getLogger("forgelog.supervisor")
T = TypeVar("T")

LOG_LIMIT = 16 * 1024 * 1024
"""Bytes a child's log may have before it is moved to ``<name>.log.1``."""
_ROTATE_EVERY = 10.0
_RETIRE_EVERY = 1.0
_LOOK_EVERY = 0.25
"""Seconds between two looks at the disk: what fills the reserve in less gets past them (1 GiB/s at the default)."""


class Supervisor:
    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._roster = Roster(folder, settings)
        self._room = Room(folder.path, settings.disk_reserve_mb << 20)
        self._untold = False
        """Whether `platform.json` could not be written."""
        self._wanted = self._read_wanted()
        self._state = PlatformState(Identity.of(os.getpid()))
        self._keepers: dict[str, Keeper] = {}
        self._agents: int | None = None
        """Among how many the machine is shared; None before any was started."""
        self._before: PlatformState | None = None
        self._ended = asyncio.Event()
        self._reread = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._reread.set)
        self._before = self._folder.read_state()
        self._roster.choose_ports(self._before)
        self._changed()
        tasks = (self._follow(), self._rotate(), self._watch_disk(), self._until_told())
        work = [asyncio.create_task(task) for task in tasks]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an error of ours, for the log
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._stop_all()
            await self._roster.close()

    async def _until_told(self) -> None:
        await self._ended.wait()

    async def _follow(self) -> None:
        """Make the children what is wanted, now and whenever that changes."""
        await self._end_superfluous()
        while True:
            self._start(self._roster.servers(self._wanted))
            await self._servers_up()
            await self._stop_unwanted()
            if self._wanted.services:
                self.note_servers()
                self._state.gateway = self._roster.gateway
                agents = self._roster.agents(self._wanted)
                await self._share_anew(agents)
                self._start(self._roster.services(self._wanted) + agents)
            self._changed()
            retiring = asyncio.create_task(self._retire_nodes())
            try:
                await self._wait_for_change()
            finally:
                retiring.cancel()
                await asyncio.gather(retiring, return_exceptions=True)

    async def _wait_for_change(self) -> None:
        """Until `wanted.json` changed, or there is to be a router, or none any more. When a server came back elsewhere
        its users get the new address."""
        while not self._reread.is_set() and not self._router_changed():
            now = self._roster.addresses(self._wanted)
            if now != (self._state.kafka, self._state.postgres):
                log.warning("a server has moved; its users are started again")
                await self._servers_up()
                users = [keeper for keeper in self._keepers.values() if keeper.plan.kind != "server"]
                await asyncio.gather(*(keeper.restart() for keeper in users))
            try:
                await asyncio.wait_for(self._reread.wait(), 1.0)
            except TimeoutError:
                continue
        self._reread.clear()
        self._wanted = self._read_wanted()
        log.info("wanted: %s agents, services: %s", self._wanted.agents, self._wanted.services)

    def _router_changed(self) -> bool:
        return self._wanted.services and self._roster.router.wanted != (ROUTER in self._keepers)

    def _start(self, plans: list[Plan]) -> None:
        before = {child.name: child.identity for child in self._before.children} if self._before else {}
        for plan in plans:
            if plan.name not in self._keepers:
                keeper = self._keepers[plan.name] = Keeper(plan, self._changed)
                keeper.start(before.get(plan.name))

    async def _share_anew(self, agents: list[Plan]) -> None:
        """Agents whose share of the machine has changed are replaced. Their tasks run on meanwhile."""
        changed = self._agents not in (None, len(agents))
        self._agents = len(agents)
        for plan in agents if changed else ():
            if (keeper := self._keepers.get(plan.name)) is not None:
                keeper.plan = plan
                await keeper.restart()

    async def _retire_nodes(self) -> None:
        """Remove the nodes that have no agent any more, once they hold nothing: a lost one does after a while."""
        if not self._wanted.services:
            return
        left = {*self._roster.superfluous_nodes(self._wanted)}
        kept = {self._roster.agent_folder(number).name for number in range(self._wanted.agents)}
        while left or kept:
            kept -= (await self._each_node(kept, Nodes.take_back)).keys()
            for node, gone in (await self._each_node(left, Nodes.retire, self._why)).items():
                if gone:
                    left.remove(node)
                    log.info("node %s is removed: %s", node, self._why)
            await asyncio.sleep(_RETIRE_EVERY)

    @property
    def _why(self) -> str:
        """Why some nodes are not wanted."""
        return f"the platform has {self._wanted.agents} node{'' if self._wanted.agents == 1 else 's'} now"

    async def _each_node(self, names: Iterable[str], do: Callable[..., T], *more: str) -> dict[str, T]:
        """What became of it, for those nodes for which the gateway could be asked."""
        nodes, done = Nodes(self._roster.gateway, self._settings.pool, self._folder.path), dict[str, T]()
        for name in list(names):
            try:
                done[name] = await asyncio.to_thread(do, nodes, name, *more)
            except NotAnswered as error:
                log.debug("node %s: %s", name, error)
                break  # the gateway is still coming up, as a rule
        return done

    async def _servers_up(self) -> None:
        servers = [keeper for keeper in self._keepers.values() if keeper.plan.kind == "server"]
        await until(lambda: all(keeper.up for keeper in servers), float("inf"), 0.02)
        self.note_servers()
        self._changed()

    def note_servers(self) -> None:
        """Where the servers are, for those who ask by the data folder."""
        self._state.kafka, self._state.postgres = self._roster.addresses(self._wanted)
        self._state.kafka_config = self._roster.kafka_config(self._wanted)
        try:
            self._roster.write_producers_file(self._wanted)
        except OSError as error:  # the disk is full, or somebody has removed `keys`: no reason to end the children
            log.error("kcat.conf can't be written: %s", error)

    async def _stop_unwanted(self) -> None:
        plans = self._roster.servers(self._wanted)
        if self._wanted.services:
            plans += self._roster.services(self._wanted) + self._roster.agents(self._wanted)
        else:
            self._state.gateway = ""
        names = {plan.name for plan in plans}
        extra = [keeper for name, keeper in self._keepers.items() if name not in names]
        if self._wanted.services:
            await self._each_node((k.plan.address() for k in extra if k.plan.kind == "agent"), Nodes.drain, self._why)
        await asyncio.gather(*(self._stop(keeper) for keeper in extra))
        if ROUTER in self._keepers and ROUTER not in names:
            await asyncio.to_thread(self._roster.router.end_envoy)
        for keeper in extra:
            del self._keepers[keeper.plan.name]

    async def _end_superfluous(self) -> None:
        """Children that a predecessor left and nobody wants now."""
        if self._before is None:
            return
        plans = self._roster.servers(self._wanted)
        if self._wanted.services:
            plans += self._roster.services(self._wanted) + self._roster.agents(self._wanted)
        names = {plan.name for plan in plans}
        for child in self._before.children:
            if child.name not in names and child.identity is not None and child.identity.alive:
                await end(child.name, child.identity)

    async def _stop(self, keeper: Keeper) -> None:
        # An agent ends its tasks on SIGTERM; killed, it leaves them running and finds them again when it is back.
        await keeper.stop(kill=keeper.plan.kind == "agent" and self._wanted.keep_jobs)

    async def _stop_all(self) -> None:
        self._wanted = self._read_wanted()

        def by_kind(kind: str) -> list[Keeper]:
            return [keeper for keeper in self._keepers.values() if keeper.plan.kind == kind]

        await asyncio.gather(*(self._stop(keeper) for keeper in by_kind(ROUTER)))
        await asyncio.to_thread(self._roster.router.end_envoy)
        await asyncio.gather(*(self._stop(keeper) for keeper in by_kind("agent")))
        services = by_kind("service")
        await asyncio.gather(*(self._stop(keeper) for keeper in services if keeper.plan.name == GATEWAY))
        await asyncio.gather(*(self._stop(keeper) for keeper in services if keeper.plan.name != GATEWAY))
        await asyncio.gather(*(self._stop(keeper) for keeper in by_kind("server")))
        self._state.gateway = ""
        self._changed()

    async def _rotate(self) -> None:
        while True:
            for path in self._folder.logs.glob("*.log"):
                try:
                    if path.stat().st_size > LOG_LIMIT:
                        await asyncio.to_thread(rotate, path)
                except OSError as error:  # a full disk, as a rule; it is tried again
                    log.error("the log %s can't be moved aside: %s", path, error)
            await asyncio.sleep(_ROTATE_EVERY)

    async def _watch_disk(self) -> None:
        """Hold the broker while the disk is nearly full; tell what could not be told when it was."""
        told = False
        while True:
            if (broker := self._keepers.get(self._roster.kafka.name)) is not None:
                try:
                    problem = self._room.look()
                    if problem and not told:
                        log.error("%s", problem)
                    told = bool(problem)
                    if problem:
                        await broker.hold(problem)
                    else:
                        broker.release()
                except (EmbeddedError, OSError) as error:  # a sick disk must not end the platform
                    log.error("the disk can't be looked at, or the broker not be held: %s", error)
            if self._untold:
                self._changed()
            await asyncio.sleep(_LOOK_EVERY)

    def _changed(self) -> None:
        self._state.children = [
            replace(keeper.state, log=str(self._folder.log(keeper.plan.name))) for keeper in self._keepers.values()
        ]
        try:
            self._folder.write_state(self._state)
        except OSError as error:
            # The children matter more than that somebody is told of them; `_watch_disk` tries again.
            if not self._untold:
                log.error("the platform's state can't be written: %s", error)
            self._untold = True
        else:
            self._untold = False

    def _read_wanted(self) -> Wanted:
        wanted = self._folder.read_wanted()
        if wanted is None:
            raise EmbeddedError(f"{self._folder.path} has no wanted.json; start the platform with `forgelog up`")
        return wanted


def rotate(path: Path) -> None:
    """Move a log's content aside. Its writer appends, so it goes on at the start of the emptied file.

    What is written between the copy and the cut is lost: a few lines at most, of a log that is only for reading.
    """
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)


def main() -> None:
    keep_private()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03dZ %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    logging.Formatter.converter = time.gmtime
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its failed probes are no news: `status` shows them
    folder = Folder(Path(sys.argv[1]))
    lock = Lock(folder)
    if not lock.acquire():
        print(f"{folder.path} has a supervisor already", file=sys.stderr)
        sys.exit(Lock.TAKEN)
    try:
        uvloop.run(_run(folder))
    except EmbeddedError as error:
        sys.exit(str(error))
    finally:
        lock.release()


async def _run(folder: Folder) -> None:
    await Supervisor(folder, Settings.load(data=folder.path)).run()


if __name__ == "__main__":
    main()
