"""What an agent is told beside the platform's settings: FORGELOG_* variables, checked once at its start.

Must not know what the machine has: that is `inventory`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from events.language.common import Identifier
from events.language.jobs.spec import LabelKey, LabelValue
from events.language.network import Address
from events.language.resources.hardware import NodeRole
from events.process.hostnames import plain_hostname
from events.process.private import TASKS_UMASK
from events.process.settings import Settings, SettingsError
from services.resources.decide import LOST_AFTER_SECONDS

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]i?)?B?", re.IGNORECASE)
_UNITS = {"": 1, **{unit: 1024**power for power, unit in enumerate("KMGTP", start=1)}}
_IDENTIFIER = TypeAdapter[str](Identifier)
_ADDRESS = TypeAdapter[str](Address)
_LABELS = TypeAdapter[dict[str, str]](dict[LabelKey, LabelValue])


CACHE_BYTES = 10 << 30
OUTPUTS_SECONDS = 24 * 3600.0
SERVICE_PORTS = range(20_000, 30_000)
"""Below those that Linux gives to outgoing connections."""


@dataclass(frozen=True, slots=True)
class Config:
    node: str
    """The node's id in the pool."""
    folder: Path
    """Where the agent keeps what must outlive it, and the tasks their files."""
    secrets: Path
    """A file per secret."""
    token_file: Path | None = None
    """Has the key by which the node's tasks speak with the platform; None: they have none."""
    lost_seconds: float = LOST_AFTER_SECONDS
    """Silence after which the pool counts the node as lost; its service must be told the same."""
    drain: bool = False
    """Whether SIGTERM ends the tasks; else they run on and are found again at the next start."""
    role: NodeRole = NodeRole.COMPUTE
    cpus: float | None = None
    """Offer so many logical CPUs; what the machine has when None. The same for the others."""
    memory_bytes: int | None = None
    network_mbps: int | None = None
    """Needed where the interfaces' driver does not say their speed (virtual machines)."""
    gpus: frozenset[int] | None = None
    """Offer only the GPUs with these indices."""
    share: tuple[int, int] = (0, 1)
    """Offer only this part of what the machine has: its number, from 0, and how many parts there are. What is given
    above counts for this agent alone."""
    cache_bytes: int = CACHE_BYTES
    """Most bytes of uploaded code that are kept for further tasks."""
    outputs_seconds: float = OUTPUTS_SECONDS
    """After a task's end, until files that it leaves and that can't be sent are given up."""
    umask: int | None = None
    """Of tasks; the agent's own when None."""
    storage_seconds: float = 0.0
    """How long to measure at the start how fast the disk of `folder` is; 0: not."""
    address: str = ""
    """By which tasks of services are called on this node; empty: to be found out."""
    ports: range = SERVICE_PORTS
    """From which services get their ports; `share` is of these, too."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()

    @property
    def own_ports(self) -> range:
        """This agent's share of the ports: no other one of the machine picks the same before it is listened on."""
        number, parts = self.share
        each = max(1, len(self.ports) // parts)
        return self.ports[number * each : (number + 1) * each] or self.ports

    @property
    def heartbeat_seconds(self) -> float:
        return self.lost_seconds / 5

    @property
    def fence_seconds(self) -> float:
        """Silence after which the agent ends its own tasks: before the pool gives them to another node."""
        return self.lost_seconds * 0.8


def load(settings: Settings, environment: Mapping[str, str]) -> Config:
    """The configuration that the variables give. Raises SettingsError with the variable's name."""
    read = _Reader(environment)
    node = read.text("FORGELOG_NODE") or plain_hostname("node")
    try:
        _IDENTIFIER.validate_python(node)
    except ValidationError:
        raise SettingsError(
            "FORGELOG_NODE: should be 1-128 lower-case letters, digits, '.', '_' or '-', such as gpu-node-7"
        ) from None
    folder = Path(read.text("FORGELOG_AGENT_DIR") or settings.data / "agents" / node).absolute()
    stop = read.text("FORGELOG_AGENT_STOP") or "leave"
    if stop not in ("leave", "drain"):
        raise SettingsError("FORGELOG_AGENT_STOP: should be 'leave' (tasks run on) or 'drain' (they end)")
    return Config(
        node=node,
        folder=folder,
        secrets=Path(read.text("FORGELOG_AGENT_SECRETS") or folder / "secrets").absolute(),
        token_file=Path(token).expanduser().absolute() if (token := read.text("FORGELOG_TOKEN_FILE")) else None,
        lost_seconds=read.number("FORGELOG_NODE_LOST_SECONDS", 0.1, 86_400) or LOST_AFTER_SECONDS,
        drain=stop == "drain",
        role=read.role("FORGELOG_NODE_ROLE"),
        cpus=read.number("FORGELOG_NODE_CPUS", 0.01, 100_000),
        memory_bytes=read.size("FORGELOG_NODE_MEMORY"),
        network_mbps=None
        if (speed := read.number("FORGELOG_NODE_NETWORK_MBPS", 0, 10_000_000)) is None
        else int(speed),
        gpus=read.indices("FORGELOG_NODE_GPUS"),
        share=read.share("FORGELOG_NODE_SHARE"),
        cache_bytes=CACHE_BYTES if (cache := read.size("FORGELOG_AGENT_CACHE")) is None else cache,
        outputs_seconds=OUTPUTS_SECONDS
        if (limit := read.number("FORGELOG_AGENT_OUTPUTS_SECONDS", 0, 31_536_000)) is None
        else limit,
        umask=read.umask(TASKS_UMASK),
        storage_seconds=read.number("FORGELOG_NODE_STORAGE_SECONDS", 0, 600) or 0.0,
        address=read.address("FORGELOG_NODE_ADDRESS"),
        ports=read.ports("FORGELOG_NODE_PORTS") or SERVICE_PORTS,
        labels=read.labels("FORGELOG_NODE_LABELS"),
        taints=read.names("FORGELOG_NODE_TAINTS"),
    )


class _Reader:
    """Variables as values. An empty one counts as not given. No error shows a value (see `events.process.settings`)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def number(self, name: str, least: float, most: float) -> float | None:
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise SettingsError(f"{name}: should be a number from {least:g} to {most:g}")
        return value

    def size(self, name: str) -> int | None:
        text = self.text(name)
        if not text:
            return None
        match = _SIZE.fullmatch(text)
        if match is None:
            raise SettingsError(f"{name}: should be bytes, such as 17179869184 or 16GiB")
        return int(float(match[1]) * _UNITS[(match[2] or "")[:1].upper()])

    def role(self, name: str) -> NodeRole:
        text = self.text(name) or NodeRole.COMPUTE.value
        try:
            return NodeRole(text)
        except ValueError:
            raise SettingsError(f"{name}: should be one of {', '.join(NodeRole)}") from None

    def indices(self, name: str) -> frozenset[int] | None:
        text = self.text(name)
        if not text:
            return None
        if text == "none":
            return frozenset()
        try:
            return frozenset(int(part) for part in text.split(","))
        except ValueError:
            raise SettingsError(f"{name}: should be GPU indices, such as 0,1, or none") from None

    def share(self, name: str) -> tuple[int, int]:
        text = self.text(name) or "0/1"
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
        if match is None or not int(match[1]) < int(match[2]):
            raise SettingsError(f"{name}: should be a part's number and how many there are, such as 0/2 and 1/2")
        return int(match[1]), int(match[2])

    def address(self, name: str) -> str:
        try:
            return _ADDRESS.validate_python(self.text(name))
        except ValidationError:
            hint = "should be an address by which other machines reach this one, without a port, such as 10.0.0.7"
            raise SettingsError(f"{name}: {hint}") from None

    def ports(self, name: str) -> range | None:
        text = self.text(name)
        if not text:
            return None
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
        if match is None or not 1024 <= int(match[1]) <= int(match[2]) <= 65_535:
            raise SettingsError(f"{name}: should be the first and the last port, from 1024 to 65535: 20000-29999")
        return range(int(match[1]), int(match[2]) + 1)

    def umask(self, name: str) -> int | None:
        text = self.text(name)
        if text and not re.fullmatch(r"0?[0-7]{1,3}", text):
            raise SettingsError(f"{name}: should be octal digits, such as 0022")
        return int(text, 8) if text else None

    def names(self, name: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in self.text(name).split(",") if part.strip())
        for one in names:
            try:
                _IDENTIFIER.validate_python(one)
            except ValidationError:
                raise SettingsError(f"{name}: should be names, such as gpu,maintenance") from None
        return names

    def labels(self, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in self.text(name).split(","))):
            key, equals, value = part.partition("=")
            if not equals:
                raise SettingsError(f"{name}: should be key=value,key2=value2")
            found[key.strip()] = value.strip()
        try:
            return _LABELS.validate_python(found)
        except ValidationError as error:
            raise SettingsError(f"{name}: should be key=value,key2=value2: {error.errors()[0]['msg']}") from None


def from_environment(settings: Settings) -> Config:
    return load(settings, os.environ)
