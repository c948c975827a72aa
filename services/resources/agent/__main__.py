"""The node agent: ``python -m services.resources.agent``. Settings come from FORGELOG_* variables; see `config`.

SIGTERM ends it. Its tasks run on, and the next agent finds them again; with ``FORGELOG_AGENT_STOP=drain`` they end
first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from dataclasses import replace
from functools import partial

import uvloop
from aiokafka.errors import KafkaError

from events.log.partitioner import partition_of
from events.log.tail import LogLost
from events.log.topics import LOGS, TopicsUnusable, commands, events, existing
from events.process import tracing
from events.process.collector import look_as_usual
from events.process.main import configure_logging
from events.process.private import keep_private
from events.process.replica_keys import replicas_key
from events.process.settings import Settings, SettingsError
from services.resources.agent import config, gpus, inventory, ports
from services.resources.agent.agent import Agent
from services.resources.agent.config import Config
from services.resources.agent.environment import Around
from services.resources.agent.membership import AgentError
from services.resources.agent.store import Store

log = logging.getLogger("forgelog.agent")

LONGEST_PAUSE = 10.0

USED = (commands("jobs"), commands("resources"), events("jobs"), events("resources"), LOGS)


async def partition(settings: Settings) -> int:
    """Where the pool's events are; waits until Kafka can be reached and the services have made the topics, which an
    agent may not."""
    pause = 0.2
    while True:
        try:
            counts = await existing(settings)
            if missing := {*USED} - {*counts}:
                raise TopicsUnusable(f"topics {', '.join(sorted(missing))} are not there yet, or not this user's")
        except (KafkaError, OSError, TopicsUnusable) as error:
            log.warning("%s; trying again in %.1f s", error or type(error).__name__, pause)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        else:
            return partition_of(settings.pool, counts[events("resources")])


def _address(settings: Settings) -> str:
    """By which tasks of services are called on this node, if nothing else was said."""
    try:
        return ports.own_address(settings.kafka_required)
    except (OSError, ValueError) as error:
        raise AgentError(f"this node's address is not known ({error}); say it in FORGELOG_NODE_ADDRESS") from None


async def run(settings: Settings, config: Config, store: Store) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    place = ("resources", await partition(settings))
    if not config.address:
        config = replace(config, address=await asyncio.to_thread(_address, settings))
    gateway = settings.gateway if os.environ.get("FORGELOG_GATEWAY") else ""
    given = os.environ, settings.output_bytes, config.token_file, config.address
    key = partial(replicas_key, settings, make=False)
    around = Around(config.node, config.folder, config.secrets, gateway, *given, replicas_key=key)
    spec = await asyncio.to_thread(lambda: inventory.describe(config, gpus.find()))
    agent = Agent(settings, config, store, spec, place, around)
    if config.drain:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.stop)
    await agent.run()


def main() -> None:
    keep_private()
    look_as_usual()
    try:
        settings = Settings.load()
        configure_logging(settings)
        wanted = config.from_environment(settings)
        store = Store(wanted.folder)
        store.open()
    except SettingsError as error:
        sys.exit(f"agent: {error}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two descriptors per running task
    tracing.configure(settings, f"forgelog-agent-{wanted.node}")
    try:
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(run(settings, wanted, store))
        log.info("stopped")
    except* AgentError as group:
        sys.exit("; ".join(f"agent: {error}" for error in group.exceptions))
    except* LogLost as group:
        sys.exit(f"agent: {group.exceptions[0]}; the next start reads what is there now")
    finally:
        store.close()


if __name__ == "__main__":
    main()
