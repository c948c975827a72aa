"""What a job says of itself if others call it: its ports, how to tell that it can be called, and how it is ended.

A service is a job like any other. Its node's agent gives each task a free port for each name, and probes it. A task is
*ready* while others may call it; each change is an event (`JobTaskReady`, `JobTaskUnready`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.network import OptionalPortName, PortName

MAX_PORTS = 16
STARTUP_FAILURES = 300
"""With one try a second, five minutes: a model may take long to load."""
LIVENESS_FAILURES = 10
"""More than of readiness: a task that is only busy should lose its callers before it loses its process."""


class ProbeKind(StrEnum):
    """How a task is asked how it is. Network probes go to the node's address, as its callers do."""

    HTTP = "http"
    """GET `path`; a status from 200 to 399 is good. Redirects are not followed."""
    GRPC = "grpc"
    """``grpc.health.v1.Health/Check``; SERVING is good."""
    TCP = "tcp"
    """A connection; that it is taken is good."""
    EXEC = "exec"
    """Run `command` beside the task, with its variables and its folder; exit code 0 is good."""


class Probe(Model):
    """Asks a task again and again, and changes its mind only after several equal answers.

    The next try begins `period_seconds` after the last one began, and never before that one has ended."""

    kind: ProbeKind
    port: OptionalPortName = ""
    """Name of one of the service's ports; its only one when empty. Not for `exec`."""
    path: Annotated[str, StringConstraints(pattern=r"^$|^/[!-~]*$", max_length=2000)] = ""
    """Path and query of an `http` probe: printable ASCII, ``/`` when empty."""
    service: Annotated[str, StringConstraints(max_length=200)] = ""
    """Which service a `grpc` probe asks about; the whole server when empty."""
    command: tuple[Annotated[str, StringConstraints(max_length=131_072)], ...] = Field(default=(), max_length=1000)
    """Program and arguments of an `exec` probe. No shell is involved."""
    initial_delay_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """From the task's start (with a startup probe, from that one's success) to the first try."""
    period_seconds: float = Field(default=1.0, ge=0.1, le=3600)
    timeout_seconds: float = Field(default=2.0, ge=0.05, le=600)
    """A try without an answer for so long has failed."""
    success_threshold: int = Field(default=1, ge=1, le=1000)
    """Good answers in a row until it counts as good."""
    failure_threshold: int = Field(default=3, ge=1, le=100_000)
    """Failures in a row until it counts as bad."""

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> Probe:
        for name, kind in (("path", ProbeKind.HTTP), ("service", ProbeKind.GRPC), ("command", ProbeKind.EXEC)):
            if getattr(self, name) and self.kind is not kind:
                raise ValueError(
                    f"{name} is only for kind {kind.value}, and this one is {self.kind.value}; leave it out"
                )
        if self.kind is ProbeKind.EXEC:
            if not self.command or not self.command[0]:
                raise ValueError("command is missing; an exec probe needs the program to run, such as [pg_isready]")
            if self.port:
                raise ValueError("port is not for kind exec; the command finds it in FORGELOG_PORT_<NAME>")
        return self


class StartupProbe(Probe):
    """Asks until the task has started; the other probes wait for that. One that fails too often ends the task."""

    failure_threshold: int = Field(default=STARTUP_FAILURES, ge=1, le=100_000)
    """Failures in a row that end the task."""


class LivenessProbe(Probe):
    """Asks whether the task still works. One that fails too often ends the task."""

    failure_threshold: int = Field(default=LIVENESS_FAILURES, ge=1, le=100_000)
    """Failures in a row that end the task."""


class ServiceSpec(Model):
    """What makes a job a service."""

    ports: tuple[PortName, ...] = Field(default=(), max_length=MAX_PORTS)
    """Names of the ports that each task listens on. The node picks a free port for each and says it in
    ``FORGELOG_PORT_<NAME>`` (in capitals, ``-`` as ``_``); ``FORGELOG_ADDRESS`` is the address to listen on."""
    startup: StartupProbe | None = None
    """Holds the other probes back until it was good once; a task that never gets so far is ended as `unhealthy`."""
    readiness: Probe | None = None
    """Whether the task may be called now. Without it, it may once it has started."""
    liveness: LivenessProbe | None = None
    """A task that fails it is ended as `unhealthy`, and its restart policy decides what follows."""
    drain_seconds: float = Field(default=5.0, ge=0, le=3600)
    """When a task that is ready is to stop (a cancel, a drained node): from the news that it is not ready any more to
    TERM, so that callers can leave it."""
    report_path: Annotated[str, StringConstraints(pattern=r"^$|^/[A-Za-z0-9._~/-]*$", max_length=500)] = ""
    """Of a replica: a path of its first port where it tells its node of itself (a `ReplicaReport`); empty for none."""

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSpec:
        if twice := sorted({port for port in self.ports if self.ports.count(port) > 1}):
            raise ValueError(f"ports names {twice[0]!r} twice; give each port its own name")
        for name in ("startup", "readiness", "liveness"):
            probe: Probe | None = getattr(self, name)
            if probe is None:
                continue
            if name != "readiness" and probe.success_threshold != 1:
                raise ValueError(f"{name}.success_threshold is {probe.success_threshold}; it can only be 1 here")
            if probe.kind is ProbeKind.EXEC:
                continue
            if not probe.port and len(self.ports) != 1:
                problem = f"the service has {len(self.ports)} ports" if self.ports else "the service has no ports"
                raise ValueError(f"{name}.port is missing, and {problem}; name one of ports, such as http")
            if probe.port and probe.port not in self.ports:
                known = ", ".join(self.ports) or "none"
                raise ValueError(
                    f"{name}.port {probe.port!r} is none of the service's ports ({known}); add it to ports"
                )
        return self


def port_variable(name: str) -> str:
    """The variable that tells a task the number of one of its ports."""
    return f"FORGELOG_PORT_{name.upper().replace('-', '_')}"
