"""What a job may say of itself as a service, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from events.language.jobs.spec import JobSpec, RestartPolicy
from events.language.jobs.spec_service import Probe, ServiceSpec, port_variable
from events.language.network import Address, PortRange

HTTP = {"kind": "http", "path": "/ready"}


def job(service: dict[str, Any], **parts: Any) -> JobSpec:
    return JobSpec.model_validate({"metadata": {"name": "web"}, "command": "serve", "service": service, **parts})


def refusal(service: dict[str, Any], **parts: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        job(service, **parts)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_a_service_names_its_ports_and_probes() -> None:
    service = job(
        {
            "ports": ["http", "admin-2"],
            "readiness": {**HTTP, "port": "http"},
            "liveness": {"kind": "tcp", "port": "admin-2"},
        }
    ).service
    assert service is not None
    assert service.readiness is not None
    assert service.liveness is not None
    assert [probe.port for probe in (service.readiness, service.liveness)] == ["http", "admin-2"]
    assert port_variable("admin-2") == "FORGELOG_PORT_ADMIN_2"


def test_a_probe_needs_no_port_where_there_is_one_only() -> None:
    service = ServiceSpec.model_validate({"ports": ["http"], "readiness": HTTP})
    assert service.readiness is not None
    assert service.readiness.port == ""


def test_startup_and_liveness_are_more_patient_than_readiness() -> None:
    tcp = {"kind": "tcp"}
    service = ServiceSpec.model_validate({"ports": ["a"], "startup": tcp, "readiness": tcp, "liveness": tcp})
    probes = [service.startup, service.readiness, service.liveness]
    assert [probe.failure_threshold for probe in probes if probe is not None] == [300, 3, 10]


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"ports": ["http", "http"]}, "service: Value error, ports names 'http' twice"),
        ({"ports": ["HTTP"]}, "service.ports.0: String should match pattern"),
        ({"ports": ["a-very-long-name"]}, "service.ports.0: String should match pattern"),
        ({"readiness": HTTP}, "service: Value error, readiness.port is missing, and the service has no ports"),
        ({"ports": ["a", "b"], "liveness": {"kind": "tcp"}}, "liveness.port is missing, and the service has 2 ports"),
        ({"ports": ["a"], "readiness": {**HTTP, "port": "b"}}, "readiness.port 'b' is none of the service's ports (a)"),
        ({"ports": ["a"], "readiness": {"kind": "tcp", "path": "/x"}}, "path is only for kind http"),
        ({"ports": ["a"], "readiness": {"kind": "http", "service": "x"}}, "service is only for kind grpc"),
        ({"ports": ["a"], "readiness": {"kind": "tcp", "command": ["true"]}}, "command is only for kind exec"),
        ({"readiness": {"kind": "exec"}}, "service.readiness: Value error, command is missing"),
        (
            {"ports": ["a"], "readiness": {"kind": "exec", "command": ["true"], "port": "a"}},
            "port is not for kind exec",
        ),
        ({"ports": ["a"], "startup": {"kind": "tcp", "success_threshold": 2}}, "startup.success_threshold is 2"),
        ({"readiness": {"kind": "exec", "command": ["true"], "period_seconds": 0}}, "readiness.period_seconds"),
        ({"ports": ["a"], "readiness": {"kind": "http", "path": "no-slash"}}, "readiness.path"),
        ({"ports": ["a"], "readiness": {"kind": "http", "path": "/a b\r\nX: y"}}, "readiness.path"),
        ({"drain_seconds": -1}, "service.drain_seconds"),
    ],
)
def test_what_cannot_be_is_refused_by_name(service: dict[str, Any], words: str) -> None:
    assert words in refusal(service)


def test_a_jobs_own_variables_may_not_take_the_place_of_a_port() -> None:
    variables = {"environment": {"variables": {"FORGELOG_PORT_HTTP": "80"}}}
    assert "environment.variables sets FORGELOG_PORT_HTTP, which its node sets" in refusal(
        {"ports": ["http"]}, **variables
    )


def test_an_exec_probe_needs_no_port() -> None:
    assert job({"readiness": {"kind": "exec", "command": ["test", "-e", "ready"]}}).service is not None


def test_restarts_without_bound_are_written_as_null() -> None:
    assert RestartPolicy.model_validate_json(b'{"mode": "always", "max_restarts": null}').max_restarts is None
    assert RestartPolicy(max_restarts=None).to_json() == b'{"max_restarts":null}'


@pytest.mark.parametrize("address", ["10.0.0.7", "::1", "fd00::7", "node-7.cluster.local", "localhost", ""])
def test_an_address_is_one_hosts(address: str) -> None:
    assert TypeAdapter(Address).validate_python(address) == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "224.0.0.1", "10.0.0.7:80", "http://x", "a b", "-x", "1.2.3", "[::1]"]
)
def test_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Address).validate_python(address)


def test_a_range_of_ports_has_its_lower_end_first() -> None:
    with pytest.raises(ValidationError, match="first is 9 and last is 8"):
        PortRange(first=9, last=8)
    assert PortRange(first=8, last=8).last == 8


def test_a_probe_never_tries_without_a_pause() -> None:
    with pytest.raises(ValidationError):
        Probe(kind="tcp", period_seconds=0.01)  # type: ignore[arg-type]
