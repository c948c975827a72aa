"""What is off in a platform's doors, checked one by one, each with what to do. Changes nothing, and shows no secret.

Each check looks at what is there (files, listeners, an answer to somebody without a password), not at what was meant.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from events.process.keys import FOLDER as KEYS
from events.process.keys import OWNER, SERVICES, KeyFileProblem, key_path, read_key
from events.process.listening import user_name
from events.process.settings import SettingsError, split_address
from forgelog.embedded.doctor import Check, settings_of
from forgelog.embedded.layout import TASKS, Folder
from forgelog.embedded.platform import Platform
from forgelog.embedded.process import answers

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SHOWN = 3
_PROBE_SECONDS = 3.0
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
_STA_UNSYNC = 0x40


async def examine(data: Path | None = None) -> list[Check]:
    """All checks: ``ok``, ``failed`` (off: do something), ``note`` (as it is meant, and worth knowing)."""
    try:
        settings = settings_of(data)
        listens, _ = settings.gateway_listens
    except SettingsError as error:
        return [Check("settings", "failed", str(error), "correct the variable")]
    folder = settings.data
    checks = [parents(folder), *await asyncio.to_thread(files, folder), *keys(folder)]
    state = Folder(folder).read_state() if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else None
    running = state is not None and state.supervisor.alive
    report = Platform(folder).report() if running else {"children": []}
    found = list(await asyncio.to_thread(lambda: list(listening(report["children"]))))
    checks += listeners([*found, ("the gateway", listens)])
    kafka = (state.kafka if running and state is not None else "") or settings.kafka or ""
    if kafka:
        checks.append(await broker(kafka))
    postgres = (state.postgres if running and state is not None else "") or settings.postgres or ""
    if postgres:
        checks.append(database(postgres))
    return [*checks, tasks(os.geteuid()), core_dumps(), swap(), clock()]


# Files


def parents(folder: Path) -> Check:
    """Whether another user could put another folder in place of the data folder."""
    for above in folder.parents:
        try:
            found = above.stat()
        except OSError:
            continue
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            return Check("folders above", "failed", f"everybody may write in {above}", f"chmod o-w {above}")
    return Check("folders above", "ok", "no other user may replace the data folder")


def files(folder: Path) -> list[Check]:
    """Modes and owners of all that the platform has written. (What tasks wrote is theirs.)"""
    name = "data folder"
    try:
        mode, owner = folder.stat().st_mode, folder.stat().st_uid
    except FileNotFoundError:
        return [Check(name, "note", f"there is no {folder} yet", "`forgelog up` makes it")]
    if owner != os.geteuid():
        return [
            Check(name, "failed", f"{folder} is {user_name(owner)}'s", "ask as that user, or choose another by --data")
        ]
    checks = [
        Check(name, "failed", f"{folder} has mode {stat.S_IMODE(mode):04o}", "`forgelog up` makes it 0700, or chmod it")
        if mode & _OTHERS
        else Check(name, "ok", f"{folder}, only {user_name(owner)} may enter it")
    ]
    loose, foreign = [], []
    for path, found in _written(folder):
        if found.st_mode & _OTHERS:
            loose.append(path)
        if found.st_uid != owner and path.relative_to(folder).parts[0] != "postgres":  # under root it is another user
            foreign.append(path)
    # Behind a closed door a loose file harms nobody, until somebody opens the door.
    checks.append(
        Check(
            "modes", "failed" if mode & _OTHERS else "note", f"others may use {_some(loose)}", f"chmod -R go= {folder}"
        )
        if loose
        else Check("modes", "ok", "no file or folder in it is open to others")
    )
    if foreign:
        checks.append(
            Check("owners", "failed", f"{_some(foreign)} are another user's", f"chown them to {user_name(owner)}")
        )
    return checks


def _written(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path, folders, names in os.walk(folder):
        inside = Path(path).relative_to(folder).parts
        if inside[:1] == ("agents",) and len(inside) == 2:
            folders[:] = [name for name in folders if name not in TASKS]
        for name in (*folders, *names):
            try:
                found = os.lstat(f"{path}/{name}")
            except FileNotFoundError:
                continue  # the platform runs
            if not stat.S_ISLNK(found.st_mode):
                yield Path(path, name), found


def keys(folder: Path) -> list[Check]:
    """That the secrets are there, whole, and readable by their user only."""
    checks = []
    for name in (OWNER, SERVICES):
        path = key_path(folder, name)
        try:
            read_key(path)
        except KeyFileProblem as problem:
            made = (folder / "platform.json").exists()
            checks.append(Check(f"keys/{name}", "failed" if made else "note", str(problem)))
        else:
            checks.append(Check(f"keys/{name}", "ok", "there, and its user's alone"))
    try:
        others = sorted((folder / KEYS).iterdir())
    except OSError:
        return checks
    for path in others:
        if path.name not in (OWNER, SERVICES) and path.is_file() and path.stat().st_mode & _OTHERS:
            checks.append(
                Check(f"keys/{path.name}", "failed", "others may read it", f"make a new one; chmod 600 {path}")
            )
    return checks


# Listeners


def listening(children: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Name and address of everything that the platform's processes listen on."""
    for child in children:
        if child["pid"] is None:  # psutil takes it for this process
            continue
        try:
            process = psutil.Process(child["pid"])
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    yield child["name"], connection.laddr.ip
        except (psutil.Error, TypeError, ValueError):
            continue  # it has ended


