"""What the platform needs on a machine, checked one by one, each with how to get it. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from events.log import native
from events.process.settings import Settings, SettingsError
from forgelog.embedded import compiled, docker, jars, java, postgres
from forgelog.embedded.kafka import broker_answers
from forgelog.embedded.layout import Folder
from forgelog.embedded.platform import Platform
from forgelog.embedded.ports import is_free
from forgelog.embedded.process import EmbeddedError, last_line
from forgelog.embedded.router import RouterPlace
from forgelog.embedded.standing import position_in

_DISK = 2 * 1024**3
_MEMORY = 1536 * 1024**2


_FIX = "docs/how-to/operate.md, 'When something is wrong'"
_NOTICED = "docs/how-to/operate.md, 'When the log was lost, cut or restored'"
_AGENT = "see the log of its agent, and start that again"
_ENVOY = "pip install 'forgelog[serving]', or FORGELOG_ENVOY; then forgelog down and up"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    result: str
    """ok, failed (the platform can't run), or note (it can, with less)."""
    found: str
    fix: str = ""


async def examine(data: Path | None = None) -> list[Check]:
    checks = [_python(), log_helper()]
    try:
        settings = settings_of(data)
    except SettingsError as error:
        return [*checks, Check("settings", "failed", str(error), "correct the variable")]
    folder = Folder(settings.data)
    checks += [_folder(settings.data), _disk(settings.data), _memory()]
    engine = await asyncio.to_thread(docker.available)
    checks.append(
        Check("docker", "ok", "an engine answers")
        if engine
        else Check("docker", "note", "no engine answers", "not needed: the embedded servers are used")
    )
    if settings.kafka:
        checks.append(await _given_kafka(settings))
    else:
        checks += [await asyncio.to_thread(_java), _jars()]
    if settings.postgres:
        checks.append(await _given_postgres(settings.postgres))
    else:
        checks.append(await asyncio.to_thread(_postgres))
    checks.append(_gateway_port(settings, folder))
    return [*checks, *await _work(settings.data)]


async def _work(data: Path) -> list[Check]:
    """Of a platform that runs in the folder: whether every part of it does its work."""
    platform = Platform(data)
    report = platform.report()
    if report["state"] == "down":
        return []
    checks = [
        Check(
            child["name"],
            "failed",
            f"{child['state']}: {_why(child)}",
            f"see {child['log']}",
        )
        for child in report["children"]
        if child["state"] in ("frozen", "restarting", "held", "stopped")
        or (child["state"] == "not_ready" and child["kind"] == "server")
    ]
    if RouterPlace(data).lacks_envoy:
        checks.append(Check("router", "note", "deployments have none: there is no Envoy for it", _ENVOY))
    contexts = await platform.contexts(report)
    for each in contexts:
        name = f"{each['context']} service"
        checks += [Check(name, "failed", f"{place}: {why}", _fix(why, each)) for place, why in each["waits"].items()]
        checks += [Check(name, "note", f"{place}: {why}", _NOTICED) for place, why in each["notices"].items()]
        checks += [
            Check(
                f"node {late['node']}",
                "failed",
                f"{late['job']} was placed {late['seconds']:.0f} s ago and not started",
                _AGENT,
            )
            for late in each["late"]
        ]
        if each["ready"]:
            left = sum(lag["left"] for lag in each["lags"])
            checks.append(Check(name, "ok", "does its work" + (f"; records still to be read: {left}" if left else "")))
    checks += [Check(who, "note", how, fix) for who, how, fix in compiled.slower(contexts)]
    return checks


def _why(child: Mapping[str, Any]) -> str:
    return last_line(child["problem"]) or "no reason is known"


def _fix(why: str, context: Mapping[str, Any]) -> str:
    """What to do about what a context waits for."""
    if at := position_in(why, context["stopped"]):
        return f"forgelog repair {at}, then with --skip or --retry"
    return "forgelog repair" if "`forgelog repair`" in why else _FIX


def settings_of(data: Path | None) -> Settings:
    return Settings.load(data=data.expanduser().absolute()) if data else Settings.load()


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()}, {sys.executable}")  # pip refuses an older one


def log_helper() -> Check:
    """Of this installation; what a running service uses, it says itself."""
    status = native.status()
    return Check(
        "log helper",
        "ok" if status == native.COMPILED else "note",
        compiled.WORDS[status],
        compiled.helper_fix(status),
    )


def _java() -> Check:
    try:
        found = java.find()
    except EmbeddedError as error:
        return Check("java", "failed", "none", str(error))
    return Check("java", "ok", f"{found.major}, {found.path} (from {found.source})")


def _jars() -> Check:
    lock = jars.read_lock()
    if jars.complete(jars.folder(), lock):
        return Check("broker", "ok", f"Kafka {lock.kafka} in {jars.folder()}")
    return Check("broker", "note", "not downloaded yet", f"`forgelog up` downloads it once ({lock.size / 1e6:.0f} MB)")


def _postgres() -> Check:
    try:
        return Check("postgres", "ok", str(postgres.binaries_folder()))
    except EmbeddedError as error:
        return Check("postgres", "failed", "none", str(error))


async def _given_kafka(settings: Settings) -> Check:
    fix = "correct or unset FORGELOG_KAFKA and FORGELOG_KAFKA_CONFIG"
    try:
        if await broker_answers(settings):
            return Check("kafka", "ok", f"answers at {settings.kafka}")
        return Check("kafka", "failed", f"no answer at {settings.kafka}", fix)
    except (EmbeddedError, SettingsError) as error:
        return Check("kafka", "failed", str(error), fix)


async def _given_postgres(dsn: str) -> Check:
    try:
        if await postgres.database_answers(dsn):
            return Check("postgres", "ok", "answers")
        return Check("postgres", "failed", "no answer", "correct or unset FORGELOG_POSTGRES")
    except EmbeddedError as error:
        return Check("postgres", "failed", str(error), "correct or unset FORGELOG_POSTGRES")


def _folder(path: Path) -> Check:
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return Check("data folder", "ok", str(path))
    return Check("data folder", "failed", f"{nearest} is not writable", "choose another with --data or FORGELOG_DATA")


def _disk(path: Path) -> Check:
    nearest = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(nearest).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free >= _DISK:
        return Check("disk", "ok", found)
    return Check("disk", "failed", found, f"make {_DISK // 1024**3} GiB free, or choose another disk with --data")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    found = f"{free / 1024**3:.1f} GiB available"
    if free >= _MEMORY:
        return Check("memory", "ok", found)
    return Check("memory", "note", found, "the whole platform takes about 1.5 GiB: end other programs")


def _gateway_port(settings: Settings, folder: Folder) -> Check:
    state = folder.read_state()
    if state is not None and state.supervisor.alive and state.gateway:
        return Check("gateway port", "ok", f"{state.gateway} (running)")
    try:
        _, port = settings.gateway_listens
    except SettingsError as error:
        return Check("gateway port", "failed", str(error), "correct the variable before 'forgelog up'")
    if not is_free(port):
        return Check("gateway port", "note", f"{port} is taken", "another free port is used; `status` shows it")
    return Check("gateway port", "ok", f"{port} is free")
