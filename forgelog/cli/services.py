"""What people are shown of services: their probes, and where their tasks are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgelog.units import format_duration

PROBES = ("startup", "readiness", "liveness")


def describe_service(service: Mapping[str, Any]) -> dict[str, str]:
    """A service's parts by name: its ports, each probe, how it is drained."""
    drained = f"{format_duration(service['drain_seconds'])} before it is stopped" if service["drain_seconds"] else ""
    probes = {name: describe_probe(service[name]) for name in PROBES if service[name]}
    return {"ports": ", ".join(service["ports"]), **probes, "drained": drained}


def describe_probe(probe: Mapping[str, Any]) -> str:
    """``GET /ready on http every 1s, 3 failures in a row``."""
    port = probe["port"]
    asked = {
        "http": f"GET {probe['path'] or '/'}{f' on {port}' if port else ''}",
        "grpc": f"gRPC health{' of ' + probe['service'] if probe['service'] else ''}{f' on {port}' if port else ''}",
        "tcp": f"connects{f' to {port}' if port else ''}",
        "exec": " ".join(probe["command"]),
    }[probe["kind"]]
    every = format_duration(probe["period_seconds"])
    return f"{asked} every {every}, {probe['failure_threshold']} failures in a row"


def ports_text(address: str, ports: Mapping[str, int]) -> str:
    """``http 10.0.0.7:20001, grpc 10.0.0.7:20002``; the address alone without ports."""
    host = f"[{address}]" if ":" in address else address
    return ", ".join(f"{name} {host}:{port}" for name, port in ports.items()) or address
