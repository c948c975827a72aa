"""A router: ``python -m services.deployments.router``, or ``forgelog-router``. See `config` for its settings.

It runs Envoy beside itself. SIGTERM ends both, Envoy when its open requests have ended. Killed, it leaves Envoy
serving, and the next one goes on with that. What it is told and can't work with ends it with the code EX_CONFIG (78).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import uvloop

from events.process.main import configure_logging
from events.process.private import keep_private
from events.process.replica_keys import replicas_key
from events.process.settings import Settings, SettingsError
from events.process.tasks import run_together
from services.deployments.router.access_log import AccessLog
from services.deployments.router.certificate import read_certificate
from services.deployments.router.config import Config, check_listening, load
from services.deployments.router.envoy import Envoy, EnvoyError, find
from services.deployments.router.listeners import LOG_FILE
from services.deployments.router.spool import Spool

log = logging.getLogger("forgelog.router")


async def run(settings: Settings, config: Config) -> None:
    """Until SIGTERM or SIGINT. Raises SettingsError."""
    from services.deployments.router.companion import Companion  # it takes the messages' classes: 0.3 s, 30 MiB
    from services.deployments.router.following import LogSource
    from services.deployments.router.reporting import Reporter
    from services.deployments.router.telemetry import Telemetry

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    companion, envoy = Companion(config, version("forgelog"), replicas_key(settings)), Envoy(config)
    reporter = Reporter(settings, companion, envoy, config.name)
    companion.demanded = reporter.demanded
    requests = AccessLog(config.folder / LOG_FILE, lambda: envoy.post("/reopen_logs"))
    spool = Spool(config.folder / LOG_FILE, config.spool_bytes)
    telemetry = Telemetry(settings, spool, companion.tables.now, config.name)
    try:
        await run_together(
            companion.run(LogSource(settings)),
            envoy.run(),
            requests.follow(reporter.take),
            reporter.run(),
            telemetry.run(),
        )
    finally:
        await envoy.stop()


def hold(folder: Path) -> None:
    """Take the router's folder for this process. Raises SettingsError if another one has it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(
            f"FORGELOG_ROUTER_NAME: another router works in {folder}; give each a name of its own, or end the other"
        ) from None


def told() -> tuple[Settings, Config]:
    """By the variables. Raises SettingsError and EnvoyError for what the router can't work with."""
    settings = Settings.load()
    configure_logging(settings)
    config = load(settings, os.environ)
    find(config.envoy)
    read_certificate(config)
    check_listening(config)
    return settings, config


def main() -> None:
    keep_private()
    try:
        settings, config = told()
    except (SettingsError, EnvoyError) as error:
        print(f"router: {error}", file=sys.stderr, flush=True)
        sys.exit(os.EX_CONFIG)
    try:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each question to Envoy
        hold(config.folder)
        os.chdir(config.folder)  # sockets are named from there: see `config.socket_path`
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # Envoy's too: one for each connection
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(run(settings, config))
        log.info("stopped")
    except (SettingsError, EnvoyError, ImportError) as error:
        sys.exit(f"router: {error}")


if __name__ == "__main__":
    main()