def listeners(found: Iterable[tuple[str, str]]) -> list[Check]:
    """Nothing but loopback addresses: connections are not encrypted."""
    open_ones = sorted({(name, address) for name, address in found if not is_loopback(address)})
    fix = "listen on 127.0.0.1, and put a proxy with TLS before it"
    return [Check("listeners", "failed", f"{name} listens on {address}", fix) for name, address in open_ones] or [
        Check("listeners", "ok", "only loopback addresses")
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    bare = host.strip("[]").removeprefix("::ffff:")
    return bare in ("localhost", "::1") or bare.startswith("127.")


# Servers


async def broker(bootstrap: str) -> Check:
    """Whether Kafka talks to somebody who shows no password."""
    client = AIOKafkaClient(
        bootstrap_servers=bootstrap, request_timeout_ms=int(_PROBE_SECONDS * 1000), client_id="forgelog-doctor"
    )
    try:
        await client.bootstrap()
        anonymous = bool(client.cluster.brokers())
    except (KafkaError, OSError):
        anonymous = False
    finally:
        await client.close()
    if anonymous:
        fix = "have it ask for SASL: everyone who reaches it may write commands and events"
        return Check("kafka", "failed", f"{bootstrap} lets in everyone", fix)
    if not await asyncio.to_thread(answers, split_address(bootstrap.split(",")[0].strip())):
        return Check("kafka", "note", f"nobody answers at {bootstrap}")
    return Check("kafka", "ok", f"{bootstrap} lets in nobody without a password")


def database(dsn: str) -> Check:
    """Password and encryption of the database's address."""
    parts = urlsplit(dsn)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    hosts = [host.rpartition(":")[0] or host for host in parts.netloc.rpartition("@")[2].split(",")]
    hosts = [host for host in (options.get("host"), *hosts) if host]
    login = parts.netloc.rpartition("@")[0]
    secret = ":" in login or {"password", "passfile", "sslcert"} & options.keys() or os.environ.get("PGPASSWORD")
    remote = [host for host in hosts if not is_loopback(host) and not host.startswith("/")]
    if not secret:
        return Check(
            "postgres", "failed", "its address names no password and no password file", "name one: ?passfile=..."
        )
    if remote and options.get("sslmode") not in _ENCRYPTED:
        fix = "add sslmode=verify-full&sslrootcert=... to its address"
        return Check("postgres", "failed", f"what goes to {remote[0]} is not encrypted", fix)
    return Check("postgres", "ok", "asks for a password" + (", and is encrypted" if remote else "; on this machine"))


# The machine


def tasks(user: int) -> Check:
    """Whose rights tasks have."""
    name = user_name(user)
    found = f"tasks of jobs run as {name}, as the platform does: they can do with its files what {name} can"
    fix = "run jobs that you do not trust by an agent of another user's, on this or another machine"
    return Check("tasks", "note", found, fix)


def core_dumps() -> Check:
    """Whether a crash may leave a process's memory, and so keys, in a file."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0]:
        return Check("core dumps", "note", "a program that crashes may leave its memory in a file", "ulimit -c 0")
    return Check("core dumps", "ok", "none")


def swap(table: Path = Path("/proc/swaps")) -> Check:
    """Whether memory, and so keys, may get to a disk."""
    try:
        used = [line.split()[0] for line in table.read_text().splitlines()[1:] if line.strip()]
    except OSError:
        return Check("swap", "note", "the system does not say whether there is any")
    plain = [each for each in used if not each.startswith(("/dev/zram", "/dev/dm-", "/dev/mapper/"))]
    if plain:
        return Check("swap", "note", f"memory may be written to {_some(plain)}", "encrypt it, or swapoff")
    return Check("swap", "ok", "none that is not encrypted")


def clock() -> Check:
    """Whether the time of events can be believed."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return Check("clock", "note", "the system does not say whether it is synchronised")
    state = (ctypes.c_long * 64)()  # a struct timex: modes (an int, padded), offset, freq, maxerror, esterror, status
    adjtimex(ctypes.byref(state))
    if ctypes.c_int.from_buffer(state, 5 * ctypes.sizeof(ctypes.c_long)).value & _STA_UNSYNC:
        return Check("clock", "note", "nothing synchronises it", "run chrony or systemd-timesyncd")
    return Check("clock", "ok", "synchronised")


def _some(found: Iterable[object]) -> str:
    every = [str(each) for each in found]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
