"""Services as users write them: options of the command line, and manifests."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.jobs.spec import JobSpec
from forgelog.cli.describing import described_by
from forgelog.cli.service_options import described_service, probe_of
from forgelog.cli.services import describe_service, ports_text
from forgelog.errors import InvalidInput, ManifestError
from forgelog.manifest import job_from, parse

NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "cpus", "memory", "gpus", "gpu_type", "array", "max_parallel", "env", "label", "queue", "priority", "after",
        "after_any", "after_not_ok", "retries", "backoff", "max_backoff", "max_runtime", "grace", "chdir", "keep",
        "node_label",
    )
)  # fmt: skip


def submitted(service: dict[str, Any] | None, **options: Any) -> JobSpec:
    """The job that a command line describes."""
    described = described_by(["serve"], name="web", job_id="", upload=False, **{**NOTHING, **options}, service=service)
    assert isinstance(described, dict)
    return job_from(described).spec({})


def options(**given: Any) -> dict[str, Any] | None:
    nothing: dict[str, Any] = {
        "service": False,
        "port": None,
        "ready": None,
        "live": None,
        "startup": None,
        "drain": None,
    }
    return described_service(**{**nothing, **given})


def manifest(text: str) -> JobSpec:
    (job,) = parse(f"name: web\ncommand: [serve]\n{text}")
    return job.spec({})


def test_without_an_option_of_services_it_is_none() -> None:
    assert options() is None
    assert submitted(None).service is None


def test_a_service_by_options_is_the_one_of_the_manifest() -> None:
    by_options = submitted(
        options(
            port=["http", "admin"], ready="http:/ready?a=1", live="tcp@admin", startup="exec:test -e 'a b'", drain="10s"
        )
    )
    by_manifest = manifest(
        """
service:
  ports: [http, admin]
  readiness: {kind: http, port: http, path: "/ready?a=1"}
  liveness: {kind: tcp, port: admin}
  startup: {kind: exec, command: [test, -e, a b]}
  drain: 10s
"""
    )
    assert by_options == by_manifest


def test_a_service_runs_until_it_is_cancelled() -> None:
    for spec in (submitted(options(service=True)), manifest("service: {}"), manifest("service: {}\nrestart: always")):
        assert (spec.scheduling.restart.mode, spec.scheduling.restart.max_restarts) == ("always", None)


def test_unless_it_says_otherwise() -> None:
    assert submitted(options(service=True), retries=5, backoff="2s").scheduling.restart.max_restarts == 5
    assert manifest("service: {}\nrestart: never").scheduling.restart.mode == "never"
    bounded = manifest("service: {}\nrestart: {mode: always, max_restarts: 2}")
    assert bounded.scheduling.restart.max_restarts == 2
    assert manifest("restart: always").scheduling.restart.max_restarts == 3, "it is no service"


def test_a_probe_may_be_one_word() -> None:
    service = manifest("service: {ports: [a], readiness: tcp}").service
    assert service is not None
    assert service.readiness is not None
    assert service.readiness.kind == "tcp"


@pytest.mark.parametrize(
    ("text", "ports", "probe"),
    [
        ("http", [], {"kind": "http"}),
        ("http:/ready:now", [], {"kind": "http", "path": "/ready:now"}),
        ("http@admin:/x", ["http", "admin"], {"kind": "http", "path": "/x", "port": "admin"}),
        ("grpc", ["http", "grpc"], {"kind": "grpc", "port": "grpc"}),
        ("grpc:iris", ["api"], {"kind": "grpc", "service": "iris"}),
        ("grpc@api:iris", ["api"], {"kind": "grpc", "service": "iris", "port": "api"}),
        ("tcp@db", ["db"], {"kind": "tcp", "port": "db"}),
        ("exec:pg_isready -q", [], {"kind": "exec", "command": ["pg_isready", "-q"]}),
    ],
)
def test_probes_of_one_word(text: str, ports: list[str], probe: dict[str, Any]) -> None:
    assert probe_of(text, ports, "--ready") == probe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/ready", "--ready: '/ready' is no probe; write http:/path"),
        ("https:/ready", "is no probe"),
        ("", "is no probe"),
        ("tcp:80", "nothing goes behind 'tcp' but a port, as in tcp@80"),
        ("exec", "exec needs a command"),
        ("exec:", "exec needs a command"),
        ("exec:'a", "No closing quotation"),
    ],
)
def test_what_is_no_probe_is_told_with_its_option(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_of(text, [], "--ready")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("service: {ports: [http], ready: {kind: http}}", "unknown key 'ready' in service"),
        (
            "service: {ports: [http], readiness: {kind: htpp}}",
            "'htpp' is none of http, grpc, tcp, exec; did you mean 'http'?",
        ),
        ("service: {readiness: {kind: http}}", "readiness.port is missing, and the service has no ports"),
        ("service: {ports: [http], readiness: {kind: http, period: soon}}", "'soon' is not a duration"),
        ("service: {ports: [HTTP]}", "service.ports.0"),
    ],
)
def test_a_manifests_mistakes_are_told(text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest(text)
    assert words in str(caught.value)


def test_a_service_is_shown_in_words() -> None:
    spec = manifest(
        "service: {ports: [http, grpc], readiness: {kind: http, port: http, path: /r}, liveness: {kind: grpc, "
        "port: grpc, service: iris, period: 5s}, startup: {kind: exec, command: [test, -e, up]}, drain: 90s}"
    )
    assert spec.service is not None
    assert describe_service(spec.service.model_dump(mode="json")) == {
        "ports": "http, grpc",
        "startup": "test -e up every 1s, 300 failures in a row",
        "readiness": "GET /r on http every 1s, 3 failures in a row",
        "liveness": "gRPC health of iris on grpc every 5s, 10 failures in a row",
        "drained": "1m30s before it is stopped",
    }


def test_where_a_task_is_called() -> None:
    assert ports_text("10.0.0.7", {"http": 20_001, "grpc": 20_002}) == "http 10.0.0.7:20001, grpc 10.0.0.7:20002"
    assert ports_text("fd00::7", {"http": 20_001}) == "http [fd00::7]:20001"
    assert (ports_text("10.0.0.7", {}), ports_text("", {})) == ("10.0.0.7", "")


def test_a_manifest_that_is_not_there_is_told_before_what_reads_it_is_imported() -> None:
    with pytest.raises(InvalidInput, match=r"^can't read /nope\.yaml: No such file or directory$"):
        described_by(["/nope.yaml"], name="", job_id="", upload=False, **NOTHING)


@pytest.mark.parametrize("program", ["", "/", "./"])
def test_a_program_without_a_name_gives_the_job_one(program: str) -> None:
    described = described_by([program, "a"], name="", job_id="", upload=False, **NOTHING)
    assert described == {"name": "job", "command": [program, "a"]}
